#include "net/http_engine.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <unordered_set>
#include <utility>

namespace dure::net {
namespace {

constexpr std::size_t kBuffer = 64 * 1024;
constexpr std::size_t kPart = 64 * 1024;  // of a body that is made while it is sent
constexpr int kReadsInARow = 16;          // or writes; then other connections have their turn
constexpr std::size_t kSpare = 4096;
constexpr std::size_t kMostPools = 1024;
constexpr base::Duration kNextAddressAfter = std::chrono::milliseconds(250);  // RFC 8305
constexpr std::uint32_t kEnded = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

base::Result<Address> to_address(const std::string& text, int port) {
  Address address;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<std::uint16_t>(port));
    address.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<std::uint16_t>(port));
    address.size = sizeof *v6;
  } else {
    return base::fail(base::Code::kUnavailable, "the address cannot be read");
  }
  return address;
}

base::Result<Address> to_unix_address(const std::string& path) {
  Address address;
  auto* const to = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() >= sizeof to->sun_path) {
    return base::fail(base::invalid_argument("uds", "the path of the Unix socket is too long"));
  }
  to->sun_family = AF_UNIX;
  std::ranges::copy(path, to->sun_path);
  address.size = sizeof *to;
  return address;
}

std::string text_of(int error) {
  char text[128] = {};
  return ::strerror_r(error, text, sizeof text);  // GNU's: returns the text
}

}  // namespace

HttpConnection::~HttpConnection() {
  if (fd >= 0) ::close(fd);
  if (!rest.empty()) ::explicit_bzero(rest.data(), rest.size());
}

// Closes connections that have been idle too long; armed while there are idle ones.
class HttpEngine::IdleSweep final : public Timer {
 public:
  explicit IdleSweep(HttpEngine& engine) : engine_(engine) {}
  void fire() noexcept override { engine_.sweep(); }

 private:
  HttpEngine& engine_;
};

HttpEngine::HttpEngine(const TransportOptions& options, const base::Clock& clock)
    : IoThread(clock),
      options_(options),
      sweep_(std::make_unique<IdleSweep>(*this)),
      buffer_(kBuffer) {}

HttpEngine::~HttpEngine() = default;

// --- requests ---

HttpExchange* HttpEngine::find(RequestId id) {
  const auto found = exchanges_.find(id);
  return found == exchanges_.end() ? nullptr : found->second.get();
}

// There is always room to keep an exchange when its request has ended.
HttpExchange& HttpEngine::new_exchange(RequestId id) {
  if (!spare_.empty()) {
    Exchanges::node_type node = std::move(spare_.back());
    spare_.pop_back();
    node.key() = id;
    return *exchanges_.insert(std::move(node)).position->second;
  }
  const std::size_t most = std::min(exchanges_.size() + 1, kSpare);
  if (spare_.capacity() < most) spare_.reserve(std::min(2 * most, kSpare));
  return *exchanges_.emplace(id, std::make_unique<HttpExchange>(*this)).first->second;
}

void HttpEngine::begin(Submission& submission) {
  HttpExchange& exchange = new_exchange(submission.id);
  exchange.start(std::move(submission));
  if (base::Status wrong = exchange.check(options_); !wrong.ok()) {
    return end(exchange, std::move(wrong));
  }
  if (exchanges_.size() > options_.max_connections + options_.max_queued) {
    return end(exchange, exchange.queue_full());
  }
  if (running_ >= options_.max_connections) {
    rearm(exchange);
    queue_.push_back(exchange.id());
    return;
  }
  place(exchange);
}

bool HttpEngine::fail(RequestId id, const base::Status& status) noexcept {
  HttpExchange* const exchange = find(id);
  if (exchange != nullptr) end(*exchange, status);
  return exchange != nullptr;
}

void HttpEngine::go_on(RequestId id) {
  HttpExchange* const exchange = find(id);
  if (exchange == nullptr) return;
  if (exchange->release(now())) {
    rearm(*exchange);
    if (exchange->connection != nullptr) receive(*exchange->connection);
  } else if (exchange->connection != nullptr && exchange->request().source != nullptr) {
    send_more(*exchange->connection);
  }
}

void HttpEngine::set_keep_idle(bool keep) {
  keep_idle_ = keep;
  while (!keep && close_oldest_idle()) {
  }
}

void HttpEngine::admit() {
  while (!queue_.empty() && running_ < options_.max_connections) {
    const RequestId id = queue_.front();
    queue_.pop_front();
    if (HttpExchange* const exchange = find(id)) guarded(id, [&] { place(*exchange); });
  }
}

HttpEngine::Pool& HttpEngine::pool_of(const HttpExchange& exchange) {
  key_.clear();
  if (exchange.request().guarded) key_ += '!';  // never on a connection of others
  key_ += exchange.url().host;
  key_ += ' ';
  key_ += static_cast<char>(exchange.url().port >> 8);
  key_ += static_cast<char>(exchange.url().port & 0xFF);
  if (last_pool_ != nullptr && key_ == last_key_) return *last_pool_;
  std::unique_ptr<Pool>& pool = pools_[key_];
  if (pool == nullptr) {
    pool = std::make_unique<Pool>();
  }
  Pool* const found = pool.get();
  if (pools_.size() > kMostPools) forget_pools(*found);
  last_key_ = key_;
  last_pool_ = found;
  return *found;
}

// Strange hosts come and go (guarded requests): only pools of open connections stay.
void HttpEngine::forget_pools(const Pool& except) {
  std::unordered_set<const Pool*> used{&except};
  for (const auto& [connection, owned] : connections_) used.insert(connection->pool);
  std::erase_if(pools_, [&used](const auto& entry) { return !used.contains(entry.second.get()); });
}

HttpConnection* HttpEngine::warm(Pool& pool) {
  if (pool.empty()) return nullptr;
  HttpConnection& connection = *pool.back();
  leave_pool(connection);
  if (connection.idle_since + options_.max_idle > now()) return &connection;
  close(connection);  // the others of the pool are older still
  while (!pool.empty()) close(*pool.back());
  return nullptr;
}

void HttpEngine::place(HttpExchange& exchange) {
  ++running_;
  exchange.begin_connecting(now());
  Pool& pool = pool_of(exchange);
  if (exchange.request().source == nullptr) {  // a source is read once: only a new one will do
    if (HttpConnection* const connection = warm(pool)) {
      exchange.reused = true;
      return send_on(exchange, *connection);
    }
  }
  rearm(exchange);
  resolve(exchange);
}

void HttpEngine::resolve(HttpExchange& exchange) {
  const bool local = !options_.unix_socket.empty();
  if (local || exchange.url().literal) {
    exchange.set_addresses({local ? options_.unix_socket : exchange.url().host});
    return dial(exchange);
  }
  if (names_ == nullptr) {  // here and not before: it refers to the shared engine
    names_ = std::make_unique<NameCache>(
        options_.look_up,
        [weak = weak_from_this()](const std::string& name, const Resolver::Answer& answer) {
          const auto self = std::static_pointer_cast<HttpEngine>(weak.lock());
          if (self == nullptr) return;
          self->post([self = self.get(), name, answer] { self->resolved(name, *answer); });
        });
  }
  const NameCache::Found* const known = names_->find(exchange.url().host, exchange.id(), now());
  exchange.waits_for_name = known == nullptr;
  if (known == nullptr) return;
  exchange.set_addresses(known->addresses);
  dial(exchange);
}

void HttpEngine::resolved(const std::string& host, const base::Result<Addresses>& result) {
  for (const RequestId id : names_->settle(host, result, now())) {
    HttpExchange* const exchange = find(id);
    if (exchange == nullptr || !std::exchange(exchange->waits_for_name, false)) continue;
    guarded(id, [&] {
      if (!result) return end(*exchange, NameCache::failure(result.error(), host));
      exchange->set_addresses(*result);
      dial(*exchange);
    });
  }
}

// --- connecting ---

base::Status HttpEngine::open_socket(HttpExchange& exchange, const std::string& address, int* fd) {
  const bool local = !options_.unix_socket.empty();
  const auto to =
      local ? to_unix_address(options_.unix_socket) : to_address(address, exchange.url().port);
  if (!to) return to.error();
  if (exchange.request().guarded && !local) {
    const auto parsed = IpAddress::parse(address);
    if (!parsed || !options_.egress.allows(*parsed)) {
      return base::invalid_argument(
          "url", "the host is not on the public internet, and only that is fetched");
    }
  }
  const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  *fd = ::socket(to->storage.ss_family, type, 0);
  while (*fd < 0 && (errno == EMFILE || errno == ENFILE) && close_oldest_idle()) {
    *fd = ::socket(to->storage.ss_family, type, 0);
  }
  if (*fd < 0) return {base::Code::kUnavailable, text_of(errno)};
  if (!local) {
    const int on = 1;
    ::setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(*fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  if (::connect(*fd, reinterpret_cast<const sockaddr*>(&to->storage), to->size) == 0 ||
      errno == EINPROGRESS) {
    return {};
  }
  const int error = errno;
  ::close(std::exchange(*fd, -1));
  return {base::Code::kUnavailable, text_of(error)};
}

// Tries addresses until one is under way, or none is left and nothing is pending.
void HttpEngine::dial(HttpExchange& exchange) {
  exchange.next_attempt = {};
  while (exchange.has_address_left()) {
    const std::string& address = exchange.take_address();
    while (connections_.size() >= options_.max_connections && close_oldest_idle()) {
    }
    exchange.attempts.reserve(exchange.attempts.size() + 1);
    auto owned = std::make_unique<HttpConnection>();
    int& fd = owned->fd;
    base::Status status = open_socket(exchange, address, &fd);
    if (status.code() == base::Code::kInvalidArgument) return end(exchange, std::move(status));
    if (!status.ok()) {
      exchange.refused(status.message());
      continue;
    }
    HttpConnection& connection = *owned;
    connection.exchange = &exchange;
    connection.connecting = true;
    connection.pool = &pool_of(exchange);
    const std::size_t most = connections_.size() + 1 + closed_.size();
    if (closed_.capacity() < most) closed_.reserve(2 * most);  // closing takes no memory
    connections_.emplace(&connection, std::move(owned));
    exchange.attempts.push_back(&connection);
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                      .data = {.ptr = &connection}};
    if (::epoll_ctl(epoll(), EPOLL_CTL_ADD, connection.fd, &event) != 0) {
      exchange.refused(text_of(errno));
      std::erase(exchange.attempts, &connection);
      close(connection);
      continue;
    }
    if (exchange.has_address_left()) exchange.next_attempt = now() + kNextAddressAfter;
    return rearm(exchange);
  }
  if (!exchange.attempts.empty()) return;
  const bool sent_before = exchange.timing().sent.ns != 0;
  end(exchange,
      sent_before ? exchange.cut() : exchange.unavailable("connect", exchange.last_refusal()));
}

void HttpEngine::dialled(HttpConnection& connection) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return attempt_failed(connection, error);
  HttpExchange& exchange = *connection.exchange;
  connection.connecting = false;
  std::erase(exchange.attempts, &connection);
  drop_attempts(exchange);
  send_on(exchange, connection);
}

void HttpEngine::attempt_failed(HttpConnection& connection, int error) {
  HttpExchange& exchange = *connection.exchange;
  exchange.refused(text_of(error));
  std::erase(exchange.attempts, &connection);
  close(connection);
  dial(exchange);
}

void HttpEngine::drop_attempts(HttpExchange& exchange) noexcept {
  for (HttpConnection* const attempt : exchange.attempts) close(*attempt);
  exchange.attempts.clear();
  exchange.next_attempt = {};
}

// --- sending ---

void HttpEngine::send_on(HttpExchange& exchange, HttpConnection& connection) {
  exchange.connection = &connection;
  connection.exchange = &exchange;
  exchange.begin_reply();
  exchange.begin_sending(now());
  rearm(exchange);
  head_.clear();
  head_.reserve(exchange.most_of_head());  // it never grows while it holds a key
  exchange.write_head(head_);
  const std::string& body = exchange.request().body;
  connection.sent = 0;
  connection.whole = head_.size() + exchange.body_size();
  std::array<iovec, 2> parts{
      {{head_.data(), head_.size()}, {const_cast<char*>(body.data()), body.size()}}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = body.empty() ? 1 : 2;
  const ssize_t count = ::sendmsg(connection.fd, &message, MSG_NOSIGNAL);
  const int error = errno;
  if (count < static_cast<ssize_t>(head_.size())) {
    connection.rest = head_.substr(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
  ::explicit_bzero(head_.data(), head_.size());  // it holds a key
  if (count < 0) {
    errno = error;
    return not_sent(connection);
  }
  connection.sent += static_cast<std::uint64_t>(count);
  if (connection.sent < connection.whole) send_more(connection);
}

// Empty: the body's source has nothing yet.
std::string_view HttpEngine::next_part(HttpConnection& connection) {
  HttpExchange& exchange = *connection.exchange;
  BodySource* const source = exchange.request().source.get();
  if (connection.rest.empty() && source != nullptr) {
    const std::uint64_t left = connection.whole - connection.sent;
    connection.rest.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, kPart)));
    connection.rest.resize(source->read(std::as_writable_bytes(std::span(connection.rest))));
    exchange.note_sending(now());
  }
  if (!connection.rest.empty() || source != nullptr) return connection.rest;
  const std::string_view body = exchange.request().body;
  return body.substr(body.size() - static_cast<std::size_t>(connection.whole - connection.sent));
}

void HttpEngine::send_more(HttpConnection& connection) {
  for (int at = 0; at < kReadsInARow; ++at) {
    if (connection.unwritable || connection.sent >= connection.whole) return;
    const std::string_view part = next_part(connection);
    if (part.empty()) return;
    const ssize_t count = ::send(connection.fd, part.data(), part.size(), MSG_NOSIGNAL);
    if (count < 0) return not_sent(connection);
    const auto size = static_cast<std::size_t>(count);
    connection.sent += size;
    if (connection.rest.empty()) continue;
    ::explicit_bzero(connection.rest.data(), size);
    connection.rest.erase(0, size);
  }
  again_.push_back(&connection);
}

void HttpEngine::not_sent(HttpConnection& connection) {
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return;  // its event will come
  connection.unwritable = connection.ended = true;
  receive(connection);  // an answer that came early is an answer
}

// --- receiving ---

void HttpEngine::ready(std::uint64_t tag, std::uint32_t events) {
  auto& connection = *reinterpret_cast<HttpConnection*>(tag);
  if (connection.fd < 0) return;                                 // closed earlier in this turn
  if (connection.exchange == nullptr) return close(connection);  // idle: ended, or speaks unasked
  guarded(connection.exchange->id(), [&] { handle(connection, events); });
}

void HttpEngine::handle(HttpConnection& connection, std::uint32_t events) {
  if (connection.connecting) {
    if ((events & (EPOLLOUT | kEnded)) != 0) dialled(connection);
    return;
  }
  if ((events & kEnded) != 0) connection.ended = true;
  if ((events & EPOLLOUT) != 0 && connection.sent < connection.whole) {
    send_more(connection);
    if (connection.fd < 0 || connection.exchange == nullptr) return;
  }
  if ((events & (EPOLLIN | kEnded)) != 0) receive(connection);
}

void HttpEngine::receive(HttpConnection& connection) {
  for (int at = 0; at < kReadsInARow; ++at) {
    if (connection.exchange->held()) return;
    const ssize_t count = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!connection.unwritable) return;
      return connection_ended(connection, false);
    }
    if (count <= 0) return connection_ended(connection, count == 0);
    const auto size = static_cast<std::size_t>(count);
    if (!take(connection, {buffer_.data(), size})) return;
    if (size < buffer_.size() && !connection.ended) return;  // nothing more is there
  }
  again_.push_back(&connection);
}

bool HttpEngine::take(HttpConnection& connection, std::string_view bytes) {
  HttpExchange& exchange = *connection.exchange;
  const Stage before = exchange.stage();
  base::Status status = exchange.receive(bytes, now());
  if (!status.ok()) {
    end(exchange, std::move(status));
    return false;
  }
  if (exchange.parser().done()) {
    replied(connection, !bytes.empty());
    return false;
  }
  if (exchange.stage() != before) rearm(exchange);
  return true;
}

void HttpEngine::connection_ended(HttpConnection& connection, bool in_order) {
  HttpExchange& exchange = *connection.exchange;
  if (in_order && exchange.parser().end_of_stream()) {
    connection.ended = true;
    return replied(connection, false);
  }
  if (!exchange.may_be_resent()) return end(exchange, exchange.cut());
  exchange.connection = nullptr;
  close(connection);
  exchange.begin_again(now());
  rearm(exchange);
  resolve(exchange);
}

void HttpEngine::replied(HttpConnection& connection, bool more_bytes) {
  HttpExchange& exchange = *connection.exchange;
  const bool clean = keep_idle_ && !more_bytes && !connection.ended &&
                     connection.sent == connection.whole && exchange.parser().reusable();
  if (clean) {
    connection.exchange = nullptr;
    exchange.connection = nullptr;
    try {
      keep(connection);
    } catch (const std::bad_alloc&) {
      close(connection);
    }
  }
  end(exchange, {});
}

// --- connections that wait for the next request ---

void HttpEngine::keep(HttpConnection& connection) {
  if (spare_places_.empty()) spare_places_.push_back(nullptr);
  connection.pool->push_back(&connection);  // nothing has changed before this line
  connection.served = true;
  connection.idle_since = now();
  connection.idle_of = connection.pool;
  by_age_.splice(by_age_.end(), spare_places_, spare_places_.begin());
  by_age_.back() = &connection;
  connection.age = std::prev(by_age_.end());
  if (!sweep_->armed()) timers().arm(*sweep_, connection.idle_since + options_.max_idle);
}

void HttpEngine::leave_pool(HttpConnection& connection) noexcept {
  Pool& pool = *std::exchange(connection.idle_of, nullptr);
  const auto place = std::ranges::find(pool.rbegin(), pool.rend(), &connection);
  pool.erase(std::prev(place.base()));
  spare_places_.splice(spare_places_.end(), by_age_, connection.age);
}

void HttpEngine::close(HttpConnection& connection) noexcept {
  if (connection.idle_of != nullptr) leave_pool(connection);
  // Said aloud: a forked child may hold the same connection open for a moment.
  ::epoll_ctl(epoll(), EPOLL_CTL_DEL, connection.fd, nullptr);
  ::close(std::exchange(connection.fd, -1));
  connection.exchange = nullptr;
  std::erase(again_, &connection);  // it is freed before the next turn reads it
  auto node = connections_.extract(&connection);
  closed_.push_back(std::move(node.mapped()));
}

bool HttpEngine::close_oldest_idle() noexcept {
  if (by_age_.empty()) return false;
  close(*by_age_.front());
  return true;
}

void HttpEngine::sweep() {
  const base::Instant oldest = now() - options_.max_idle;
  while (!by_age_.empty() && by_age_.front()->idle_since <= oldest) close(*by_age_.front());
  if (!by_age_.empty()) {
    timers().arm(*sweep_, by_age_.front()->idle_since + options_.max_idle);
  }
}

// --- the end ---

void HttpEngine::end(HttpExchange& exchange, base::Status status) noexcept {
  auto node = exchanges_.extract(exchange.id());
  timers().disarm(exchange);
  if (exchange.stage() != Stage::kQueued) --running_;
  drop_attempts(exchange);
  if (exchange.connection != nullptr) close(*exchange.connection);
  exchange.connection = nullptr;
  exchange.end(std::move(status), now());
  exchange.finish();
  if (spare_.size() < spare_.capacity()) spare_.push_back(std::move(node));
}

void HttpEngine::rearm(HttpExchange& exchange) {
  base::Instant at;
  bool any = exchange.next_deadline(&at);
  if (exchange.next_attempt.ns != 0 && (!any || exchange.next_attempt < at)) {
    at = exchange.next_attempt;
    any = true;
  }
  // A later deadline needs no work now: the timer fires early, finds nothing and goes on.
  if (any && (!exchange.armed() || at < exchange.at())) timers().arm(exchange, at);
}

void HttpEngine::expire(HttpExchange& exchange) {
  base::Status late = exchange.expired(now());
  if (!late.ok()) return end(exchange, std::move(late));
  if (exchange.next_attempt.ns != 0 && exchange.next_attempt <= now()) return dial(exchange);
  rearm(exchange);
}

void HttpEngine::after_turn() {
  const std::vector<HttpConnection*> again = std::exchange(again_, {});
  for (HttpConnection* const connection : again) {
    if (connection->fd < 0 || connection->exchange == nullptr) continue;
    guarded(connection->exchange->id(), [&] { handle(*connection, EPOLLIN | EPOLLOUT); });
  }
  if (!queue_.empty()) admit();
  closed_.clear();
}

void HttpEngine::shut_down(const base::Status& status) {
  queue_.clear();
  while (!exchanges_.empty()) end(*exchanges_.begin()->second, status);
  names_.reset();
  timers().disarm(*sweep_);
  while (!connections_.empty()) close(*connections_.begin()->second);
  closed_.clear();
  spare_.clear();
}

void HttpEngine::abandon_sockets() noexcept {
  for (const auto& [connection, owned] : connections_) ::close(connection->fd);
}

}  // namespace dure::net
