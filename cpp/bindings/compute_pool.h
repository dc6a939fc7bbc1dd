// bindings/compute_pool.h - threads that compute for coroutines: the event loop goes on meanwhile.
//
// One pool a process, as many threads as the machine has cores, started as they are needed. They
// never take the GIL: what a job needs of Python is read through pointers, and `KeptForJob` keeps
// the objects alive until a thread that holds the GIL passes by.
//
// Fork: the child has a new pool. Exit: nobody waits for jobs that run; what they read stays.
//
// Thread-safe.
#ifndef DURE_BINDINGS_COMPUTE_POOL_H_
#define DURE_BINDINGS_COMPUTE_POOL_H_

#include <functional>
#include <memory>
#include <utility>

namespace dure::bindings {

class ComputePool {
 public:
  // REQUIRES: the GIL is held. Also releases what finished jobs have left.
  static ComputePool& get();
  // Runs `job` on some thread, in the order of the calls; on the caller's if none can be started.
  // `job` neither throws nor touches a Python object.
  void run(std::function<void()> job);
  // From any thread: `destroy` is called later by a thread that holds the GIL.
  static void release_later(std::function<void()> destroy);

 private:
  ComputePool();
  struct State;
  std::shared_ptr<State> state_;
};

// An object with Python objects in it that a job may hold and drop without the GIL.
template <typename T>
std::shared_ptr<T> kept_for_job(std::unique_ptr<T> object) {
  return std::shared_ptr<T>(object.release(), [](T* dropped) {
    ComputePool::release_later([dropped] { delete dropped; });
  });
}

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_COMPUTE_POOL_H_
