// The small parts below the engine: timers, URLs, proxy rules, addresses, trust store, heads.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dure/net/egress.h"
#include "dure/net/proxy.h"
#include "net/head_check.h"
#include "net/name_cache.h"
#include "net/request_check.h"
#include "net/resolver.h"
#include "net/timer_heap.h"
#include "net/trust_store.h"
#include "net/url.h"

namespace dure::net {
namespace {

struct Nothing final : Timer {
  void fire() noexcept override {}
};

TEST(RequestCheckTest, FieldTextIsWhatHoldsNoControlButTabs) {
  for (int c = 0; c < 256; ++c) {
    const bool good = c == '\t' || (c >= ' ' && c != 0x7F);
    for (std::size_t size = 1; size < 20; ++size) {
      for (std::size_t at = 0; at < size; ++at) {
        std::string text(size, '\xE9');
        text[at] = static_cast<char>(c);
        EXPECT_EQ(is_field_text(text), good) << c << " at " << at << " of " << size;
      }
    }
  }
  EXPECT_TRUE(is_field_text("a\tb~ \x80\xFF and so on, a line of a head"));
}

TEST(TimerHeap, GivesTimersInOrderAlsoAfterChanges) {
  std::mt19937 random(7);  // NOLINT: a fixed seed
  TimerHeap heap;
  std::vector<std::unique_ptr<Nothing>> timers;
  for (int at = 0; at < 1000; ++at) {
    timers.push_back(std::make_unique<Nothing>());
    heap.arm(*timers.back(), {static_cast<std::int64_t>(random() % 500)});
  }
  for (int change = 0; change < 3000; ++change) {
    Timer& timer = *timers[random() % timers.size()];
    if (random() % 3 == 0) {
      heap.disarm(timer);
    } else {
      heap.arm(timer, {static_cast<std::int64_t>(random() % 500)});
    }
  }
  std::size_t armed = 0;
  for (const auto& timer : timers) armed += timer->armed() ? 1 : 0;
  EXPECT_EQ(heap.size(), armed);
  base::Instant last{-1};
  while (!heap.empty()) {
    EXPECT_EQ(heap.pop_due({heap.next().ns - 1}), nullptr);
    Timer* const due = heap.pop_due(heap.next());
    ASSERT_NE(due, nullptr);
    EXPECT_LE(last, due->at());
    EXPECT_FALSE(due->armed());
    last = due->at();
    --armed;
  }
  EXPECT_EQ(armed, 0U);
}

TEST(Url, IsReadStrictly) {
  const auto url = parse_url("HTTPS://Model.Example:8443/v1/chat?x=%20&y").value();
  EXPECT_EQ(url.scheme, "https");
  EXPECT_EQ(url.host, "model.example");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.query, "x=%20&y");
  EXPECT_FALSE(url.literal);
  EXPECT_EQ(parse_url("http://[::1]:80").value().host, "::1");
  EXPECT_TRUE(parse_url("http://10.0.0.1?x").value().literal);
  EXPECT_EQ(parse_url("https://a").value().port, 443);
  for (const char* wrong : {"",
                            "x",
                            "http:/a",
                            "ws://a",
                            "http://",
                            "http://?",
                            "http://a:0/",
                            "http://a:1x/",
                            "http://a@b/",
                            "http://a/#f",
                            "http://a\tb/",
                            "http://[::1]x/",
                            "http://[a]/",
                            "http://.a/",
                            "http://a..b/",
                            "http://1.2.3/",
                            "http://1.2.3.04/",
                            "http://1.2.3.256/",
                            "http://0x7f.1/",
                            "http://a.0x1/",
                            "http://%31/",
                            "http://a,b/",
                            "http://a\\b/",
                            "//a",
                            "http://a:80:80/"}) {
    EXPECT_FALSE(parse_url(wrong)) << wrong;
  }
}

TEST(Url, KeysInTheQueryAreRefused) {
  EXPECT_TRUE(check_query("api-version=2024-10-21&monkey=1&keys=2").ok());
  for (const char* wrong : {"key=1", "a=b&API_KEY=1", "access_token", "x&client_secret=1"}) {
    EXPECT_FALSE(check_query(wrong).ok()) << wrong;
  }
}

TEST(Proxy, NoProxyRules) {
  const auto direct = [](std::string_view rule, std::string_view host, int port = 443) {
    return matches_no_proxy(rule, host, port);
  };
  EXPECT_TRUE(direct("*", "anything"));
  EXPECT_TRUE(direct("example.com", "example.com"));
  EXPECT_TRUE(direct("example.com", "API.example.com"));
  EXPECT_TRUE(direct(".example.com", "api.example.com"));
  EXPECT_TRUE(direct("*.example.com", "api.example.com"));
  EXPECT_FALSE(direct("example.com", "notexample.com"));
  EXPECT_FALSE(direct("example.com", "example.com.evil"));
  EXPECT_TRUE(direct("example.com:443", "example.com"));
  EXPECT_FALSE(direct("example.com:80", "example.com"));
  EXPECT_TRUE(direct("10.0.0.0/8", "10.2.3.4"));
  EXPECT_FALSE(direct("10.0.0.0/8", "11.2.3.4"));
  EXPECT_FALSE(direct("10.0.0.0/8", "10.2.3.4.example"));
  EXPECT_TRUE(direct("127.0.0.1", "127.0.0.1"));
  EXPECT_TRUE(direct("::1", "::1"));
  EXPECT_FALSE(direct("", "a"));
  EXPECT_FALSE(direct(".", "a"));
}

TEST(Egress, OnlyPublicAddresses) {
  const EgressGuard guard;
  const auto allows = [&](std::string_view text) {
    return guard.allows(IpAddress::parse(text).value());
  };
  for (const char* refused : {"0.0.0.0",
                              "10.1.2.3",
                              "100.64.0.1",
                              "100.127.255.255",
                              "127.0.0.1",
                              "169.254.169.254",
                              "172.16.0.1",
                              "172.31.255.1",
                              "192.0.0.1",
                              "192.0.2.1",
                              "192.88.99.1",
                              "192.168.1.1",
                              "198.18.0.1",
                              "198.19.255.255",
                              "198.51.100.1",
                              "203.0.113.1",
                              "224.0.0.1",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::1.2.3.4",
                              "::ffff:8.8.8.8",
                              "::ffff:0:1.2.3.4",
                              "64:ff9b::8.8.8.8",
                              "64:ff9b:1::1",
                              "100::1",
                              "2001::1",
                              "2001:db8::1",
                              "2002::1",
                              "3fff::1",
                              "5f00::1",
                              "fc00::1",
                              "fdff::1",
                              "fe80::1",
                              "fec0::1",
                              "ff02::1"}) {
    EXPECT_FALSE(allows(refused)) << refused;
  }
  for (const char* open : {"1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "198.20.0.1",
                           "223.255.255.255", "2606:4700::1", "2a00::1"}) {
    EXPECT_TRUE(allows(open)) << open;
  }
  for (const char* no_address : {"", "1.2.3", "0x7f.0.0.1", "017.0.0.1", "1.2.3.4.5", "g::1"}) {
    EXPECT_FALSE(IpAddress::parse(no_address)) << no_address;
  }
}

TEST(Egress, AllowedBlocksAndRefusedNames) {
  const auto guard = EgressGuard::create({"10.1.0.0/16", "127.0.0.1", "fd00::/8"}).value();
  EXPECT_TRUE(guard.allows(IpAddress::parse("10.1.2.3").value()));
  EXPECT_FALSE(guard.allows(IpAddress::parse("10.2.2.3").value()));
  EXPECT_TRUE(guard.allows(IpAddress::parse("127.0.0.1").value()));
  EXPECT_FALSE(guard.allows(IpAddress::parse("127.0.0.2").value()));
  EXPECT_TRUE(guard.allows(IpAddress::parse("fd12::1").value()));
  for (const char* wrong : {"x", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129"}) {
    EXPECT_FALSE(EgressGuard::create({wrong})) << wrong;
  }
  for (const char* name :
       {"localhost", "a.LOCALHOST", "x.internal", "intranet", "localhost.", ""}) {
    EXPECT_FALSE(EgressGuard::allows_name(name)) << name;
  }
  for (const char* name : {"example.com", "notlocalhost", "localhost.example"}) {
    EXPECT_TRUE(EgressGuard::allows_name(name)) << name;
  }
}

class TrustStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames) ::unsetenv(name);
    directory_ =
        std::filesystem::temp_directory_path() / ("dure-trust-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override {
    for (const char* name : kNames) ::unsetenv(name);
    std::filesystem::remove_all(directory_);
  }
  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }
  static constexpr const char* kNames[] = {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
                                           "SSL_CERT_DIR"};
  std::filesystem::path directory_;
};

TEST_F(TrustStoreTest, TheEnvironmentComesFirstInItsOrder) {
  const std::string one = file("one.pem", "x");
  const std::string two = file("two.pem", "y");
  ::setenv("REQUESTS_CA_BUNDLE", two.c_str(), 1);
  EXPECT_EQ(find_trust_store("", {}).value(), two);
  ::setenv("SSL_CERT_FILE", one.c_str(), 1);
  EXPECT_EQ(find_trust_store("", {}).value(), one);
  ::setenv("SSL_CERT_FILE", "/no/such/file", 1);
  EXPECT_EQ(find_trust_store("", {}).value(), two);
  EXPECT_EQ(find_trust_store(one, {}).value(), one);
}

TEST_F(TrustStoreTest, ADirectoryBecomesOneFile) {
  const std::string begin = "-----BEGIN CERTIFICATE-----\n";
  file("a.pem", begin + "a");
  file("b.crt", begin + "b");
  file("notes.txt", "no certificate");
  std::filesystem::create_symlink(directory_ / "a.pem", directory_ / "12345678.0");
  ::setenv("SSL_CERT_DIR", directory_.c_str(), 1);
  std::ifstream merged(find_trust_store("", {}).value());
  const std::string text((std::istreambuf_iterator<char>(merged)), {});
  EXPECT_EQ(text, begin + "a\n" + begin + "b\n");
}

TEST_F(TrustStoreTest, WhatWasChosenAndIsMissingFailsClosedAndIsNamed) {
  const auto missing = find_trust_store("/no/such/file", {file("c.pem", "z")});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), base::Code::kUnavailable);
  EXPECT_EQ(std::get<std::string>(*missing.error().detail("tried")), "/no/such/file");
}

std::atomic<int> asked{0};

base::Result<Addresses> counted(const std::string& host) {
  ++asked;
  return Addresses{host == "one.test" ? "127.0.0.1" : "127.0.0.2"};
}

TEST(NameCacheTest, AResultLivesForAMinuteOnTheInjectedClock) {
  asked = 0;
  std::atomic<int> brought{0};
  NameCache names(&counted, [&](const std::string&, const Resolver::Answer&) { ++brought; });
  const auto look_up = [&](RequestId id, base::Instant now) {
    const int before = brought;
    if (names.find("one.test", id, now) != nullptr) return false;
    while (brought == before) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(names.settle("one.test", Addresses{"127.0.0.1"}, now), std::vector<RequestId>{id});
    return true;
  };
  const base::Instant begin{1'000'000'000};
  EXPECT_TRUE(look_up(1, begin));
  EXPECT_FALSE(look_up(2, begin + std::chrono::milliseconds(59'999)));
  EXPECT_EQ(asked, 1);
  const std::uint64_t old = names.generation();
  EXPECT_TRUE(look_up(3, begin + std::chrono::seconds(60)));
  EXPECT_EQ(asked, 2);
  EXPECT_GT(names.generation(), old);
}

std::atomic<int> at_once{0};
std::atomic<int> most_at_once{0};

base::Result<Addresses> slow(const std::string&) {
  const int now = ++at_once;
  for (int seen = most_at_once; seen < now && !most_at_once.compare_exchange_weak(seen, now);) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  --at_once;
  return Addresses{"127.0.0.1"};
}

std::size_t threads_of_this_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST(ResolverTest, FourThreadsLookUpHoweverManyNames) {
  constexpr int kNames = 100;
  const std::size_t threads = threads_of_this_process();
  std::atomic<int> told{0};
  std::size_t most = 0;
  Resolver resolver(&slow);
  for (int at = 0; at < kNames; ++at) {
    resolver.look_up("host-" + std::to_string(at), [&](const Resolver::Answer&) { ++told; });
  }
  while (told < kNames) {
    most = std::max(most, threads_of_this_process());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(most_at_once, 4);
  EXPECT_LE(most, threads + 4);
}

TEST(HeadCheck, ReadsAHeadAndDropsTrailers) {
  HeadCheck head;
  head.reset(1000);
  for (const char* line : {"HTTP/1.1 100 Continue\r\n", "\r\n", "HTTP/1.1 200 OK\r\n", "A:  b \r\n",
                           "Transfer-Encoding: Chunked\r\n", "\r\n", "Trailer: x\r\n"}) {
    ASSERT_TRUE(head.take(line).ok()) << line;
  }
  EXPECT_TRUE(head.complete());
  EXPECT_EQ(head.status(), 200);
  EXPECT_EQ(head.headers().all(), (Headers{{"A", "b"}, {"Transfer-Encoding", "Chunked"}}));
}

TEST(HeadCheck, TheCapCountsAllLines) {
  HeadCheck head;
  head.reset(41);
  ASSERT_TRUE(head.take("HTTP/1.1 200 OK\r\n").ok());
  const base::Status status = head.take("A: 2345678901234567890\r\n");
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_FALSE(head.take("\r\n").ok());
}

}  // namespace
}  // namespace dure::net
