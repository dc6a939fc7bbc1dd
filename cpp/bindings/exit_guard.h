// bindings/exit_guard.h - gives up the GIL in a way that survives the end of the interpreter.
//
// A thread that asks for the GIL while the interpreter finalizes is ended inside the request
// (before Python 3.14), and unwinding it through C++ frames aborts the process. So, once the exit
// hook has closed this guard, threads that come back from native code stop for good instead; they
// would never have run Python again.
//
// Thread-safe.
#ifndef DURE_BINDINGS_EXIT_GUARD_H_
#define DURE_BINDINGS_EXIT_GUARD_H_

#include <pybind11/pybind11.h>

namespace dure::bindings {

// REQUIRES: the GIL is held by this thread. Released while the object lives.
class ExitSafeRelease {
 public:
  ExitSafeRelease() : state_(PyEval_SaveThread()) {}
  ~ExitSafeRelease();
  ExitSafeRelease(const ExitSafeRelease&) = delete;
  ExitSafeRelease& operator=(const ExitSafeRelease&) = delete;

 private:
  PyThreadState* state_;
};

// REQUIRES: the GIL is held, called by the interpreter's exit hook. From now on no other thread
// comes back; those on their way in are waited for. The calling thread is exempt.
void close_exit_guard();
// In the child of a fork: threads that were on their way in do not exist here.
void reset_exit_guard_in_child();

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_EXIT_GUARD_H_
