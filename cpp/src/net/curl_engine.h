// net/curl_engine.h - engine A's thread: one epoll, shards of libcurl handles, timers, a queue.
//
// libcurl's own queue is never used: a handle is added to a shard only when it may run, because
// libcurl's cost per request grows with the connections it looks after. Everything but post(),
// finished() and the fork functions happens on the thread.
#ifndef DURE_SRC_NET_CURL_ENGINE_H_
#define DURE_SRC_NET_CURL_ENGINE_H_

#include <curl/curl.h>
#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/net/curl_transport.h"
#include "net/resolver.h"
#include "net/timer_heap.h"
#include "net/transfer.h"

namespace dure::net {

// Some connections of one CURLM. Guarded requests have shards of their own.
struct CurlShard {
  CurlEngine* engine = nullptr;
  CURLM* multi = nullptr;
  std::size_t active = 0;
  bool guarded = false;
  bool timer_set = false;
  bool nudge = false;        // an address failed: see CurlEngine::nudge
  base::Instant timer_at;    // on the machine's clock: it is libcurl's own timer
  std::vector<CURL*> spare;  // configured handles, to be used again
  std::unordered_map<std::string, std::uint64_t> addresses;  // "host:port" -> generation known here
};

class CurlEngine : public std::enable_shared_from_this<CurlEngine> {
 public:
  using Command = std::function<void()>;

  CurlEngine(const TransportOptions& options, const base::Clock& clock);
  ~CurlEngine();
  CurlEngine(const CurlEngine&) = delete;
  CurlEngine& operator=(const CurlEngine&) = delete;

  // Starts the thread, which keeps `self` alive until it ends. Fails with kUnavailable if the
  // process has no descriptor or thread left.
  static base::Status start(const std::shared_ptr<CurlEngine>& self);

  // Thread-safe: runs `command` on the thread, in order. Dropped after the end.
  void post(Command command);
  // Thread-safe. Asks the thread to fail what is pending and to end; waits at most `limit`.
  bool stop(base::Duration limit);

  // On the thread:
  void submit(RequestId id, Request request, std::shared_ptr<Handler> handler, base::Instant at);
  void cancel(RequestId id);
  void resume(RequestId id);
  void run_at(base::Instant at, std::shared_ptr<Work> work);

  // Around fork(). While locked the thread is outside all callbacks, so that the child finds
  // nothing half done. The child calls abandon() and never touches the engine again.
  void lock_work() { work_mutex_.lock(); }
  void unlock_work() { work_mutex_.unlock(); }
  void lock_commands() { command_mutex_.lock(); }
  void unlock_commands() { command_mutex_.unlock(); }
  void abandon() noexcept;

  // Called by transfers and libcurl's callbacks.
  [[nodiscard]] base::Instant now() const noexcept { return clock_.now(); }
  void rearm(Transfer& transfer);
  void expire(Transfer& transfer);
  void opened(int fd, RequestId opener);
  [[nodiscard]] const EgressGuard& egress() const noexcept { return options_.egress; }
  void addresses_in_use(const Transfer& transfer);
  static int on_close_socket(void* engine, curl_socket_t fd) noexcept;

 private:
  struct Socket {
    CurlShard* shard = nullptr;
    std::uint32_t wanted = 0;   // what libcurl asked for
    std::uint32_t watched = 0;  // what epoll was told
    ino_t identity = 0;         // of the socket itself: a forked child closes no other
    RequestId opener = 0;       // the request it was opened for
  };
  struct Name {
    Addresses addresses;
    base::Instant expires;
    std::uint64_t generation = 0;
    bool pending = false;
    std::vector<RequestId> waiting;
  };
  class WorkTimer;

  static int on_socket(CURL*, curl_socket_t fd, int what, void* shard, void*) noexcept;
  static int on_timer(CURLM*, long timeout_ms, void* shard) noexcept;

  void run() noexcept;
  [[nodiscard]] int timeout_ms() const;
  void run_commands();
  void run_timers();
  void ready(int fd, std::uint32_t events);
  void collect(CurlShard& shard);
  void nudge(CurlShard& shard);
  void watch(int fd, CurlShard* shard, std::uint32_t wanted);
  void admit();
  void begin(Transfer& transfer);
  void resolved(const std::string& host, base::Result<Addresses> result);
  void launch(Transfer& transfer);
  CurlShard& shard_with_room(bool guarded);
  const base::Result<std::string>& trust_store();
  void end(Transfer& transfer, base::Status status);
  void fail_all(const base::Status& status);
  void close_shards();
  [[nodiscard]] Transfer* find(RequestId id);

  const TransportOptions options_;
  const base::Clock& clock_;
  const bool fake_time_;  // the clock may jump: look at it every few milliseconds

  int epoll_ = -1;
  int wake_ = -1;
  std::thread thread_;

  std::mutex command_mutex_;
  std::vector<Command> commands_ DURE_GUARDED_BY(command_mutex_);
  bool ended_ DURE_GUARDED_BY(command_mutex_) = false;
  std::condition_variable end_seen_;
  std::mutex join_mutex_;  // one stop() at a time joins

  std::mutex work_mutex_;  // held by the thread except while it waits in epoll
  bool stopping_ DURE_GUARDED_BY(work_mutex_) = false;
  TimerHeap timers_ DURE_GUARDED_BY(work_mutex_);
  std::unordered_map<RequestId, std::unique_ptr<Transfer>> transfers_ DURE_GUARDED_BY(work_mutex_);
  std::unordered_map<WorkTimer*, std::unique_ptr<WorkTimer>> works_ DURE_GUARDED_BY(work_mutex_);
  std::deque<RequestId> queue_ DURE_GUARDED_BY(work_mutex_);
  std::size_t running_ DURE_GUARDED_BY(work_mutex_) = 0;  // past the queue, not ended
  std::vector<std::unique_ptr<CurlShard>> shards_ DURE_GUARDED_BY(work_mutex_);
  std::vector<Socket> sockets_ DURE_GUARDED_BY(work_mutex_);  // by descriptor
  std::unordered_map<std::string, Name> names_ DURE_GUARDED_BY(work_mutex_);
  std::uint64_t generations_ DURE_GUARDED_BY(work_mutex_) = 0;
  std::optional<base::Result<std::string>> trust_store_ DURE_GUARDED_BY(work_mutex_);
  std::unique_ptr<Resolver> resolver_ DURE_GUARDED_BY(work_mutex_);
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_CURL_ENGINE_H_
