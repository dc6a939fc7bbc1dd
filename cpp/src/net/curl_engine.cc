#include "net/curl_engine.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "net/curl_library.h"
#include "net/trust_store.h"

namespace dure::net {
namespace {

constexpr std::size_t kShardRoom = 16;  // requests under way; D5
constexpr long kMostKept = 64;          // connections of a shard, idle ones too
constexpr std::size_t kMostOrigins = 4096;

// Before 8.0.0 a handle that is used again keeps a pointer to the last header of its last reply,
// and a reply whose first header line is folded makes libcurl write there, freed as it is: each
// request gets a handle of its own then.
bool may_be_used_again() noexcept { return curl_version_number() >= 0x080000; }

base::Instant machine_now() noexcept { return base::system_clock().now(); }

// The kernel's number of an open socket; zero if `fd` is no socket.
ino_t identity_of(int fd) noexcept {
  struct stat info{};
  return ::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

// What an idle connection says was asked by nobody, and libcurl 7.88 would give it to the next
// request as its answer: after this it finds the connection dead, whatever still comes.
void spoil(int fd) noexcept {
  constexpr int kMostReads = 16;  // what is left unread then dies with the connection
  std::array<char, 4096> junk;
  for (int at = 0; at < kMostReads; ++at) {
    if (::recv(fd, junk.data(), junk.size(), MSG_DONTWAIT) <= 0) break;
  }
  ::shutdown(fd, SHUT_RDWR);
}

}  // namespace

CurlEngine::CurlEngine(const TransportOptions& options, const base::Clock& clock)
    : IoThread(clock), options_(options) {}

base::Status CurlEngine::prepare() { return load_curl(); }

std::int64_t CurlEngine::own_wait() const {
  bool any_shard = false;
  base::Instant first;
  for (const auto& shard : shards_) {
    if (shard->nudge) return 0;
    if (!shard->timer_set || (any_shard && shard->timer_at >= first)) continue;
    first = shard->timer_at;
    any_shard = true;
  }
  if (!any_shard) return -1;
  return first.ns == 0 ? 0 : std::max<std::int64_t>((first - machine_now()).count(), 0);
}

void CurlEngine::after_turn() {
  admit();
  for (std::size_t at = 0; at < shards_.size(); ++at) {  // collect() may add shards
    CurlShard& shard = *shards_[at];
    if (shard.nudge) nudge(shard);
    if (!shard.timer_set || (shard.timer_at.ns != 0 && shard.timer_at > machine_now())) continue;
    shard.timer_set = false;
    if (shard.fresh) spoil_speaking(shard);
    int running = 0;
    curl_multi_socket_action(shard.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(shard);
  }
  if (!queue_.empty()) admit();
  if (!keep_idle_) close_idle_shards();
}

void CurlEngine::close(CurlShard& shard) noexcept {
  for (CURL* const easy : shard.spare) curl_easy_cleanup(easy);
  shard.spare.clear();
  curl_multi_cleanup(shard.multi);
}

void CurlEngine::close_idle_shards() {
  std::erase_if(shards_, [](const std::unique_ptr<CurlShard>& shard) {
    if (shard->active != 0) return false;
    close(*shard);
    return true;
  });
}

void CurlEngine::ready(std::uint64_t tag, std::uint32_t events) {
  const auto place = static_cast<std::size_t>(tag);
  const int fd = static_cast<int>(tag);
  if (place >= sockets_.size()) return;
  Socket& socket = sockets_[place];
  if (socket.wanted == 0 || socket.shard == nullptr) {
    ::epoll_ctl(epoll(), EPOLL_CTL_DEL, fd, nullptr);
    socket.watched = 0;
    if (is_idle(socket)) spoil(fd);  // the server closed it, or wrote what nobody asked for
    return;
  }
  int mask = 0;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) mask |= CURL_CSELECT_IN;
  if ((events & (EPOLLOUT | EPOLLERR)) != 0) mask |= CURL_CSELECT_OUT;
  CurlShard& shard = *socket.shard;
  if (shard.fresh) spoil_speaking(shard);
  int running = 0;
  curl_multi_socket_action(shard.multi, fd, mask, &running);
  collect(shard);
}

void CurlEngine::collect(CurlShard& shard) noexcept {
  int left = 0;
  while (CURLMsg* const message = curl_multi_info_read(shard.multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    Transfer& transfer = *reinterpret_cast<Transfer*>(self);
    guarded(transfer.id(), [&] {
      if (!transfer.take_spoiled()) return end(transfer, transfer.outcome(code));
      leave_shard(transfer);
      launch(transfer);
    });
  }
}

// libcurl 7.88 goes on to a host's next address only when the handle is looked at again, and by
// sockets and timers alone nobody looks: with every address but the last refusing, the connect
// would hang until its deadline. Looking at all handles is rare and cheap.
void CurlEngine::nudge(CurlShard& shard) {
  shard.nudge = false;
  int running = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // the only call that looks at all
  curl_multi_socket_all(shard.multi, &running);
#pragma GCC diagnostic pop
  collect(shard);
}

// A socket that libcurl does not wait for and whose last request has ended. While a transfer is
// paused on a socket that nobody knows, none is taken for idle.
bool CurlEngine::is_idle(const Socket& socket) {
  return socket.identity != 0 && socket.wanted == 0 && socket.shard != nullptr &&
         socket.shard->blind == 0 && find(socket.user) == nullptr;
}

void CurlEngine::spoil_speaking(CurlShard& shard) noexcept {
  shard.fresh = false;
  std::array<pollfd, kMostKept> idle;
  nfds_t count = 0;
  const auto look = [&] {
    if (count == 0 || ::poll(idle.data(), count, 0) <= 0) return;
    for (nfds_t at = 0; at < count; ++at) {
      if (idle[at].revents != 0) spoil(idle[at].fd);
    }
  };
  for (const int fd : shard.sockets) {
    if (!is_idle(sockets_[static_cast<std::size_t>(fd)])) continue;
    idle[count++] = {.fd = fd, .events = POLLIN | POLLRDHUP, .revents = 0};
    if (count < idle.size()) continue;
    look();
    count = 0;
  }
  look();
}

// --- libcurl's callbacks ---

int CurlEngine::on_socket(CURL* easy, curl_socket_t fd, int what, void* shard, void*) noexcept {
  auto& of = *static_cast<CurlShard*>(shard);
  std::uint32_t wanted = 0;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) wanted |= EPOLLIN;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) wanted |= EPOLLOUT;
  try {
    of.engine->watch(fd, &of, wanted);
  } catch (...) {
    return -1;
  }
  char* self = nullptr;
  if (wanted == 0 || curl_easy_getinfo(easy, CURLINFO_PRIVATE, &self) != CURLE_OK) return 0;
  if (self == nullptr) return 0;
  auto& user = *reinterpret_cast<Transfer*>(self);
  Socket& socket = of.engine->sockets_[static_cast<std::size_t>(fd)];
  socket.user = user.id();
  socket.origin = user.origin;
  user.named = true;
  if (std::exchange(user.blind, false)) --of.blind;
  return 0;
}

void CurlEngine::paused(Transfer& transfer) noexcept {
  if (transfer.named || std::exchange(transfer.blind, true)) return;
  ++transfer.shard->blind;
}

// An idle connection stays in epoll with what it was last watched for: the next request on it
// mostly wants the same, which saves two system calls a request.
void CurlEngine::watch(int fd, CurlShard* shard, std::uint32_t wanted) {
  if (static_cast<std::size_t>(fd) >= sockets_.size()) opened(fd, nullptr);
  Socket& socket = sockets_[static_cast<std::size_t>(fd)];
  socket.shard = shard;
  socket.wanted = wanted;
  if (wanted == 0 || wanted == socket.watched) return;
  epoll_event event{.events = wanted, .data = {.u64 = static_cast<std::uint64_t>(fd)}};
  const int how = socket.watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (::epoll_ctl(epoll(), how, fd, &event) != 0 && errno == EEXIST) {
    ::epoll_ctl(epoll(), EPOLL_CTL_MOD, fd, &event);
  }
  socket.watched = wanted;
}

// A new socket may bear the number of an old one: nothing of the old entry is kept.
void CurlEngine::opened(int fd, const Transfer* opener) {
  const auto place = static_cast<std::size_t>(fd);
  if (place >= sockets_.size()) sockets_.resize(place + 64);
  Socket socket{.identity = identity_of(fd)};
  if (opener != nullptr) {
    socket.shard = opener->shard;
    socket.opener = socket.user = opener->id();
    socket.origin = opener->origin;
    socket.shard->sockets.push_back(fd);
    ++open_;
  }
  sockets_[place] = socket;
}

int CurlEngine::on_close_socket(void* engine, curl_socket_t fd) noexcept {
  auto& self = *static_cast<CurlEngine*>(engine);
  const auto place = static_cast<std::size_t>(fd);
  if (place < self.sockets_.size()) {
    // Said aloud: a forked child may hold the same connection open for a moment.
    const Socket socket = std::exchange(self.sockets_[place], Socket{});
    if (socket.watched != 0) ::epoll_ctl(self.epoll(), EPOLL_CTL_DEL, fd, nullptr);
    if (socket.shard != nullptr) self.open_ -= std::erase(socket.shard->sockets, fd);
    const Transfer* const opener = self.find(socket.opener);
    if (opener != nullptr && opener->stage() == Stage::kConnecting) opener->shard->nudge = true;
  }
  return ::close(fd);
}

int CurlEngine::on_timer(CURLM*, long timeout_ms, void* shard) noexcept {
  auto& of = *static_cast<CurlShard*>(shard);
  of.timer_set = timeout_ms >= 0;
  of.timer_at =
      timeout_ms > 0 ? machine_now() + std::chrono::milliseconds(timeout_ms) : base::Instant{};
  return 0;
}

// --- requests ---

Transfer* CurlEngine::find(RequestId id) {
  const auto found = transfers_.find(id);
  return found == transfers_.end() ? nullptr : found->second.get();
}

void CurlEngine::begin(Submission& submission) {
  std::unique_ptr<Transfer>& owned = transfers_[submission.id];
  try {
    owned = std::make_unique<Transfer>(*this);
  } catch (...) {
    transfers_.erase(submission.id);
    throw;
  }
  Transfer& transfer = *owned;
  transfer.start(std::move(submission));
  if (base::Status wrong = transfer.check(options_); !wrong.ok()) {
    return end(transfer, std::move(wrong));
  }
  if (transfers_.size() > options_.max_connections + options_.max_queued) {
    return end(transfer, transfer.queue_full());
  }
  rearm(transfer);
  queue_.push_back(transfer.id());
}

bool CurlEngine::fail(RequestId id, const base::Status& status) noexcept {
  Transfer* const transfer = find(id);
  if (transfer != nullptr) end(*transfer, status);
  return transfer != nullptr;
}

void CurlEngine::go_on(RequestId id) {
  if (Transfer* const transfer = find(id)) transfer->resume(now());
}

void CurlEngine::admit() {
  while (!queue_.empty() && running_ < options_.max_connections) {
    const RequestId id = queue_.front();
    queue_.pop_front();
    if (Transfer* const transfer = find(id)) guarded(id, [&] { connect(*transfer); });
  }
}

void CurlEngine::connect(Transfer& transfer) {
  ++running_;
  transfer.begin_connecting(now());
  transfer.note_place(options_);
  rearm(transfer);
  int port = 0;
  const std::string host = transfer.name_to_resolve(&port);
  if (host.empty() || !options_.unix_socket.empty()) return launch(transfer);
  transfer.name = host + ":" + std::to_string(port);
  if (names_ == nullptr) {  // here and not before: it refers to the shared engine
    names_ = std::make_unique<NameCache>(
        options_.look_up,
        [weak = weak_from_this()](const std::string& name, const Resolver::Answer& answer) {
          const auto self = std::static_pointer_cast<CurlEngine>(weak.lock());
          if (self == nullptr) return;
          self->post([self = self.get(), name, answer] { self->resolved(name, *answer); });
        });
  }
  if (const NameCache::Found* const known = names_->find(host, transfer.id(), now())) {
    transfer.generation = known->generation;
    transfer.set_addresses(known->addresses);
    launch(transfer);
  }
}

void CurlEngine::resolved(const std::string& host, const base::Result<Addresses>& result) {
  for (const RequestId id : names_->settle(host, result, now())) {
    Transfer* const transfer = find(id);
    if (transfer == nullptr) continue;
    guarded(id, [&] {
      if (!result) return end(*transfer, NameCache::failure(result.error(), host));
      transfer->generation = names_->generation();
      transfer->set_addresses(*result);
      launch(*transfer);
    });
  }
}

void CurlEngine::addresses_in_use(const Transfer& transfer) {
  if (!transfer.name.empty() && !transfer.request().guarded) {
    transfer.shard->addresses[transfer.name] = transfer.generation;
  }
}

// Two requests that may go over one connection have the same one. Strange hosts come and go
// (guarded requests): those forgotten get a new number, and their connections are warm for nobody.
std::uint64_t CurlEngine::origin_of(const Transfer& transfer) {
  if (origins_.size() > kMostOrigins) origins_.clear();
  const Url& url = transfer.url();
  const std::string key =
      url.scheme + "://" + url.host + ':' + std::to_string(url.port) + ' ' + transfer.proxy();
  std::uint64_t& origin = origins_[key];
  if (origin == 0) origin = ++last_origin_;
  return origin;
}

bool CurlEngine::has_warm(const CurlShard& shard, std::uint64_t origin) {
  return std::ranges::any_of(shard.sockets, [&](int fd) {
    const Socket& socket = sockets_[static_cast<std::size_t>(fd)];
    return socket.origin == origin && is_idle(socket);
  });
}

std::vector<std::size_t> CurlEngine::loads() const {
  std::vector<std::size_t> loads;
  for (const auto& shard : shards_) loads.push_back(shard->active);
  return loads;
}

CurlShard& CurlEngine::shard_for(const Transfer& transfer) {
  CurlShard* any = nullptr;
  CurlShard* roomy = nullptr;
  for (const auto& shard : shards_) {
    const bool fits = shard->guarded == transfer.request().guarded && shard->blind == 0;
    if (!fits || shard->active >= kShardRoom) continue;
    if (has_warm(*shard, transfer.origin)) return *shard;
    if (any == nullptr) any = shard.get();
    if (roomy == nullptr && shard->sockets.size() < kMostKept) roomy = shard.get();
  }
  if (roomy != nullptr) return *roomy;
  // Where as many are kept as may be, libcurl would close another origin's for this one.
  if (any != nullptr && open_ >= options_.max_connections) return *any;
  return new_shard(transfer.request().guarded);
}

CurlShard& CurlEngine::new_shard(bool guarded) {
  auto shard = std::make_unique<CurlShard>();
  shard->engine = this;
  shard->guarded = guarded;
  shards_.reserve(shards_.size() + 1);
  shard->spare.reserve(kShardRoom);
  shard->multi = curl_multi_init();
  if (shard->multi == nullptr) throw std::bad_alloc();
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, &CurlEngine::on_socket);
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard.get());
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, &CurlEngine::on_timer);
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard.get());
  curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, kMostKept);
  curl_multi_setopt(shard->multi, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING));
  shards_.push_back(std::move(shard));
  return *shards_.back();
}

const base::Result<std::string>& CurlEngine::trust_store() {
  if (!trust_store_) trust_store_ = find_trust_store(options_.ca_file, options_.ca_fallbacks);
  return *trust_store_;
}

void CurlEngine::launch(Transfer& transfer) {
  std::string ca_file;
  if (transfer.url().scheme == "https" || transfer.proxy().starts_with("https")) {
    if (const auto& found = trust_store(); found) {
      ca_file = *found;
    } else {
      return end(transfer, base::Status(found.error()).with("host", transfer.url().host));
    }
  }
  transfer.origin = origin_of(transfer);
  CurlShard& shard = shard_for(transfer);
  CURL* easy = nullptr;
  if (shard.spare.empty()) {
    easy = curl_easy_init();
    if (easy != nullptr && !Transfer::configure(easy, *this, options_)) {
      curl_easy_cleanup(std::exchange(easy, nullptr));
    }
  } else {
    easy = shard.spare.back();
    shard.spare.pop_back();
  }
  if (easy == nullptr) {
    return end(transfer, {base::Code::kOutOfMemory, "no memory for a connection"});
  }
  ++shard.active;
  shard.fresh = true;
  transfer.shard = &shard;
  const auto known = shard.addresses.find(transfer.name);
  const bool pass = !transfer.name.empty() &&
                    (known == shard.addresses.end() || known->second != transfer.generation);
  base::Status status = transfer.prepare(easy, ca_file, pass);
  if (status.ok() && curl_multi_add_handle(shard.multi, easy) != CURLM_OK) {
    status = {base::Code::kOutOfMemory, "no memory for a connection"};
  }
  if (!status.ok()) end(transfer, std::move(status));
}

void CurlEngine::end(Transfer& transfer, base::Status status) noexcept {
  const auto node = transfers_.extract(transfer.id());  // dies at the end of this call
  timers().disarm(transfer);
  if (transfer.stage() != Stage::kQueued) --running_;
  CURL* const easy = transfer.easy();
  if (easy != nullptr) curl_multi_remove_handle(transfer.shard->multi, easy);
  transfer.end(std::move(status), now());
  leave_shard(transfer);
}

// The handle goes back to its shard, or is freed.
void CurlEngine::leave_shard(Transfer& transfer) noexcept {
  CurlShard* const shard = std::exchange(transfer.shard, nullptr);
  if (shard == nullptr) return;
  --shard->active;
  if (std::exchange(transfer.blind, false)) --shard->blind;
  transfer.named = false;
  CURL* const easy = transfer.take_easy();
  if (easy == nullptr) return;
  curl_multi_remove_handle(shard->multi, easy);  // does nothing if it was
  Transfer::release(easy);
  if (may_be_used_again() && shard->spare.size() < kShardRoom) {
    shard->spare.push_back(easy);
  } else {
    curl_easy_cleanup(easy);
  }
}

void CurlEngine::rearm(Transfer& transfer) {
  base::Instant at;
  if (!transfer.next_deadline(&at)) return;
  // A later deadline needs no work now: the timer fires early, finds nothing and goes on.
  if (!transfer.armed() || at < transfer.at()) timers().arm(transfer, at);
}

void CurlEngine::fire(Transfer& transfer) noexcept {
  guarded(transfer.id(), [&] { expire(transfer); });
}

void CurlEngine::expire(Transfer& transfer) {
  base::Status late = transfer.expired(now());
  if (late.ok()) return rearm(transfer);
  end(transfer, std::move(late));
}

void CurlEngine::shut_down(const base::Status& status) {
  queue_.clear();
  while (!transfers_.empty()) end(*transfers_.begin()->second, status);
  names_.reset();
  for (const auto& shard : shards_) close(*shard);
  shards_.clear();
}

void CurlEngine::abandon_sockets() noexcept {
  for (std::size_t fd = 0; fd < sockets_.size(); ++fd) {
    const ino_t identity = sockets_[fd].identity;
    const int number = static_cast<int>(fd);
    if (identity != 0 && identity == identity_of(number)) ::close(number);
  }
}

}  // namespace dure::net
