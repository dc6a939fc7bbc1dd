// bindings/interruptible.h - long computations that Ctrl-C ends.
//
// `interruptible(work)` is `without_gil(work)` for pure computations that call
// base::check_cancel(): when a signal arrives, its Python handler runs within 50 ms, and if that
// raises (as Ctrl-C does) the work ends and the exception is raised. Only the main thread runs
// handlers; on others it is `without_gil`.
#ifndef DURE_BINDINGS_INTERRUPTIBLE_H_
#define DURE_BINDINGS_INTERRUPTIBLE_H_

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>
#include <type_traits>
#include <utility>

#include "dure/base/cancel.h"
#include "dure/base/clock.h"
#include "gil.h"

namespace dure::bindings {

// Ends work in C++; the Python exception is pending on the thread that made the check.
struct Interrupted {};

// Lets the interpreter look at signals, now and then. Made with the GIL held, polled without it:
// by its maker, and by threads that help, which end as soon as it has.
class SignalCheck final : public base::CancelCheck {
 public:
  SignalCheck() : next_(base::system_clock().now() + kInterval) {}
  void poll() override {
    if (stop_.cancelled()) throw Interrupted{};
    if (std::this_thread::get_id() != maker_) return;
    const base::Instant now = base::system_clock().now();
    if (now < next_) return;
    next_ = now + kInterval;
    const PyGILState_STATE state = PyGILState_Ensure();
    const bool raised = PyErr_CheckSignals() != 0;
    PyGILState_Release(state);
    if (!raised) return;
    stop_.cancel();
    throw Interrupted{};
  }
  [[nodiscard]] bool stopped() const noexcept { return stop_.cancelled(); }

 private:
  static constexpr base::Duration kInterval = std::chrono::milliseconds(50);
  const std::thread::id maker_ = std::this_thread::get_id();
  base::Instant next_;  // the maker's
  base::CancelToken stop_;
};

// REQUIRES: the GIL is held. True on the thread that runs Python's signal handlers.
inline bool runs_signal_handlers() {
  const py::object main = py::module_::import("threading").attr("main_thread")();
  return main.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

// Runs `work` with the GIL released and returns its result; raises what a signal handler raises
// meanwhile. `work` touches no Python object and may be left at any check_cancel().
template <typename Work>
decltype(auto) interruptible(Work&& work) {
  if (!runs_signal_handlers()) return without_gil(std::forward<Work>(work));
  SignalCheck check;
  struct Verdict {  // work may have swallowed what poll() threw
    SignalCheck& check;
    void operator()() const {
      if (check.stopped()) throw py::error_already_set();
    }
  } const verdict{check};
  const auto checked = [&]() -> decltype(auto) {
    const base::CancelScope scope(&check);
    return std::forward<Work>(work)();
  };
  try {
    if constexpr (std::is_void_v<decltype(work())>) {
      without_gil(checked);
      verdict();
    } else {
      auto result = without_gil(checked);
      verdict();
      return result;
    }
  } catch (const Interrupted&) {
    throw py::error_already_set();
  }
}

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_INTERRUPTIBLE_H_
