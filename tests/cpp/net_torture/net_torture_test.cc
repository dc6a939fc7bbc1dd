// R6: memory runs out at the k-th allocation of one request, for every k, once and for good: of a
// plain one, of one whose reply is read as a stream and held back in between, of one whose body is
// made while it is sent, and of one that meets a connection which the server has closed. Each
// request ends exactly once, exact or with a typed error; afterwards the transport works, and no
// descriptor is left. This executable replaces malloc, so it is left out under sanitizers.
//
// What libcurl asks for itself is spared: 7.88.1 divides by zero in curl_multi_socket_action()
// after a want of memory of its own. Everything of ours around it is not.
#include <dirent.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>

#include "../net/stub_server.h"
#include "dure/net/http_transport.h"
#include "dure/net/sse.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DURE_OWN_MALLOC 0
#else
#define DURE_OWN_MALLOC 1
#endif

namespace {

std::atomic<long> fail_at{-1};  // -1: off; else so many allocations succeed first
std::atomic<bool> for_good{false};
std::atomic<bool> failed{false};   // since the last arming
thread_local bool spared = false;  // threads of the test itself

// Whether the code at this address is libcurl's. Asks only while armed; dladdr() takes no memory.
bool of_libcurl(const void* caller) noexcept {
  Dl_info found{};
  return ::dladdr(caller, &found) != 0 && found.dli_fname != nullptr &&
         std::string_view(found.dli_fname).find("libcurl") != std::string_view::npos;
}

[[maybe_unused]] bool fails(const void* caller) noexcept {
  if (spared || fail_at < 0 || of_libcurl(caller)) return false;
  long left = fail_at.load();
  while (left >= 0) {
    if (left == 0) {
      if (for_good || fail_at.compare_exchange_weak(left, -1)) {
        failed = true;
        return true;
      }
    } else if (fail_at.compare_exchange_weak(left, left - 1)) {
      return false;
    }
  }
  return false;
}

}  // namespace

#if DURE_OWN_MALLOC
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* malloc(std::size_t size) noexcept {
  if (!fails(__builtin_return_address(0))) return __libc_malloc(size);
  errno = ENOMEM;
  return nullptr;
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  if (!fails(__builtin_return_address(0))) return __libc_calloc(count, size);
  errno = ENOMEM;
  return nullptr;
}
void* realloc(void* block, std::size_t size) noexcept {
  if (!fails(__builtin_return_address(0))) return __libc_realloc(block, size);
  errno = ENOMEM;
  return nullptr;
}
char* strdup(const char* text) noexcept {  // the C library's own would hide who called
  const std::size_t size = std::strlen(text) + 1;
  if (fails(__builtin_return_address(0))) {
    errno = ENOMEM;
    return nullptr;
  }
  void* const copy = __libc_malloc(size);
  return copy == nullptr ? nullptr : static_cast<char*>(std::memcpy(copy, text, size));
}
}
#endif

namespace dure::net {
namespace {

int open_files() {
  int count = 0;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

enum class Kind : std::uint8_t { kPlain, kStream, kUpload, kStale };

constexpr std::string_view kWhole = "whole and exact";

// Takes no memory but for what it is given, whose want it reports as the bindings do: the transfer
// is cancelled, the failure is what the reader is told.
class Collector final : public Handler {
 public:
  explicit Collector(bool reads_events = false) {
    if (!reads_events) return;
    parser_.emplace([this](const SseEvent& event) { body_.append(event.data); });
  }
  void serve(std::weak_ptr<Transport> transport) { transport_ = std::move(transport); }
  void set_id(RequestId id) { id_ = id; }

  void on_head(int status, HeaderView) noexcept override { status_ = status; }
  Flow on_body(std::span<const std::byte> part) noexcept override {
    try {
      if (!failure_.ok()) return Flow::kGo;
      if (parser_) {
        failure_ = parser_->feed(part);
      } else {
        body_.append(reinterpret_cast<const char*>(part.data()), part.size());
      }
    } catch (const std::bad_alloc&) {
      failure_ = {base::Code::kOutOfMemory, "no memory"};
    }
    const auto transport = transport_.lock();
    if (!failure_.ok() && transport != nullptr) transport->cancel(id_);
    if (!parser_ || !failure_.ok()) return Flow::kGo;
    if (transport != nullptr) transport->resume(id_);  // as a reader who is quick
    return Flow::kPause;
  }
  void on_end(base::Status status, const Timing& timing) noexcept override {
    fail_at = -1;  // before the test thread is woken
    const std::lock_guard lock(mutex_);
    code_ = failure_.ok() ? status.code() : failure_.code();
    resent_ = timing.resent;
    ++ends_;
    seen_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return seen_.wait_for(lock, std::chrono::seconds(20), [this] { return ends_ > 0; });
  }
  [[nodiscard]] int ends() {
    const std::lock_guard lock(mutex_);
    return ends_;
  }
  [[nodiscard]] base::Code code() const { return code_; }
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] bool resent() const { return resent_; }
  [[nodiscard]] const std::string& body() const { return body_; }

 private:
  std::mutex mutex_;
  std::condition_variable seen_;
  int ends_ = 0;
  int status_ = 0;
  bool resent_ = false;
  base::Code code_ = base::Code::kOk;
  base::Status failure_;
  std::string body_;
  std::optional<SseParser> parser_;
  std::weak_ptr<Transport> transport_;
  std::atomic<RequestId> id_{0};
};

// A body in parts of a thousand bytes.
class Parts final : public BodySource {
 public:
  explicit Parts(std::uint64_t size) : size_(size) {}
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  std::size_t read(std::span<std::byte> room) noexcept override {
    const std::size_t count = std::min<std::size_t>({room.size(), 1000, size_ - given_});
    std::memset(room.data(), 'b', count);
    given_ += count;
    return count;
  }

 private:
  const std::uint64_t size_;
  std::uint64_t given_ = 0;
};

// A server in a process of its own, whose memory does not run out. Ends with this one.
class ServerProcess {
 public:
  ServerProcess() {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    process_ = ::fork();
    if (process_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const StubServer server([](Connection& connection, const std::string& request) {
        thread_local int served = 0;  // on this connection
        if (request.starts_with("POST /stale") && ++served == 2) return false;
        if (request.starts_with("POST /stream")) {
          connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
          for (const char* part : {"data: who", "le and", "\n\nevent: x\n", "data:  exact\n\n"}) {
            char size[32];
            std::snprintf(size, sizeof size, "%zx\r\n", std::strlen(part));
            connection.send(std::string(size) + part + "\r\n");
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
          connection.send("0\r\n\r\n");
          return true;
        }
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Long: " +
                        std::string(200, 'x') + "\r\n\r\n6\r\nwhole \r\n");
        connection.send("9\r\nand exact\r\n0\r\n\r\n");
        return true;
      });
      const int port = server.port();
      if (::write(ends[1], &port, sizeof port) == sizeof port) ::pause();
      ::_exit(1);
    }
    EXPECT_EQ(::read(ends[0], &port_, sizeof port_), static_cast<ssize_t>(sizeof port_));
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~ServerProcess() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  [[nodiscard]] std::string url(const std::string& host, Kind kind = Kind::kPlain) const {
    const char* const path = kind == Kind::kStream ? "stream" : kind == Kind::kStale ? "stale" : "";
    return "http://" + host + ":" + std::to_string(port_) + "/" + path;
  }

 private:
  pid_t process_ = -1;
  int port_ = 0;
};

bool is_typed(base::Code code) {
  return code == base::Code::kOutOfMemory || code == base::Code::kUnavailable ||
         code == base::Code::kUpstream || code == base::Code::kTruncated ||
         code == base::Code::kDeadline;
}

class TortureTest : public ::testing::TestWithParam<std::tuple<Engine, bool, Kind>> {
 protected:
  void SetUp() override {
    if (DURE_OWN_MALLOC == 0) GTEST_SKIP() << "the sanitizer owns malloc";
    spared = true;
  }
  void TearDown() override { fail_at = -1; }

  static Request request(const std::string& url, base::Duration total) {
    return {.url = url,
            .headers = {{"Authorization", "Bearer " + std::string(60, 'k')}},
            .body = std::string(3000, 'b'),
            .deadlines = {.total = total}};
  }

  // One request on a new transport, memory running out after `k` allocations, then one more.
  // False: it was never short of memory.
  bool run(const ServerProcess& server, long k) {
    const auto [engine, sticky, kind] = GetParam();
    const auto transport = make_transport({}, base::system_clock(), engine);
    const bool stale = kind == Kind::kStale;
    const std::string host = kind == Kind::kPlain ? "localhost" : "127.0.0.1";
    if (stale) expect_exact(*transport, server.url(host, kind), k);  // leaves a warm connection
    const auto first = std::make_shared<Collector>(kind == Kind::kStream);
    first->serve(transport);
    Request made = request(server.url(host, kind), std::chrono::milliseconds(300));
    made.stream = kind == Kind::kStream;
    if (kind == Kind::kUpload) {
      made.body.clear();
      made.source = std::make_shared<Parts>(100'000);
    }
    for_good = sticky;
    failed = false;
    fail_at = k;
    spared = false;  // what the caller's thread allocates counts too
    first->set_id(transport->submit(std::move(made), first));
    spared = true;
    EXPECT_TRUE(first->wait()) << "k = " << k;
    fail_at = -1;
    const bool short_of_memory = failed;
    if (first->code() == base::Code::kOk) {
      EXPECT_EQ(first->status(), 200);
      EXPECT_EQ(first->body(), kWhole);
      resent_ += first->resent() ? 1 : 0;
    } else {
      EXPECT_TRUE(is_typed(first->code())) << base::code_name(first->code()) << " at k = " << k;
    }
    expect_exact(*transport, server.url("127.0.0.1"), k);
    EXPECT_TRUE(transport->stop(std::chrono::seconds(5)));
    EXPECT_EQ(first->ends(), 1);
    return short_of_memory;
  }

  static void expect_exact(Transport& transport, const std::string& url, long k) {
    const auto one = std::make_shared<Collector>();
    transport.submit(request(url, std::chrono::seconds(60)), one);
    EXPECT_TRUE(one->wait()) << "k = " << k;
    EXPECT_EQ(one->code(), base::Code::kOk) << "k = " << k;
    EXPECT_EQ(one->body(), kWhole);
    EXPECT_EQ(one->ends(), 1);
  }

  int resent_ = 0;
};

TEST_P(TortureTest, EveryAllocationOfARequestMayFail) {
  const ServerProcess server;
  run(server, 1'000'000);  // what is allocated once in a process is there
  const int files = open_files();
  long k = 0;
  long past = 0;
  for (; past < 3; ++k) {  // in a row: which thread allocates when differs a little
    past = run(server, k) ? 0 : past + 1;
    ASSERT_LT(k, 5000);
    if (HasFailure()) break;
  }
  std::printf("%ld allocations\n", k - past);
  // A resend on a warm connection of engine B takes next to none.
  EXPECT_GT(k, std::get<2>(GetParam()) == Kind::kStale ? 3 : 10);
  EXPECT_EQ(resent_ > 0, std::get<2>(GetParam()) == Kind::kStale);
  for (int wait = 0; wait < 100 && open_files() > files; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LE(open_files(), files);
}

std::string name_of(const ::testing::TestParamInfo<TortureTest::ParamType>& info) {
  const auto [engine, sticky, kind] = info.param;
  const char* const what = kind == Kind::kPlain    ? "Plain"
                           : kind == Kind::kStream ? "Stream"
                           : kind == Kind::kUpload ? "Upload"
                                                   : "Stale";
  return std::string(engine == Engine::kA ? "A" : "B") + what + (sticky ? "ForGood" : "Once");
}

INSTANTIATE_TEST_SUITE_P(
    Engines, TortureTest,
    ::testing::Combine(::testing::Values(Engine::kA, Engine::kB), ::testing::Bool(),
                       ::testing::Values(Kind::kPlain, Kind::kStream, Kind::kUpload, Kind::kStale)),
    name_of);

}  // namespace
}  // namespace dure::net
