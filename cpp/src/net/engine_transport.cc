#include "net/engine_transport.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "dure/net/curl_transport.h"

namespace dure::net {
namespace {

// getpid() without a system call: the kernel wipes the page in the child of a fork, however it was
// made.
pid_t this_process() noexcept {
  static auto* const page = [] {
    const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const made =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool wiped = made != MAP_FAILED && ::madvise(made, size, MADV_WIPEONFORK) == 0;
    return wiped ? static_cast<pid_t*>(made) : nullptr;  // never given back
  }();
  if (page == nullptr) return ::getpid();
  std::atomic_ref<pid_t> kept(*page);
  pid_t pid = kept.load(std::memory_order_relaxed);
  if (pid == 0) kept.store(pid = ::getpid(), std::memory_order_relaxed);
  return pid;
}

// What fork(), exit and the transport itself share: the engine, or none yet.
struct Slot {
  std::mutex mutex;
  std::shared_ptr<IoThread> engine DURE_GUARDED_BY(mutex);
  pid_t owner DURE_GUARDED_BY(mutex) = 0;  // the process that started the engine
  bool stopped DURE_GUARDED_BY(mutex) = false;
};

// Never destroyed: the child of a fork and exit hooks come late.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<Slot>> slots DURE_GUARDED_BY(mutex);

  std::vector<std::shared_ptr<Slot>> all() {
    std::vector<std::shared_ptr<Slot>> alive;
    const std::lock_guard lock(mutex);
    for (const auto& slot : slots) {
      if (auto held = slot.lock()) alive.push_back(std::move(held));
    }
    return alive;
  }
};

Registry& registry() {
  static auto* const kept = new Registry();
  return *kept;
}

// Fork. All locks are taken in one order (threads at work, slots, commands), the same in which the
// I/O threads take them, so that the child finds every structure whole.
struct Forking {
  std::vector<std::shared_ptr<Slot>> slots;
  std::vector<std::shared_ptr<IoThread>> engines;
};

Forking& forking() {
  static auto* const kept = new Forking();
  return *kept;
}

void before_fork() {
  Forking& state = forking();
  state.slots = registry().all();
  for (const auto& slot : state.slots) {
    const std::lock_guard lock(slot->mutex);
    if (slot->engine != nullptr) state.engines.push_back(slot->engine);
  }
  for (const auto& engine : state.engines) engine->lock_work();
  for (const auto& slot : state.slots) slot->mutex.lock();
  for (const auto& engine : state.engines) engine->lock_commands();
  registry().mutex.lock();
}

void after_fork_in_parent() {
  Forking& state = forking();
  registry().mutex.unlock();
  for (const auto& engine : state.engines) engine->unlock_commands();
  for (const auto& slot : state.slots) slot->mutex.unlock();
  for (const auto& engine : state.engines) engine->unlock_work();
  state.engines.clear();
  state.slots.clear();
}

// The engines and all that they hold are left as they are, for ever: their memory is shared with
// nobody, and to take them apart would speak on the parent's connections.
void after_fork_in_child() {
  Forking& state = forking();
  registry().mutex.unlock();
  for (const auto& engine : state.engines) engine->abandon();
  for (const auto& slot : state.slots) {
    slot->engine = nullptr;
    slot->mutex.unlock();
  }
  new std::vector<std::shared_ptr<IoThread>>(std::move(state.engines));
  state.engines.clear();
  state.slots.clear();
}

void register_slot(const std::shared_ptr<Slot>& slot) {
  static std::once_flag once;
  std::call_once(once, [] {
    registry();
    forking();
    ::pthread_atfork(&before_fork, &after_fork_in_parent, &after_fork_in_child);
  });
  const std::lock_guard lock(registry().mutex);
  std::erase_if(registry().slots, [](const auto& known) { return known.expired(); });
  registry().slots.push_back(slot);
}

base::Status closed() {
  return base::Status(base::Code::kUnavailable,
                      "the client is closed: make a new one, nothing was sent")
      .with("stage", std::string("closed"));
}

bool stop_slot(Slot& slot, base::Duration limit) {
  std::shared_ptr<IoThread> engine;
  {
    const std::lock_guard lock(slot.mutex);
    slot.stopped = true;
    if (slot.owner == this_process()) engine = std::exchange(slot.engine, nullptr);
  }
  return engine == nullptr || engine->stop(limit);
}

class EngineTransport final : public Transport {
 public:
  EngineTransport(MakeEngine make, const base::Clock& clock)
      : make_(std::move(make)), clock_(clock), slot_(std::make_shared<Slot>()) {
    register_slot(slot_);
  }
  ~EngineTransport() override { stop_slot(*slot_, std::chrono::seconds(2)); }
  EngineTransport(const EngineTransport&) = delete;
  EngineTransport& operator=(const EngineTransport&) = delete;

  RequestId submit(Request request, std::shared_ptr<Handler> handler) override {
    const RequestId id = ++last_id_;
    const base::Instant at = clock_.now();
    Submission submission{id, std::move(request), std::move(handler), at};
    base::Status refused;
    try {
      std::shared_ptr<IoThread> engine;
      refused = running_engine(&engine);
      // Outside the slot's mutex: what begins may call the transport.
      if (refused.ok() && engine->submit(submission)) return id;
      if (refused.ok()) refused = closed();
    } catch (const std::bad_alloc&) {
      refused = {base::Code::kOutOfMemory, "no memory"};
    }
    submission.handler->on_end(std::move(refused),
                               Timing{.submitted = at, .sent = {}, .first_byte = {}, .ended = at});
    return id;
  }

  void cancel(RequestId id) override {
    with_engine([id](IoThread& engine) { engine.cancel(id); });
  }
  void resume(RequestId id) override {
    with_engine([id](IoThread& engine) { engine.resume(id); });
  }
  void run_at(base::Instant at, std::shared_ptr<Work> work) override {
    std::shared_ptr<IoThread> engine;
    if (running_engine(&engine).ok()) engine->run_at(at, std::move(work));
  }
  void keep_idle(bool keep) override {
    const std::lock_guard lock(slot_->mutex);
    keep_idle_ = keep;
    if (slot_->engine != nullptr && slot_->owner == this_process()) {
      slot_->engine->keep_idle(keep);
    }
  }
  bool stop(base::Duration limit) override { return stop_slot(*slot_, limit); }

 private:
  base::Status running_engine(std::shared_ptr<IoThread>* engine) {
    const std::lock_guard lock(slot_->mutex);
    if (slot_->stopped) return closed();
    base::Status status = ensure_engine();
    if (status.ok()) *engine = slot_->engine;
    return status;
  }

  // REQUIRES: slot_->mutex is held.
  base::Status ensure_engine() {
    if (slot_->engine != nullptr && slot_->owner == this_process()) return {};
    if (slot_->engine != nullptr) {  // forked behind our back: leave it alone, for ever
      new std::shared_ptr<IoThread>(std::move(slot_->engine));
    }
    std::shared_ptr<IoThread> engine = make_();
    if (base::Status status = IoThread::start(engine); !status.ok()) return status;
    if (!keep_idle_) engine->keep_idle(false);
    slot_->engine = std::move(engine);
    slot_->owner = this_process();
    return {};
  }

  template <typename Use>
  void with_engine(Use use) {
    const std::lock_guard lock(slot_->mutex);
    if (slot_->engine == nullptr || slot_->owner != this_process()) return;
    use(*slot_->engine);
  }

  const MakeEngine make_;
  const base::Clock& clock_;
  const std::shared_ptr<Slot> slot_;
  std::atomic<RequestId> last_id_{0};
  bool keep_idle_ = true;  // guarded by the slot's mutex
};

}  // namespace

std::shared_ptr<Transport> make_engine_transport(MakeEngine make, const base::Clock& clock) {
  return std::make_shared<EngineTransport>(std::move(make), clock);
}

bool stop_all_transports(base::Duration limit) {
  const base::Instant end = base::system_clock().now() + limit;
  bool all = true;
  for (const auto& slot : registry().all()) {
    const base::Duration left = end - base::system_clock().now();
    all = stop_slot(*slot, std::max(left, base::Duration(0))) && all;
  }
  return all;
}

}  // namespace dure::net
