#include "net/io_thread.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include "dure/base/completion_queue.h"
#include "net/native_thread.h"

namespace dure::net {
namespace {

constexpr std::uint64_t kWakeTag = ~std::uint64_t{0};
constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kFakeTimeSlice = 2 * kMs;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kKeptRoom = 4096;  // commands

base::Status stopped() {
  return base::Status(base::Code::kUnavailable,
                      "the transport was stopped while the request was under way; it may have "
                      "been carried out")
      .with("stage", std::string("stop"));
}

// The engine whose work this thread is doing, and whether a request may begin at this point of it:
// inside a timer's work it may, inside a handler's callback it may not.
thread_local const IoThread* inside = nullptr;
thread_local bool at_top = false;

}  // namespace

// Work of the layers above that waits for its time; owned by the thread.
class IoThread::WorkTimer final : public Timer {
 public:
  WorkTimer(IoThread& thread, std::shared_ptr<Work> work)
      : thread_(thread), work_(std::move(work)) {}
  void fire() noexcept override {
    const auto self = thread_.works_.extract(this);  // dies at the end of this call
    thread_.run_work(*work_);
  }

 private:
  IoThread& thread_;
  const std::shared_ptr<Work> work_;
};

IoThread::IoThread(const base::Clock& clock)
    : clock_(clock), fake_time_(&clock != &base::system_clock()) {}

IoThread::~IoThread() {
  if (thread_.joinable()) thread_.detach();  // only if stop() was never called
  if (epoll_ >= 0) ::close(epoll_);
  if (wake_ >= 0) ::close(wake_);
}

base::Status IoThread::start(const std::shared_ptr<IoThread>& self) {
  if (base::Status ready = self->prepare(); !ready.ok()) return ready;
  const auto no = [](std::string_view what) {
    return base::Status(base::Code::kUnavailable,
                        "the transport cannot start: " + std::string(what) + " (" +
                            std::strerror(errno) + ")")
        .with("stage", std::string("start"));
  };
  self->epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  self->wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (self->epoll_ < 0 || self->wake_ < 0) return no("no file descriptor is left");
  // Edge-triggered: every write wakes, and nobody has to read.
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = kWakeTag}};
  if (::epoll_ctl(self->epoll_, EPOLL_CTL_ADD, self->wake_, &event) != 0) return no("epoll");
  try {
    self->thread_ = start_thread([self] { self->run(); });
  } catch (const std::system_error&) {
    return no("no thread is left");
  }
  return {};
}

bool IoThread::submit(Submission& submission) {
  if (inside == this && at_top) {
    start_request(submission);
    return true;
  }
  if (inside != this && begin_outside(submission)) return true;
  bool wake = false;
  {
    const std::lock_guard lock(command_mutex_);
    if (ended_) return false;
    commands_.emplace_back(std::in_place_type<Submission>, std::move(submission));
    wake = std::exchange(asleep_, false);
  }
  if (wake) this->wake();
  return true;
}

bool IoThread::begin_outside(Submission& submission) noexcept {
  const std::unique_lock work(work_mutex_, std::try_to_lock);
  if (!work || !may_begin_outside()) return false;
  {
    const std::lock_guard lock(command_mutex_);
    if (!asleep_ || !commands_.empty() || stop_asked_ || ended_) return false;
  }
  const IoThread* const before = std::exchange(inside, this);
  start_request(submission);
  inside = before;
  const bool sooner = !timers_.empty() && timers_.next() < sleeps_until_;
  if (sooner || own_wait() == 0) this->wake();
  return true;
}

void IoThread::run_work(Work& work) noexcept {
  at_top = true;
  work.run();
  at_top = false;
}

void IoThread::push(Command command) {
  bool wake = false;
  {
    const std::lock_guard lock(command_mutex_);
    if (ended_) return;
    commands_.push_back(std::move(command));
    wake = std::exchange(asleep_, false);
  }
  // Outside the lock, which the woken thread takes first; the caller keeps the engine alive.
  if (wake) this->wake();
}

void IoThread::push_surely(Spare command) noexcept {
  try {
    return std::visit([this](auto one) { push(one); }, command);
  } catch (const std::bad_alloc&) {
    const std::lock_guard lock(command_mutex_);
    if (ended_ || spares_ == spare_.size()) return;
    spare_[spares_++] = command;
    asleep_ = false;
  }
  wake();
}

void IoThread::wake() const noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

bool IoThread::stop(base::Duration limit) {
  {
    const std::lock_guard lock(command_mutex_);
    stop_asked_ = true;
    if (!ended_) wake();
  }
  if (inside == this) {  // a handler let the transport go
    thread_.detach();
    return false;
  }
  const std::lock_guard joining(join_mutex_);
  std::unique_lock lock(command_mutex_);
  const bool ended = end_seen_.wait_for(lock, limit, [this] { return ended_; });
  lock.unlock();
  if (!thread_.joinable()) return ended;
  ended ? thread_.join() : thread_.detach();
  return ended;
}

void IoThread::run() noexcept {
  std::array<epoll_event, 256> events;
  inside = this;
  std::unique_lock work(work_mutex_);
  while (!stopping_) {
    const int timeout = may_sleep() ? timeout_ms() : 0;
    sleeps_until_ = timers_.empty() ? base::Instant{kNever} : timers_.next();
    work.unlock();
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout);
    work.lock();
    const base::WakeScope turn;
    for (int at = 0; at < count; ++at) {
      const epoll_event& event = events[static_cast<std::size_t>(at)];
      if (event.data.u64 != kWakeTag) ready(event.data.u64, event.events);
    }
    run_commands();
    const base::Instant now = clock_.now();
    while (Timer* const due = timers_.pop_due(now)) due->fire();
    after_turn();
  }
  shut_down(stopped());
  works_.clear();
  {
    const std::lock_guard lock(command_mutex_);
    ended_ = true;
    batch_.swap(commands_);
  }
  for (Command& late : batch_) {  // came while the rest was ended
    if (auto* const submission = std::get_if<Submission>(&late)) refuse(*submission, stopped());
  }
  batch_.clear();
  end_seen_.notify_all();
}

void IoThread::refuse(Submission& submission, base::Status status) noexcept {
  const Timing timing{.submitted = submission.at, .sent = {}, .first_byte = {}, .ended = now()};
  submission.handler->on_end(std::move(status), timing);
}

int IoThread::timeout_ms() const {
  std::int64_t wait = own_wait();
  const auto take = [&wait](std::int64_t left) {
    left = std::max<std::int64_t>(left, 0);
    if (wait < 0 || left < wait) wait = left;
  };
  if (!timers_.empty()) take((timers_.next() - clock_.now()).count());
  if (fake_time_ && !timers_.empty()) take(kFakeTimeSlice);
  if (wait < 0) return -1;
  return static_cast<int>(std::min<std::int64_t>((wait + kMs - 1) / kMs, 60'000));
}

bool IoThread::may_sleep() {
  const std::lock_guard lock(command_mutex_);
  return asleep_ = commands_.empty() && spares_ == 0 && !stop_asked_;
}

void IoThread::run_commands() {
  bool spares = false;
  {
    const std::lock_guard lock(command_mutex_);
    spares = spares_ != 0;
    asleep_ = false;
    stopping_ = stop_asked_;
    commands_.swap(batch_);
  }
  for (Command& command : batch_) {
    try {
      execute(command);
    } catch (const std::bad_alloc&) {  // work that is dropped says so to those who wait for it
    }
  }
  batch_.clear();
  if (batch_.capacity() > kKeptRoom) batch_.shrink_to_fit();
  if (spares) run_spares();
}

void IoThread::run_spares() noexcept {
  std::array<Spare, kMostSpare> spare;
  std::size_t count = 0;
  {
    const std::lock_guard lock(command_mutex_);
    spare = spare_;
    count = std::exchange(spares_, 0);
  }
  for (std::size_t at = 0; at < count; ++at) execute(spare[at]);
}

void IoThread::execute(const Spare& command) noexcept {
  if (const auto* const cancelled = std::get_if<Cancel>(&command)) {
    fail(cancelled->id, {base::Code::kCancelled, "cancelled"});
  } else {
    const RequestId id = std::get<Resume>(command).id;
    guarded(id, [this, id] { go_on(id); });
  }
}

void IoThread::execute(Command& command) {
  if (auto* const submission = std::get_if<Submission>(&command)) {
    start_request(*submission);
  } else if (const auto* const cancelled = std::get_if<Cancel>(&command)) {
    execute(Spare(*cancelled));
  } else if (const auto* const resumed = std::get_if<Resume>(&command)) {
    execute(Spare(*resumed));
  } else if (auto* const later = std::get_if<Later>(&command)) {
    auto timer = std::make_unique<WorkTimer>(*this, std::move(later->work));
    WorkTimer& armed = *works_.emplace(timer.get(), std::move(timer)).first->second;
    try {
      timers_.arm(armed, later->at);
    } catch (const std::bad_alloc&) {
      works_.erase(&armed);
    }
  } else {
    std::get<std::function<void()>>(command)();
  }
}

void IoThread::start_request(Submission& submission) noexcept {
  const RequestId id = submission.id;
  const bool top = std::exchange(at_top, false);
  try {
    begin(submission);
    at_top = top;
  } catch (const std::bad_alloc&) {
    at_top = top;
    if (fail(id, no_memory()) || submission.handler == nullptr) return;
    refuse(submission, no_memory());
  }
}

void IoThread::abandon() noexcept {
  abandon_sockets();
  ::close(epoll_);
  ::close(wake_);
}

}  // namespace dure::net
