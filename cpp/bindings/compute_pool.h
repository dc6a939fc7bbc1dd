// bindings/compute_pool.h - threads that compute for coroutines: the event loop goes on meanwhile.
//
// One pool a process, as many threads as the machine has cores, started as they are needed, and
// kept: what they have cached (merged words) serves the next job too. They never take the GIL: what
// a job needs of Python is read through pointers, and `KeptForJob` keeps the objects alive until a
// thread that holds the GIL passes by.
//
// Fork: the child has a new pool. Exit: nobody waits for jobs that run; what they read stays.
//
// Thread-safe.
#ifndef DURE_BINDINGS_COMPUTE_POOL_H_
#define DURE_BINDINGS_COMPUTE_POOL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "dure/base/cancel.h"

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

  // Runs work(i) for each i below `count` on the calling thread and up to `threads` - 1 of the
  // pool's that are free; returns when all have ended, and throws the first exception again.
  // `work` may be called by several threads at a time and touches no Python object.
  template <typename Work>
  void for_each(std::size_t count, std::size_t threads, const Work& work);

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

// What threads that work on one loop share. A thread that comes when the loop is over finds it
// closed and touches nothing of it.
class SharedLoop {
 public:
  explicit SharedLoop(std::function<void()> body) : body_(std::move(body)) {}
  void help() {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      ++helpers_;
    }
    body_();
    const std::lock_guard lock(mutex_);
    if (--helpers_ == 0) left_.notify_all();
  }
  // No helper is in the body, nor will one enter it, when this returns.
  void close() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    left_.wait(lock, [this] { return helpers_ == 0; });
  }

 private:
  std::mutex mutex_;  // guards everything below
  std::condition_variable left_;
  std::size_t helpers_ = 0;
  bool closed_ = false;
  const std::function<void()> body_;  // does not throw
};

template <typename Work>
void ComputePool::for_each(std::size_t count, std::size_t threads, const Work& work) {
  constexpr std::size_t kShares = 16;  // of a thread: the last ones even out what took longer
  const std::size_t share = std::max<std::size_t>(1, count / (threads * kShares));
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::once_flag failed;
  const auto body = [&, check = base::current_cancel_check()] {
    const base::CancelScope scope(check);
    base::CancelTick<16> tick;
    try {
      for (std::size_t from; (from = next.fetch_add(share)) < count;) {
        for (std::size_t i = from; i < std::min(count, from + share); ++i, tick()) work(i);
      }
    } catch (...) {
      std::call_once(failed, [&] { failure = std::current_exception(); });
      next.store(count);
    }
  };
  const auto loop = std::make_shared<SharedLoop>(body);
  for (std::size_t i = 1; i < std::min(threads, count); ++i) run([loop] { loop->help(); });
  body();
  loop->close();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_COMPUTE_POOL_H_
