// bindings/gil.h - the one place that gives up and takes back the interpreter's lock.
//
// Rules: native threads never take the GIL. Code that holds a C++ mutex never takes it. All that
// blocks or computes for more than a few microseconds runs inside `without_gil`.
#ifndef DURE_BINDINGS_GIL_H_
#define DURE_BINDINGS_GIL_H_

#include <pybind11/pybind11.h>

#include <utility>

#include "exit_guard.h"

namespace dure::bindings {

namespace py = pybind11;

// Runs `work` with the GIL released and returns its result. `work` touches no Python object.
template <typename Work>
decltype(auto) without_gil(Work&& work) {
  const ExitSafeRelease released;
  return std::forward<Work>(work)();
}

// REQUIRES: the GIL is held. Raises the pending exception (KeyboardInterrupt, ...) if a signal
// arrived; call it at least every 100 ms of a blocking wait.
inline void check_signals() {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// A deleter that destroys its object with the GIL released: for objects whose destructor joins a
// thread or waits. Use as `std::unique_ptr<T, NoGilDelete>` holder.
struct NoGilDelete {
  template <typename T>
  void operator()(T* object) const {
    if (PyGILState_Check() != 0) {
      const ExitSafeRelease released;
      delete object;
    } else {
      delete object;
    }
  }
};

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_GIL_H_
