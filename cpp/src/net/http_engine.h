// net/http_engine.h - engine B's thread: plain HTTP/1.1 on sockets of our own, kept alive by
// origin.
//
// Sockets are watched once, edge-triggered, for their whole life. A request on a warm connection
// costs one send and one receive, its share of an epoll wait, and no memory.
#ifndef DURE_SRC_NET_HTTP_ENGINE_H_
#define DURE_SRC_NET_HTTP_ENGINE_H_

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "dure/net/curl_transport.h"
#include "net/http_exchange.h"
#include "net/io_thread.h"
#include "net/name_cache.h"

namespace dure::net {

struct HttpConnection {
  HttpConnection() = default;
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  int fd = -1;  // -1: closed, waits to be freed
  HttpExchange* exchange = nullptr;
  std::vector<HttpConnection*>* idle_of = nullptr;  // the pool it is idle in
  std::vector<HttpConnection*>* pool = nullptr;     // of its origin
  std::list<HttpConnection*>::iterator age;         // its place among the idle ones
  base::Instant idle_since;
  std::string rest;         // what is sent next, before the rest of the body
  std::uint64_t sent = 0;   // bytes of head and body together
  std::uint64_t whole = 0;  // as many there are
  bool connecting = false;
  bool served = false;      // a reply has come on it
  bool ended = false;       // the peer closed or broke it: read until nothing is left
  bool unwritable = false;  // a send failed: nothing more is sent, an answer may still be there
};

class HttpEngine final : public IoThread {
 public:
  HttpEngine(const TransportOptions& options, const base::Clock& clock);
  ~HttpEngine() override;

  // A deadline of the exchange, or the time to try another address, may have come.
  void fire(HttpExchange& exchange) noexcept {
    guarded(exchange.id(), [&] { expire(exchange); });
  }

 private:
  class IdleSweep;
  void expire(HttpExchange& exchange);
  using Pool = std::vector<HttpConnection*>;  // idle connections of one origin, the warmest last

  [[nodiscard]] bool may_begin_outside() const noexcept override { return exchanges_.empty(); }
  void begin(Submission& submission) override;
  bool fail(RequestId id, const base::Status& status) noexcept override;
  void go_on(RequestId id) override;
  void set_keep_idle(bool keep) override;
  void ready(std::uint64_t tag, std::uint32_t events) override;
  void handle(HttpConnection& connection, std::uint32_t events);
  void after_turn() override;
  [[nodiscard]] std::int64_t own_wait() const override { return again_.empty() ? -1 : 0; }
  void shut_down(const base::Status& status) override;
  void abandon_sockets() noexcept override;

  [[nodiscard]] HttpExchange* find(RequestId id);
  void admit();
  void place(HttpExchange& exchange);
  HttpExchange& new_exchange(RequestId id);
  Pool& pool_of(const HttpExchange& exchange);
  void forget_pools(const Pool& except);
  [[nodiscard]] HttpConnection* warm(Pool& pool);
  void resolve(HttpExchange& exchange);
  void resolved(const std::string& host, const base::Result<Addresses>& result);

  // Connecting: address after address, a further one beside those that hang.
  void dial(HttpExchange& exchange);
  base::Status open_socket(HttpExchange& exchange, const std::string& address, int* fd);
  void dialled(HttpConnection& connection);
  void attempt_failed(HttpConnection& connection, int error);
  void drop_attempts(HttpExchange& exchange) noexcept;

  void send_on(HttpExchange& exchange, HttpConnection& connection);
  void send_more(HttpConnection& connection);
  std::string_view next_part(HttpConnection& connection);
  void not_sent(HttpConnection& connection);
  void receive(HttpConnection& connection);
  // False: the exchange has ended or moved on.
  bool take(HttpConnection& connection, std::string_view bytes);
  void connection_ended(HttpConnection& connection, bool in_order);
  void replied(HttpConnection& connection, bool more_bytes);

  void keep(HttpConnection& connection);
  void leave_pool(HttpConnection& connection) noexcept;
  void close(HttpConnection& connection) noexcept;
  bool close_oldest_idle() noexcept;
  void sweep();

  void end(HttpExchange& exchange, base::Status status) noexcept;
  void rearm(HttpExchange& exchange);

  const TransportOptions options_;
  using Exchanges = std::unordered_map<RequestId, std::unique_ptr<HttpExchange>>;
  Exchanges exchanges_;
  std::vector<Exchanges::node_type> spare_;  // ended ones, to be used again
  std::deque<RequestId> queue_;
  std::size_t running_ = 0;  // past the queue, not ended
  bool keep_idle_ = true;
  std::unordered_map<HttpConnection*, std::unique_ptr<HttpConnection>> connections_;
  std::vector<std::unique_ptr<HttpConnection>> closed_;  // freed after the turn
  std::vector<HttpConnection*> again_;  // more is to be read, but others come first
  std::unordered_map<std::string, std::unique_ptr<Pool>> pools_;
  std::string key_;       // of pool_of, its room kept
  std::string last_key_;  // the pool found last
  Pool* last_pool_ = nullptr;
  std::list<HttpConnection*> by_age_;        // idle ones, the oldest first
  std::list<HttpConnection*> spare_places_;  // list nodes to be used again
  std::unique_ptr<IdleSweep> sweep_;
  std::unique_ptr<NameCache> names_;
  std::string head_;          // of the request that is being written
  std::vector<char> buffer_;  // what is being received
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_HTTP_ENGINE_H_
