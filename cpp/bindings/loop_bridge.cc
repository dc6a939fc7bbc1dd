#include "loop_bridge.h"

#include <poll.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "direct_wait.h"
#include "exit_guard.h"
#include "gil.h"
#include "no_memory.h"
#include "status.h"

namespace dure::bindings {
namespace {

constexpr base::Duration kSlice = std::chrono::milliseconds(50);

// Python objects that live as long as the process: destroying them at exit would be too late.
struct Names {
  py::object get_running_loop;
  py::object future_type;
  py::object create_future = intern("create_future");
  py::object done = intern("done");
  py::object set_result = intern("set_result");
  static py::object intern(const char* name) {
    return py::reinterpret_steal<py::object>(PyUnicode_InternFromString(name));
  }
  Names()
      : get_running_loop(py::module_::import("asyncio").attr("get_running_loop")),
        future_type(py::module_::import("asyncio").attr("Future")) {}
};

const Names& names() {
  static const Names* const kept = new Names();  // leaked; made under the GIL, never concurrently
  return *kept;
}

py::object checked(PyObject* result) {
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

py::object call(const py::object& object, const py::object& method) {
  return checked(PyObject_CallMethodNoArgs(object.ptr(), method.ptr()));
}

base::Status inherited() {
  return base::Status(base::Code::kUnavailable,
                      "this call was begun by the parent process and ends there: begin it again in "
                      "the child")
      .with("stage", std::string("fork"));
}

// How often this process is a fork of the one that loaded us. Guarded by the GIL.
std::uint64_t forks_behind = 0;

void fail_future(const py::object& future, const base::Status& status) {
  if (DirectWait::is(future)) return DirectWait::fail(future, to_exception(status));
  if (status.code() == base::Code::kCancelled) {
    future.attr("cancel")();
  } else {
    future.attr("set_exception")(to_exception(status));
  }
}

}  // namespace

// All bridges of this process, by the identity of their loop. Guarded by the GIL.
class LoopBridges {
 public:
  static LoopBridges& instance() {
    static auto* const all = new LoopBridges();  // leaked: loops may end after static destructors
    return *all;
  }

  LoopBridge& of(const py::object& loop) {
    if (last_ != nullptr && last_->serves(loop)) return *last_;
    const auto found = by_loop_.find(loop.ptr());
    if (found != by_loop_.end() && found->second->serves(loop))
      return *(last_ = found->second.get());
    drop_closed();
    std::shared_ptr<LoopBridge> bridge(new LoopBridge(loop));
    bridge->watch(loop);
    return *(last_ = (by_loop_[loop.ptr()] = std::move(bridge)).get());
  }

  // The child of a fork: the descriptors and queues are shared with the parent or may be locked by
  // threads that do not exist here, so nothing of them is used again.
  void abandon_in_child() {
    reset_exit_guard_in_child();
    ++forks_behind;
    last_ = nullptr;
    for (auto& [loop, bridge] : std::exchange(by_loop_, {})) {
      auto pending = std::exchange(bridge->pending_, {});
      bridge->abandoned_ = true;
      bridge->queue_->abandon_in_child();
      new std::shared_ptr<LoopBridge>(bridge);  // leaked with its locks
      for (auto& waiting : pending) {
        const py::object& future = waiting.future;
        if (!future) continue;
        new std::shared_ptr<void>(std::move(waiting.call));  // its engine is the parent's
        try {
          if (DirectWait::is(future)) {
            DirectWait::fail_later(future, to_exception(inherited()));
            continue;
          }
          if (future.attr("done")().cast<bool>()) continue;
          fail_future(future, inherited());
          future.attr("_log_traceback") = false;  // often nobody will look at it here
        } catch (py::error_already_set& ignored) {
          ignored.discard_as_unraisable("dure: failing a call inherited through fork");
        }
      }
    }
  }

  std::uint64_t dropped() const {
    std::uint64_t sum = dropped_;
    for (const auto& [loop, bridge] : by_loop_) sum += bridge->queue_->dropped();
    return sum;
  }

 private:
  void drop_closed() {
    last_ = nullptr;
    std::vector<std::shared_ptr<LoopBridge>> gone;  // destroyed last: that may run Python code
    for (auto it = by_loop_.begin(); it != by_loop_.end();) {
      const py::object loop = it->second->loop_ref_();
      if (!loop.is_none() && !loop.attr("is_closed")().cast<bool>()) {
        ++it;
        continue;
      }
      it->second->queue_->close();
      dropped_ += it->second->queue_->dropped() + it->second->taken_.size();
      gone.push_back(std::move(it->second));
      it = by_loop_.erase(it);
    }
  }

  std::unordered_map<PyObject*, std::shared_ptr<LoopBridge>> by_loop_;
  LoopBridge* last_ = nullptr;  // asked for last; one of them
  std::uint64_t dropped_ = 0;
};

namespace {

// For loops that cannot watch a descriptor: a thread of Python's own waits for it and calls the
// loop. It takes the GIL once per wake, so it leaves by the exit guard.
class Pump {
 public:
  static void start(const py::object& loop, int fd, py::object drain) {
    auto pump = std::make_shared<Pump>();
    auto run = py::cpp_function(
        [pump, loop_ref = py::weakref(loop), fd, drain] { pump->run(loop_ref, fd, drain); });
    py::dict options;
    options["target"] = run;
    options["daemon"] = true;
    options["name"] = "dure-loop-pump";
    py::module_::import("threading").attr("Thread")(**options).attr("start")();
  }

 private:
  void run(const py::weakref& loop_ref, int fd, const py::object& drain) {
    while (true) {
      int ready = 0;
      {
        const ExitSafeRelease released;
        pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
        ready = ::poll(&watched, 1, 100);
        if (ready > 0 && (watched.revents & POLLIN) == 0) return;  // closed
      }
      const py::object loop = loop_ref();
      if (loop.is_none() || loop.attr("is_closed")().cast<bool>()) return;
      if (ready > 0) call(loop, drain);
    }
  }

  // Returns once the loop has drained, or will never do it.
  void call(const py::object& loop, const py::object& drain) {
    const auto drained = std::make_shared<std::pair<std::mutex, std::condition_variable>>();
    const auto flag = std::make_shared<bool>(false);
    try {
      loop.attr("call_soon_threadsafe")(py::cpp_function([drain, drained, flag] {
        drain();
        const std::lock_guard lock(drained->first);
        *flag = true;
        drained->second.notify_one();
      }));
    } catch (py::error_already_set&) {
      return;  // closed meanwhile: run() sees it
    }
    const ExitSafeRelease released;
    std::unique_lock lock(drained->first);
    drained->second.wait_for(lock, std::chrono::seconds(1), [&] { return *flag; });
  }
};

}  // namespace

py::object FailedDone::make_result() { throw StatusException(std::move(status_)); }

py::object WakeDone::make_result() { return py::none(); }

LoopBridge& LoopBridge::current() {
  py::object loop;
  try {
    loop = checked(PyObject_CallNoArgs(names().get_running_loop.ptr()));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_RuntimeError)) throw;
    throw StatusException(base::Status(
        base::Code::kUnsupported,
        "no asyncio loop runs in this thread: await inside asyncio.run (uvloop too); elsewhere, "
        "and under trio, use the sync client"));
  }
  return LoopBridges::instance().of(loop);
}

LoopBridge::LoopBridge(py::object loop)
    : loop_ref_(py::weakref(loop)), queue_(value_or_throw(base::CompletionQueue::create())) {
  const py::object future = call(loop, names().create_future);
  usual_futures_ = py::type::of(future).is(names().future_type);
}

bool LoopBridge::serves(const py::object& loop) const {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* strong = nullptr;
  if (PyWeakref_GetRef(loop_ref_.ptr(), &strong) < 0) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(strong).is(loop);
#else
  return PyWeakref_GetObject(loop_ref_.ptr()) == loop.ptr();
#endif
}

LoopBridge::~LoopBridge() { queue_->close(); }

void LoopBridge::watch(const py::object& loop) {
  const py::cpp_function drain([self = weak_from_this()] {
    if (const auto bridge = self.lock()) bridge->drain();
  });
  try {
    loop.attr("add_reader")(queue_->fd(), drain);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_NotImplementedError)) throw;
    Pump::start(loop, queue_->fd(), drain);
  }
}

// loop.create_future() is a Python function that does the same, for loops that do nothing special.
// The running loop is the future's without being named, which would cost a dict.
py::object LoopBridge::new_future() {
  if (!usual_futures_) return call(loop_ref_(), names().create_future);
  return checked(PyObject_CallNoArgs(names().future_type.ptr()));
}

std::pair<py::object, Waiter> LoopBridge::make_future() { return waiting_for(new_future()); }

std::pair<py::object, Waiter> LoopBridge::make_wait() {
  return waiting_for(DirectWait::make(loop_ref_()));
}

std::pair<py::object, Waiter> LoopBridge::waiting_for(py::object future) {
  if (free_.empty()) {
    if (free_.capacity() <= pending_.size()) free_.reserve(2 * pending_.size() + 16);
    pending_.emplace_back();
    free_.push_back(static_cast<std::uint32_t>(pending_.size() - 1));
  }
  const std::uint32_t place = free_.back();
  free_.pop_back();
  Pending& pending = pending_[place];
  pending.future = future;
  const std::uint64_t ticket = (std::uint64_t{++pending.uses} << 32U) | place;
  return {std::move(future), Waiter(queue_, ticket)};
}

LoopBridge::Pending* LoopBridge::find(std::uint64_t ticket) {
  const std::size_t place = ticket & 0xFFFFFFFFU;
  if (place >= pending_.size()) return nullptr;
  Pending& pending = pending_[place];
  return pending.future && pending.uses == ticket >> 32U ? &pending : nullptr;
}

bool LoopBridge::waits(std::uint64_t ticket) {
  const Pending* const pending = find(ticket);
  if (pending == nullptr) return false;
  const py::object& future = pending->future;
  return !(DirectWait::is(future) ? DirectWait::done(future)
                                  : call(future, names().done).is(py::bool_(true)));
}

void LoopBridge::forget(std::uint64_t ticket) noexcept {
  Pending* const pending = find(ticket);
  if (pending == nullptr) return;
  pending->future = py::object();
  pending->call = nullptr;
  free_.push_back(static_cast<std::uint32_t>(ticket));
}

void LoopBridge::attach(std::uint64_t ticket, std::shared_ptr<void> call) {
  if (Pending* const pending = find(ticket)) pending->call = std::move(call);
}

std::shared_ptr<void> LoopBridge::detach(std::uint64_t ticket) {
  Pending* const pending = find(ticket);
  return pending == nullptr ? nullptr : std::move(pending->call);
}

void LoopBridge::drain() {
  const ContextLeft left_while_tasks_run;
  for (std::size_t left = base::CompletionQueue::kBatch; left > 0 && !abandoned_; --left) {
    if (taken_.empty()) taken_ = queue_->drain();
    const auto done = taken_.pop();
    if (done == nullptr) return;
    resolve(*done);
  }
}

void LoopBridge::resolve(base::Completion& done) {
  Pending* const pending = find(done.ticket);
  if (pending == nullptr) return;
  const py::object future = std::exchange(pending->future, py::object());
  const std::shared_ptr<void> call_of_it = std::exchange(pending->call, nullptr);
  free_.push_back(static_cast<std::uint32_t>(done.ticket));
  const bool direct = DirectWait::is(future);
  if (direct ? DirectWait::done(future) : call(future, names().done).is(py::bool_(true))) {
    return;  // cancelled meanwhile
  }
  py::object result;
  try {
    result = static_cast<PyCompletion&>(done).make_result();
  } catch (const StatusException& failure) {
    return fail_future(future, failure.status());
  } catch (py::error_already_set& error) {
    if (direct) return DirectWait::fail(future, error.value());
    future.attr("set_exception")(error.value());
    return;
  } catch (const std::bad_alloc&) {
    if (direct) return DirectWait::fail(future, no_memory_exception());
    future.attr("set_exception")(no_memory_exception());
    return;
  }
  if (direct) return DirectWait::resume(future, result);
  checked(PyObject_CallMethodOneArg(future.ptr(), names().set_result.ptr(), result.ptr()));
}

ProcessMark::ProcessMark() noexcept : generation_(forks_behind) {}

bool ProcessMark::inherited() const noexcept { return generation_ != forks_behind; }

void ProcessMark::require_own() const {
  if (inherited()) throw StatusException(dure::bindings::inherited());
}

py::object SyncWait::get(const std::function<void()>& abandon) {
  auto done = slot_->wait_for(base::Duration(0));
  while (done == nullptr) {
    {
      const ExitSafeRelease released;
      done = slot_->wait_for(kSlice);
    }
    if (done != nullptr) break;
    if (PyErr_CheckSignals() != 0) {
      py::error_already_set raised;
      if (!mark_.inherited()) abandon();
      throw raised;
    }
    mark_.require_own();  // a signal's handler may have forked
  }
  return static_cast<PyCompletion&>(*done).make_result();
}

void init_loop_bridge(py::module_& core) {
  DirectWait::init();
  core.def("dropped_completions", &dropped_completions,
           "Completions that came for loops already closed.");
  py::dict hooks;
  hooks["after_in_child"] = py::cpp_function([] { LoopBridges::instance().abandon_in_child(); });
  py::module_::import("os").attr("register_at_fork")(**hooks);
}

std::uint64_t dropped_completions() { return LoopBridges::instance().dropped(); }

}  // namespace dure::bindings
