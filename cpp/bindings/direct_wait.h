// bindings/direct_wait.h - what a coroutine of ours awaits: its task goes on inside the drain that
// resolves it.
//
// An asyncio.Future that is resolved schedules those who wait for it: a handle is made, the loop
// turns once more and asks its selector in between. A DirectWait calls its task's wake-up there and
// then, in the task's own context: a drain is a callback of the loop, so no task is running, and
// the order is that of the completions. For one waiter, which is a task; never shown to users, who
// await coroutines.
//
// What a step lets through (KeyboardInterrupt, SystemExit) comes out of resume() and fail(), as it
// comes out of the loop where asyncio runs the step. All under the GIL, on the loop's thread.
#ifndef DURE_BINDINGS_DIRECT_WAIT_H_
#define DURE_BINDINGS_DIRECT_WAIT_H_

#include <pybind11/pybind11.h>

namespace dure::bindings {

namespace py = pybind11;

class DirectWait {
 public:
  // Makes the type; once, by the module.
  static void init();
  [[nodiscard]] static py::object make(const py::object& loop);
  // One that is resolved already: whoever awaits it goes on at once.
  [[nodiscard]] static py::object resolved(py::object result);
  [[nodiscard]] static bool is(const py::object& object);
  // Resolved or cancelled. REQUIRES, as all below: is(wait).
  [[nodiscard]] static bool done(const py::object& wait);
  // Resolves; the task that waits runs its next step now. Nothing happens if it is done.
  static void resume(const py::object& wait, const py::object& result);
  static void fail(const py::object& wait, const py::object& exception);
  // Likewise, but the task runs in a later turn of its loop.
  static void fail_later(const py::object& wait, const py::object& exception);
};

// While it lives the context of the callback that runs is left: a task that goes on below may run
// the loop below itself, whose callbacks enter that context again. Under the GIL.
class ContextLeft {
 public:
  ContextLeft();
  ~ContextLeft();
  ContextLeft(const ContextLeft&) = delete;
  ContextLeft& operator=(const ContextLeft&) = delete;

 private:
  py::object context_;  // null: there was none
};

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_DIRECT_WAIT_H_
