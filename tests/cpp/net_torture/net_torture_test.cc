// R6: memory runs out at the k-th allocation of one request, for every k, once and for good. Each
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

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>

#include "../net/stub_server.h"
#include "dure/net/http_transport.h"

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

// Takes no memory but for the body, whose want it reports as the bindings do.
class Collector final : public Handler {
 public:
  Collector() { body_.reserve(1 << 16); }
  void on_head(int status, HeaderView) noexcept override { status_ = status; }
  Flow on_body(std::span<const std::byte> part) noexcept override {
    body_.append(reinterpret_cast<const char*>(part.data()), part.size());
    return Flow::kGo;
  }
  void on_end(base::Status status, const Timing&) noexcept override {
    fail_at = -1;  // before the test thread is woken
    const std::lock_guard lock(mutex_);
    code_ = status.code();
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
  [[nodiscard]] const std::string& body() const { return body_; }

 private:
  std::mutex mutex_;
  std::condition_variable seen_;
  int ends_ = 0;
  int status_ = 0;
  base::Code code_ = base::Code::kOk;
  std::string body_;
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
      const StubServer server([](Connection& connection, const std::string&) {
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
  [[nodiscard]] std::string url(const std::string& host) const {
    return "http://" + host + ":" + std::to_string(port_) + "/";
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

class TortureTest : public ::testing::TestWithParam<std::tuple<Engine, bool>> {
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
  static bool run(const ServerProcess& server, Engine engine, bool sticky, long k) {
    const auto transport = make_transport({}, base::system_clock(), engine);
    const auto first = std::make_shared<Collector>();
    Request made = request(server.url("localhost"), std::chrono::milliseconds(300));
    for_good = sticky;
    failed = false;
    fail_at = k;
    spared = false;  // what the caller's thread allocates counts too
    transport->submit(std::move(made), first);
    spared = true;
    EXPECT_TRUE(first->wait()) << "k = " << k;
    fail_at = -1;
    const bool short_of_memory = failed;
    if (first->code() == base::Code::kOk) {
      EXPECT_EQ(first->status(), 200);
      EXPECT_EQ(first->body(), "whole and exact");
    } else {
      EXPECT_TRUE(is_typed(first->code())) << base::code_name(first->code()) << " at k = " << k;
    }
    const auto second = std::make_shared<Collector>();
    transport->submit(request(server.url("127.0.0.1"), std::chrono::seconds(60)), second);
    EXPECT_TRUE(second->wait()) << "afterwards, k = " << k;
    EXPECT_EQ(second->code(), base::Code::kOk) << "afterwards, k = " << k;
    EXPECT_TRUE(transport->stop(std::chrono::seconds(5)));
    EXPECT_EQ(first->ends(), 1);
    EXPECT_EQ(second->ends(), 1);
    return short_of_memory;
  }
};

TEST_P(TortureTest, EveryAllocationOfARequestMayFail) {
  const auto [engine, sticky] = GetParam();
  const ServerProcess server;
  run(server, engine, false, 1'000'000);  // what is allocated once in a process is there
  const int files = open_files();
  long k = 0;
  long past = 0;
  for (; past < 3; ++k) {  // in a row: which thread allocates when differs a little
    past = run(server, engine, sticky, k) ? 0 : past + 1;
    ASSERT_LT(k, 5000);
    if (HasFailure()) break;
  }
  std::printf("%ld allocations\n", k);
  EXPECT_GT(k, 10);
  for (int wait = 0; wait < 100 && open_files() > files; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LE(open_files(), files);
}

INSTANTIATE_TEST_SUITE_P(Engines, TortureTest,
                         ::testing::Combine(::testing::Values(Engine::kA, Engine::kB),
                                            ::testing::Bool()),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) == Engine::kA ? "A" : "B") +
                                  (std::get<1>(info.param) ? "ForGood" : "Once");
                         });

}  // namespace
}  // namespace dure::net
