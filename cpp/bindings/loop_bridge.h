// bindings/loop_bridge.h - brings results of native threads to Python: futures, streams, sync
// waits.
//
// How a binding uses it (all under the GIL unless said otherwise):
//
//   struct ReplyDone final : PyCompletion {              // built on any thread, holds no PyObject
//     client::Reply reply;
//     py::object make_result() override { return py::cast(std::move(reply)); }  // in drain
//   };
//   // asyncio: one future; the native side keeps the Waiter (copyable, no GIL, no PyObject).
//   auto [future, waiter] = LoopBridge::current().make_future();
//   core.call(..., [waiter](client::Reply reply) { waiter.complete(make_done(std::move(reply)));
//   }); return future;
//
//   // sync: works in any thread, inside a running loop too; Ctrl-C calls `abandon` and raises.
//   SyncWait wait;
//   core.call(..., [waiter = wait.waiter()](...) { waiter.complete(...); });
//   return wait.get([&] { core.cancel(id); });
//
// A failed result: throw StatusException(status) in make_result (or complete with FailedDone).
// A stream: keep the pieces in a native ring; when Python finds it empty it makes a future (or a
// SyncWait), stores the Waiter in the ring, and the I/O thread completes it with WakeDone once a
// piece has come. One wake serves all pieces that are there: Python takes them without awaiting.
// Cancel: the Python face wraps the await in try/except BaseException and calls the room's
// cancel(id); the completion that follows finds its future done and is skipped.
//
// Fork: in the child every pending future fails with UnavailableError and all bridges are new.
// Loop closed: its bridge is dropped, completions for it are dropped and counted.
#ifndef DURE_BINDINGS_LOOP_BRIDGE_H_
#define DURE_BINDINGS_LOOP_BRIDGE_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "dure/base/completion_queue.h"
#include "dure/base/status.h"

namespace dure::bindings {

namespace py = pybind11;

class PyCompletion : public base::Completion {
 public:
  // The value of the awaited future; called once, under the GIL, on the waiter's thread. Throws to
  // fail it (StatusException, error_already_set).
  virtual py::object make_result() = 0;
};

// Fails the waiter with the exception of `status`.
class FailedDone final : public PyCompletion {
 public:
  explicit FailedDone(base::Status status) : status_(std::move(status)) {}
  py::object make_result() override;

 private:
  base::Status status_;
};

// Only says "look again": the result is None.
class WakeDone final : public PyCompletion {
 public:
  py::object make_result() override;
};

// What native code keeps of someone who waits. Thread-safe, copyable, needs no GIL.
class Waiter {
 public:
  Waiter() = default;
  Waiter(std::shared_ptr<base::CompletionSink> sink, std::uint64_t ticket)
      : sink_(std::move(sink)), ticket_(ticket) {}
  // Call once. Dropped and counted if nobody waits any more.
  void complete(std::unique_ptr<PyCompletion> done) const noexcept {
    if (sink_ == nullptr) return;
    done->ticket = ticket_;
    sink_->push(std::move(done));
  }
  [[nodiscard]] std::uint64_t ticket() const noexcept { return ticket_; }
  [[nodiscard]] explicit operator bool() const noexcept { return sink_ != nullptr; }

 private:
  std::shared_ptr<base::CompletionSink> sink_;
  std::uint64_t ticket_ = 0;
};

// One per running event loop. All under the GIL, on the loop's thread.
class LoopBridge : public std::enable_shared_from_this<LoopBridge> {
 public:
  // The bridge of the loop that runs in this thread, made on first use. Throws kUnsupported if none
  // runs.
  static LoopBridge& current();

  // A future of this loop, and what completes it.
  std::pair<py::object, Waiter> make_future();
  // The same for a coroutine of ours, which awaits it at once: a DirectWait.
  std::pair<py::object, Waiter> make_wait();
  // Whether somebody still waits for `ticket`: it has not come, and was not cancelled.
  [[nodiscard]] bool waits(std::uint64_t ticket);
  // The call of `ticket` was not begun, or its wait was cancelled: nobody completes it.
  void forget(std::uint64_t ticket) noexcept;
  // Keeps `call` as long as the future of `ticket` waits; detach gives it back, or nothing.
  void attach(std::uint64_t ticket, std::shared_ptr<void> call);
  [[nodiscard]] std::shared_ptr<void> detach(std::uint64_t ticket);
  // Resolves what is ready; the loop calls it when the descriptor is readable. Tasks run inside it:
  // one may run another loop, whose drain goes on with what this one has taken, or fork, and what
  // one lets through ends this call and not the next.
  void drain();

  ~LoopBridge();
  LoopBridge(const LoopBridge&) = delete;
  LoopBridge& operator=(const LoopBridge&) = delete;

 private:
  friend class LoopBridges;
  explicit LoopBridge(py::object loop);
  void watch(const py::object& loop);
  void resolve(base::Completion& done);
  [[nodiscard]] bool serves(const py::object& loop) const;

  py::object loop_ref_;  // weakref: a bridge keeps no loop alive
  std::shared_ptr<base::CompletionQueue> queue_;
  // A ticket is a place in pending_ and how often it was used: places are used again.
  struct Pending {
    py::object future;  // null: the place is free
    std::shared_ptr<void> call;
    std::uint32_t uses = 0;
  };
  [[nodiscard]] Pending* find(std::uint64_t ticket);
  [[nodiscard]] py::object new_future();
  std::pair<py::object, Waiter> waiting_for(py::object future);

  base::CompletionList taken_;  // out of the queue, not resolved
  bool abandoned_ = false;      // it is the parent's of this process
  std::vector<Pending> pending_;
  std::vector<std::uint32_t> free_;  // places; has room for all of them
  bool usual_futures_ = false;       // the loop makes asyncio's own
};

// Made when a call begins: knows in which process. Needs no lock; under the GIL.
class ProcessMark {
 public:
  ProcessMark() noexcept;
  // This process is the child of a fork, and the call is its parent's.
  [[nodiscard]] bool inherited() const noexcept;
  // Throws kUnavailable, stage "fork", if inherited.
  void require_own() const;

 private:
  const std::uint64_t generation_;
};

// One wait of a plain thread. GIL released in slices of 50 ms; signals are looked at after each.
class SyncWait {
 public:
  SyncWait() : slot_(std::make_shared<base::CompletionSlot>()) {}
  [[nodiscard]] Waiter waiter() const { return Waiter(slot_, 0); }
  // The result. If a signal handler raises (Ctrl-C), calls `abandon` and raises that; in the child
  // if it forks, kUnavailable.
  py::object get(const std::function<void()>& abandon);

 private:
  std::shared_ptr<base::CompletionSlot> slot_;
  const ProcessMark mark_;
};

// Registers fork and exit hooks; called once by the module.
void init_loop_bridge(py::module_& core);
// Completions that came for loops already closed, since the process began.
std::uint64_t dropped_completions();

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_LOOP_BRIDGE_H_
