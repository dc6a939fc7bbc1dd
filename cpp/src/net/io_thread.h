// net/io_thread.h - the thread of an engine: one epoll, one queue of commands, timers, work that
// waits for its time. What the sockets mean is the business of the engine that derives from it.
//
// Thread-safe: submit, cancel, resume, run_at, post, stop and the fork functions. Everything else
// happens on the thread.
#ifndef DURE_SRC_NET_IO_THREAD_H_
#define DURE_SRC_NET_IO_THREAD_H_

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/status.h"
#include "dure/net/transport.h"
#include "net/timer_heap.h"

namespace dure::net {

struct Submission {
  RequestId id = 0;
  Request request;
  std::shared_ptr<Handler> handler;
  base::Instant at;
};

class IoThread : public std::enable_shared_from_this<IoThread> {
 public:
  virtual ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Starts the thread, which keeps `self` alive until it ends. Fails with kUnavailable if the
  // process has no descriptor or thread left.
  static base::Status start(const std::shared_ptr<IoThread>& self);

  // On the thread, those of one request in order. Dropped after the end.
  // submit() from work of run_at() on this thread begins the request at once; so does one from
  // another thread while this one sleeps and nothing is under way, if the engine allows it: the
  // request's first bytes leave before any thread is woken.
  // False after the end; then, and if it throws std::bad_alloc, the submission is as it was.
  [[nodiscard]] bool submit(Submission& submission);
  // These two also where memory has run out; but of more than kMostSpare at once some are lost
  // then, and those requests end at their deadlines.
  void cancel(RequestId id) noexcept { push_surely(Cancel{id}); }
  void resume(RequestId id) noexcept { push_surely(Resume{id}); }
  void run_at(base::Instant at, std::shared_ptr<Work> work) { push(Later{at, std::move(work)}); }
  void post(std::function<void()> call) { push(std::move(call)); }
  void keep_idle(bool keep) {
    post([this, keep] { set_keep_idle(keep); });
  }
  // Asks the thread to fail what is pending and to end; waits at most `limit`.
  bool stop(base::Duration limit);

  // Around fork(). While locked the thread is outside all callbacks, so that the child finds
  // nothing half done. The child calls abandon() and never touches the engine again.
  void lock_work() { work_mutex_.lock(); }
  void unlock_work() { work_mutex_.unlock(); }
  void lock_commands() { command_mutex_.lock(); }
  void unlock_commands() { command_mutex_.unlock(); }
  void abandon() noexcept;

  [[nodiscard]] base::Instant now() const noexcept { return clock_.now(); }

 protected:
  explicit IoThread(const base::Clock& clock);

  // Nothing is under way, and the next request may begin on its caller's thread, under work_mutex_.
  [[nodiscard]] virtual bool may_begin_outside() const noexcept { return false; }

  // Runs a step of a request; if memory runs out the request ends with that.
  template <typename Step>
  void guarded(RequestId id, Step step) noexcept {
    try {
      step();
    } catch (const std::bad_alloc&) {
      fail(id, no_memory());
    }
  }
  // Takes no memory itself.
  [[nodiscard]] static base::Status no_memory() { return {base::Code::kOutOfMemory, "no memory"}; }

  // Before the thread starts. A failure is the failure of start().
  virtual base::Status prepare() { return {}; }
  // May throw std::bad_alloc, as all of the next ones may; then fail() is called.
  virtual void begin(Submission& submission) = 0;
  // Ends a request that has begun and not ended; false if there is none such.
  virtual bool fail(RequestId id, const base::Status& status) noexcept = 0;
  virtual void go_on(RequestId id) = 0;
  virtual void set_keep_idle(bool keep) = 0;
  // A watched socket is ready (handles its own want of memory); `tag` is what it was watched with.
  virtual void ready(std::uint64_t tag, std::uint32_t events) = 0;
  // After each batch of events, commands and timers; likewise.
  virtual void after_turn() = 0;
  // Nanoseconds until after_turn() must run again at the latest; -1: no matter when.
  [[nodiscard]] virtual std::int64_t own_wait() const = 0;
  // The end: every request ends with `status`, every socket is closed.
  virtual void shut_down(const base::Status& status) = 0;
  // In the child of a fork: closes the descriptors and nothing else.
  virtual void abandon_sockets() noexcept = 0;

  TimerHeap& timers() noexcept { return timers_; }
  [[nodiscard]] int epoll() const noexcept { return epoll_; }

 private:
  struct Cancel {
    RequestId id;
  };
  struct Resume {
    RequestId id;
  };
  struct Later {
    base::Instant at;
    std::shared_ptr<Work> work;
  };
  using Command = std::variant<Submission, Cancel, Resume, Later, std::function<void()>>;
  class WorkTimer;
  static constexpr std::size_t kMostSpare = 64;
  using Spare = std::variant<Cancel, Resume>;

  [[nodiscard]] bool begin_outside(Submission& submission) noexcept;
  void push_surely(Spare command) noexcept;
  void run_work(Work& work) noexcept;
  void push(Command command);
  void wake() const noexcept;
  void run() noexcept;
  [[nodiscard]] int timeout_ms() const;
  // True if there is nothing to do before something happens outside.
  bool may_sleep();
  void run_commands();
  void execute(Command& command);
  void run_spares() noexcept;
  void execute(const Spare& command) noexcept;
  void start_request(Submission& submission) noexcept;
  void refuse(Submission& submission, base::Status status) noexcept;

  const base::Clock& clock_;
  const bool fake_time_;  // the clock may jump: look at it every few milliseconds
  int epoll_ = -1;
  int wake_ = -1;
  std::thread thread_;

  std::mutex command_mutex_;
  std::vector<Command> commands_ DURE_GUARDED_BY(command_mutex_);
  std::array<Spare, kMostSpare> spare_ DURE_GUARDED_BY(command_mutex_);  // of no memory for more
  std::size_t spares_ DURE_GUARDED_BY(command_mutex_) = 0;
  bool asleep_ DURE_GUARDED_BY(command_mutex_) = false;  // a command must write to wake_
  bool stop_asked_ DURE_GUARDED_BY(command_mutex_) = false;
  bool ended_ DURE_GUARDED_BY(command_mutex_) = false;
  std::condition_variable end_seen_;
  std::mutex join_mutex_;  // one stop() at a time joins

  std::mutex work_mutex_;  // held by the thread except while it waits in epoll
  std::vector<Command> batch_ DURE_GUARDED_BY(work_mutex_);  // keeps its room between turns
  bool stopping_ DURE_GUARDED_BY(work_mutex_) = false;
  TimerHeap timers_ DURE_GUARDED_BY(work_mutex_);
  base::Instant sleeps_until_ DURE_GUARDED_BY(work_mutex_);  // at the longest, by the timers
  std::unordered_map<WorkTimer*, std::unique_ptr<WorkTimer>> works_ DURE_GUARDED_BY(work_mutex_);
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_IO_THREAD_H_
