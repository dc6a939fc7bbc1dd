#include "net/curl_engine.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "net/curl_library.h"
#include "net/native_thread.h"
#include "net/trust_store.h"

namespace dure::net {
namespace {

constexpr std::size_t kShardRoom = 64;  // connections; D5
constexpr base::Duration kNameLife = std::chrono::seconds(60);
constexpr std::size_t kMostNames = 1024;
constexpr int kFakeTimeSliceMs = 2;

base::Status stopped() {
  return base::Status(base::Code::kUnavailable,
                      "the transport was stopped while the request was under way; it may have "
                      "been carried out")
      .with("stage", std::string("stop"));
}

base::Instant machine_now() noexcept { return base::system_clock().now(); }

// The kernel's number of an open socket; zero if `fd` is no socket.
ino_t identity_of(int fd) noexcept {
  struct stat info{};
  return ::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

}  // namespace

// Work of the layers above that waits for its time; owned by the engine.
class CurlEngine::WorkTimer final : public Timer {
 public:
  WorkTimer(CurlEngine& engine, std::shared_ptr<Work> work)
      : engine_(engine), work_(std::move(work)) {}
  void fire() noexcept override {
    const auto self = engine_.works_.extract(this);  // dies at the end of this call
    work_->run();
  }

 private:
  CurlEngine& engine_;
  const std::shared_ptr<Work> work_;
};

CurlEngine::CurlEngine(const TransportOptions& options, const base::Clock& clock)
    : options_(options),
      clock_(clock),
      fake_time_(&clock != &base::system_clock()),
      resolver_(std::make_unique<Resolver>(options.look_up)) {}

CurlEngine::~CurlEngine() {
  if (thread_.joinable()) thread_.detach();  // only if stop() was never called
  if (epoll_ >= 0) ::close(epoll_);
  if (wake_ >= 0) ::close(wake_);
}

base::Status CurlEngine::start(const std::shared_ptr<CurlEngine>& self) {
  if (base::Status loaded = load_curl(); !loaded.ok()) return loaded;
  const auto no = [](std::string_view what) {
    return base::Status(base::Code::kUnavailable,
                        "the transport cannot start: " + std::string(what) + " (" +
                            std::strerror(errno) + ")")
        .with("stage", std::string("start"));
  };
  self->epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  self->wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (self->epoll_ < 0 || self->wake_ < 0) return no("no file descriptor is left");
  epoll_event event{.events = EPOLLIN, .data = {.fd = self->wake_}};
  if (::epoll_ctl(self->epoll_, EPOLL_CTL_ADD, self->wake_, &event) != 0) return no("epoll");
  try {
    self->thread_ = start_thread([self] { self->run(); });
  } catch (const std::system_error&) {
    return no("no thread is left");
  }
  return {};
}

void CurlEngine::post(Command command) {
  const std::lock_guard lock(command_mutex_);
  if (ended_) return;
  commands_.push_back(std::move(command));
  if (commands_.size() > 1) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

bool CurlEngine::stop(base::Duration limit) {
  post([this] { stopping_ = true; });
  if (std::this_thread::get_id() == thread_.get_id()) {  // a handler let the transport go
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

// --- the thread ---

void CurlEngine::run() noexcept {
  std::array<epoll_event, 256> events;
  std::unique_lock work(work_mutex_);
  while (!stopping_) {
    const int timeout = timeout_ms();
    work.unlock();
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout);
    work.lock();
    for (int at = 0; at < count; ++at) {
      const epoll_event& event = events[static_cast<std::size_t>(at)];
      if (event.data.fd != wake_) ready(event.data.fd, event.events);
    }
    run_commands();
    run_timers();
  }
  fail_all(stopped());
  resolver_.reset();
  close_shards();
  works_.clear();
  const std::lock_guard lock(command_mutex_);
  ended_ = true;
  commands_.clear();
  end_seen_.notify_all();
}

int CurlEngine::timeout_ms() const {
  constexpr std::int64_t kMs = 1'000'000;
  std::int64_t wait = -1;
  const auto take = [&wait](std::int64_t left) {
    left = std::max<std::int64_t>(left, 0);
    if (wait < 0 || left < wait) wait = left;
  };
  if (!timers_.empty()) take((timers_.next() - clock_.now()).count());
  bool any_shard = false;
  base::Instant first;
  for (const auto& shard : shards_) {
    if (shard->nudge) return 0;
    if (!shard->timer_set || (any_shard && shard->timer_at >= first)) continue;
    first = shard->timer_at;
    any_shard = true;
  }
  if (any_shard) take(first.ns == 0 ? 0 : (first - machine_now()).count());
  if (fake_time_ && !timers_.empty()) take(kFakeTimeSliceMs * kMs);
  if (wait < 0) return -1;
  return static_cast<int>(std::min<std::int64_t>((wait + kMs - 1) / kMs, 60'000));
}

void CurlEngine::run_commands() {
  std::vector<Command> commands;
  {
    // Read before the swap: the other way round a wake-up could be lost.
    const std::lock_guard lock(command_mutex_);
    if (!commands_.empty()) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_, &count, sizeof count);
    }
    commands.swap(commands_);
  }
  for (const Command& command : commands) command();
}

void CurlEngine::run_timers() {
  const base::Instant now = clock_.now();
  while (Timer* const due = timers_.pop_due(now)) due->fire();
  admit();
  for (std::size_t at = 0; at < shards_.size(); ++at) {  // collect() may add shards
    CurlShard& shard = *shards_[at];
    if (shard.nudge) nudge(shard);
    if (!shard.timer_set || (shard.timer_at.ns != 0 && shard.timer_at > machine_now())) continue;
    shard.timer_set = false;
    int running = 0;
    curl_multi_socket_action(shard.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(shard);
  }
  if (!queue_.empty()) admit();
}

void CurlEngine::ready(int fd, std::uint32_t events) {
  const auto place = static_cast<std::size_t>(fd);
  if (place >= sockets_.size()) return;
  Socket& socket = sockets_[place];
  if (socket.wanted == 0 || socket.shard == nullptr) {
    // An idle connection that the server closed or wrote to: libcurl finds out when it needs it.
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    socket.watched = 0;
    return;
  }
  int mask = 0;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) mask |= CURL_CSELECT_IN;
  if ((events & (EPOLLOUT | EPOLLERR)) != 0) mask |= CURL_CSELECT_OUT;
  CurlShard& shard = *socket.shard;
  int running = 0;
  curl_multi_socket_action(shard.multi, fd, mask, &running);
  collect(shard);
}

void CurlEngine::collect(CurlShard& shard) {
  int left = 0;
  while (CURLMsg* const message = curl_multi_info_read(shard.multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    Transfer& transfer = *reinterpret_cast<Transfer*>(self);
    end(transfer, transfer.outcome(code));
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

// --- libcurl's callbacks ---

int CurlEngine::on_socket(CURL*, curl_socket_t fd, int what, void* shard, void*) noexcept {
  auto& of = *static_cast<CurlShard*>(shard);
  std::uint32_t wanted = 0;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) wanted |= EPOLLIN;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) wanted |= EPOLLOUT;
  try {
    of.engine->watch(fd, &of, wanted);
  } catch (...) {
    return -1;
  }
  return 0;
}

// An idle connection stays in epoll with what it was last watched for: the next request on it
// mostly wants the same, which saves two system calls a request.
void CurlEngine::watch(int fd, CurlShard* shard, std::uint32_t wanted) {
  if (static_cast<std::size_t>(fd) >= sockets_.size()) opened(fd, 0);
  Socket& socket = sockets_[static_cast<std::size_t>(fd)];
  socket.shard = shard;
  socket.wanted = wanted;
  if (wanted == 0 || wanted == socket.watched) return;
  epoll_event event{.events = wanted, .data = {.fd = fd}};
  const int how = socket.watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (::epoll_ctl(epoll_, how, fd, &event) != 0 && errno == EEXIST) {
    ::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }
  socket.watched = wanted;
}

// A new socket may bear the number of an old one: nothing of the old entry is kept.
void CurlEngine::opened(int fd, RequestId opener) {
  const auto place = static_cast<std::size_t>(fd);
  if (place >= sockets_.size()) sockets_.resize(place + 64);
  sockets_[place] = Socket{.identity = identity_of(fd), .opener = opener};
}

int CurlEngine::on_close_socket(void* engine, curl_socket_t fd) noexcept {
  auto& self = *static_cast<CurlEngine*>(engine);
  const auto place = static_cast<std::size_t>(fd);
  if (place < self.sockets_.size()) {
    // Said aloud: a forked child may hold the same connection open for a moment.
    const Socket socket = std::exchange(self.sockets_[place], Socket{});
    if (socket.watched != 0) ::epoll_ctl(self.epoll_, EPOLL_CTL_DEL, fd, nullptr);
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

void CurlEngine::submit(RequestId id, Request request, std::shared_ptr<Handler> handler,
                        base::Instant at) {
  auto owned = std::make_unique<Transfer>(*this, id, std::move(request), std::move(handler), at);
  Transfer& transfer = *owned;
  transfers_.emplace(id, std::move(owned));
  if (base::Status wrong = transfer.check(options_); !wrong.ok()) {
    return end(transfer, std::move(wrong));
  }
  rearm(transfer);
  queue_.push_back(id);
}

void CurlEngine::cancel(RequestId id) {
  if (Transfer* const transfer = find(id)) {
    end(*transfer, {base::Code::kCancelled, "the request was cancelled"});
  }
}

void CurlEngine::resume(RequestId id) {
  if (Transfer* const transfer = find(id)) transfer->resume(now());
}

void CurlEngine::run_at(base::Instant at, std::shared_ptr<Work> work) {
  auto timer = std::make_unique<WorkTimer>(*this, std::move(work));
  timers_.arm(*timer, at);
  works_.emplace(timer.get(), std::move(timer));
}

void CurlEngine::admit() {
  while (!queue_.empty() && running_ < options_.max_connections) {
    const RequestId id = queue_.front();
    queue_.pop_front();
    if (Transfer* const transfer = find(id)) begin(*transfer);
  }
}

void CurlEngine::begin(Transfer& transfer) {
  ++running_;
  transfer.begin_connecting(now());
  rearm(transfer);
  int port = 0;
  const std::string host = transfer.name_to_resolve(&port);
  if (host.empty() || !options_.unix_socket.empty()) return launch(transfer);
  transfer.name = host + ":" + std::to_string(port);
  if (names_.size() > kMostNames) {
    std::erase_if(names_, [now = now()](const auto& entry) {
      return !entry.second.pending && entry.second.expires <= now;
    });
  }
  Name& name = names_[host];
  if (!name.pending && now() < name.expires) {
    transfer.generation = name.generation;
    transfer.set_addresses(name.addresses);
    return launch(transfer);
  }
  name.waiting.push_back(transfer.id());
  if (std::exchange(name.pending, true)) return;
  resolver_->look_up(host, [weak = weak_from_this(), host](base::Result<Addresses> result) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->post(
        [self = self.get(), host, result = std::move(result)] { self->resolved(host, result); });
  });
}

void CurlEngine::resolved(const std::string& host, base::Result<Addresses> result) {
  Name& name = names_[host];
  name.pending = false;
  const std::vector<RequestId> waiting = std::exchange(name.waiting, {});
  if (result) {
    name.addresses = *result;
    name.expires = now() + kNameLife;
    name.generation = ++generations_;
  }
  const Name copy = name;  // a handler's end may lead back here
  if (!result) names_.erase(host);
  for (const RequestId id : waiting) {
    Transfer* const transfer = find(id);
    if (transfer == nullptr) continue;
    if (!result) {
      end(*transfer, base::Status(result.error())
                         .with("host", host)
                         .with("stage", std::string("resolve"))
                         .with("tried", std::string()));
      continue;
    }
    transfer->generation = copy.generation;
    transfer->set_addresses(copy.addresses);
    launch(*transfer);
  }
}

void CurlEngine::addresses_in_use(const Transfer& transfer) {
  if (!transfer.name.empty() && !transfer.request().guarded) {
    transfer.shard->addresses[transfer.name] = transfer.generation;
  }
}

CurlShard& CurlEngine::shard_with_room(bool guarded) {
  for (const auto& shard : shards_) {
    if (shard->guarded == guarded && shard->active < kShardRoom) return *shard;
  }
  auto shard = std::make_unique<CurlShard>();
  shard->engine = this;
  shard->guarded = guarded;
  shard->multi = curl_multi_init();
  if (shard->multi == nullptr) throw std::bad_alloc();
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETFUNCTION, &CurlEngine::on_socket);
  curl_multi_setopt(shard->multi, CURLMOPT_SOCKETDATA, shard.get());
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERFUNCTION, &CurlEngine::on_timer);
  curl_multi_setopt(shard->multi, CURLMOPT_TIMERDATA, shard.get());
  curl_multi_setopt(shard->multi, CURLMOPT_MAXCONNECTS, static_cast<long>(kShardRoom));
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
  CurlShard& shard = shard_with_room(transfer.request().guarded);
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

void CurlEngine::end(Transfer& transfer, base::Status status) {
  const auto node = transfers_.extract(transfer.id());  // dies at the end of this call
  timers_.disarm(transfer);
  if (transfer.stage() != Stage::kQueued) --running_;
  CurlShard* const shard = transfer.shard;
  CURL* const easy = transfer.easy();
  if (easy != nullptr) curl_multi_remove_handle(shard->multi, easy);
  transfer.end(std::move(status), now());
  if (shard == nullptr) return;
  --shard->active;
  if (easy == nullptr) return;
  Transfer::release(easy);
  if (shard->spare.size() < kShardRoom) {
    shard->spare.push_back(easy);
  } else {
    curl_easy_cleanup(easy);
  }
}

void CurlEngine::rearm(Transfer& transfer) {
  base::Instant at;
  if (!transfer.next_deadline(&at)) return;
  // A later deadline needs no work now: the timer fires early, finds nothing and goes on.
  if (!transfer.armed() || at < transfer.at()) timers_.arm(transfer, at);
}

void CurlEngine::expire(Transfer& transfer) {
  base::Status late = transfer.expired(now());
  if (late.ok()) return rearm(transfer);
  end(transfer, std::move(late));
}

void CurlEngine::fail_all(const base::Status& status) {
  queue_.clear();
  while (!transfers_.empty()) end(*transfers_.begin()->second, status);
}

void CurlEngine::close_shards() {
  for (const auto& shard : shards_) {
    for (CURL* const easy : shard->spare) curl_easy_cleanup(easy);
    curl_multi_cleanup(shard->multi);
  }
  shards_.clear();
}

void CurlEngine::abandon() noexcept {
  for (std::size_t fd = 0; fd < sockets_.size(); ++fd) {
    const ino_t identity = sockets_[fd].identity;
    const int number = static_cast<int>(fd);
    if (identity != 0 && identity == identity_of(number)) ::close(number);
  }
  ::close(epoll_);
  ::close(wake_);
}

}  // namespace dure::net
