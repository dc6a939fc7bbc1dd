// net/curl_engine.h - engine A's thread: one epoll, shards of libcurl handles, timers, a queue.
//
// libcurl's own queue is never used: a handle is added to a shard only when it may run, because
// libcurl's cost per request grows with the connections it looks after. Everything but the
// thread-safe functions of IoThread happens on the thread.
#ifndef DURE_SRC_NET_CURL_ENGINE_H_
#define DURE_SRC_NET_CURL_ENGINE_H_

#include <curl/curl.h>
#include <sys/types.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dure/net/curl_transport.h"
#include "net/io_thread.h"
#include "net/name_cache.h"
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
  bool fresh = false;        // requests were added that libcurl has not looked at
  std::size_t blind = 0;     // paused transfers whose socket libcurl never named
  base::Instant timer_at;    // on the machine's clock: it is libcurl's own timer
  std::vector<CURL*> spare;  // configured handles, to be used again
  std::vector<int> sockets;  // that are open, busy and idle ones
  std::unordered_map<std::string, std::uint64_t> addresses;  // "host:port" -> generation known here
};

class CurlEngine final : public IoThread {
 public:
  CurlEngine(const TransportOptions& options, const base::Clock& clock);

  // Called by transfers and libcurl's callbacks.
  void rearm(Transfer& transfer);
  void fire(Transfer& transfer) noexcept;
  void opened(int fd, const Transfer* opener);
  // libcurl pauses `transfer` and stops to watch its socket.
  static void paused(Transfer& transfer) noexcept;
  [[nodiscard]] const EgressGuard& egress() const noexcept { return options_.egress; }
  // On the thread: how many requests are under way in each shard.
  [[nodiscard]] std::vector<std::size_t> loads() const;
  void addresses_in_use(const Transfer& transfer);
  static int on_close_socket(void* engine, curl_socket_t fd) noexcept;

 private:
  struct Socket {
    CurlShard* shard = nullptr;
    std::uint32_t wanted = 0;   // what libcurl asked for
    std::uint32_t watched = 0;  // what epoll was told
    ino_t identity = 0;         // of the socket itself: a forked child closes no other
    RequestId opener = 0;       // the request it was opened for
    RequestId user = 0;         // the request that it served last, or serves
    std::uint64_t origin = 0;   // of that request
  };
  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* shard, void*) noexcept;
  static int on_timer(CURLM*, long timeout_ms, void* shard) noexcept;

  base::Status prepare() override;
  void begin(Submission& submission) override;
  bool fail(RequestId id, const base::Status& status) noexcept override;
  void go_on(RequestId id) override;
  void set_keep_idle(bool keep) override { keep_idle_ = keep; }  // after_turn() acts on it
  void ready(std::uint64_t tag, std::uint32_t events) override;
  void after_turn() override;
  [[nodiscard]] std::int64_t own_wait() const override;
  void shut_down(const base::Status& status) override;
  void abandon_sockets() noexcept override;

  static void close(CurlShard& shard) noexcept;
  void close_idle_shards();
  void collect(CurlShard& shard) noexcept;
  void nudge(CurlShard& shard);
  // Before libcurl chooses connections for new requests: ends idle ones that say something unasked.
  void spoil_speaking(CurlShard& shard) noexcept;
  [[nodiscard]] bool is_idle(const Socket& socket);
  void watch(int fd, CurlShard* shard, std::uint32_t wanted);
  void admit();
  void connect(Transfer& transfer);
  void resolved(const std::string& host, const base::Result<Addresses>& result);
  void launch(Transfer& transfer);
  void leave_shard(Transfer& transfer) noexcept;
  [[nodiscard]] std::uint64_t origin_of(const Transfer& transfer);
  // One with room: where a connection to the origin waits, else one that keeps few, else a new one.
  CurlShard& shard_for(const Transfer& transfer);
  CurlShard& new_shard(bool guarded);
  [[nodiscard]] bool has_warm(const CurlShard& shard, std::uint64_t origin);
  const base::Result<std::string>& trust_store();
  void end(Transfer& transfer, base::Status status) noexcept;
  void expire(Transfer& transfer);
  [[nodiscard]] Transfer* find(RequestId id);

  const TransportOptions options_;
  std::unordered_map<RequestId, std::unique_ptr<Transfer>> transfers_;
  std::deque<RequestId> queue_;
  std::size_t running_ = 0;  // past the queue, not ended
  bool keep_idle_ = true;
  std::vector<std::unique_ptr<CurlShard>> shards_;
  std::vector<Socket> sockets_;  // by descriptor
  std::size_t open_ = 0;         // of them
  std::unordered_map<std::string, std::uint64_t> origins_;
  std::uint64_t last_origin_ = 0;
  std::unique_ptr<NameCache> names_;
  std::optional<base::Result<std::string>> trust_store_;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_CURL_ENGINE_H_
