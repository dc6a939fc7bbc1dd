// What is engine A's alone: how requests are spread over libcurl's handles.
#include "net/curl_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "stub_server.h"

namespace dure::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Counting final : public Handler {
 public:
  void on_head(int, HeaderView) noexcept override {}
  Flow on_body(std::span<const std::byte>) noexcept override { return Flow::kGo; }
  void on_end(base::Status status, const Timing& timing) noexcept override {
    ok = status.ok();
    reused = timing.reused_connection;
    done = true;
  }
  bool wait() const {
    for (int at = 0; at < 2000 && !done; ++at) std::this_thread::sleep_for(milliseconds(5));
    return done;
  }
  std::atomic<bool> done{false};
  std::atomic<bool> ok{false};
  std::atomic<bool> reused{false};
};

class CurlEngineTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(IoThread::start(engine_).ok()); }
  void TearDown() override { EXPECT_TRUE(engine_->stop(seconds(5))); }

  std::shared_ptr<Counting> send(const std::string& url) {
    auto handler = std::make_shared<Counting>();
    Submission submission{++last_, {.url = url}, handler, base::system_clock().now()};
    EXPECT_TRUE(engine_->submit(submission));
    return handler;
  }
  // Of each shard, once `all` requests are under way.
  std::vector<std::size_t> loads_with(std::size_t all) {
    std::vector<std::size_t> loads;
    for (int at = 0; at < 2000; ++at) {
      std::promise<std::vector<std::size_t>> told;
      engine_->post([&] { told.set_value(engine_->loads()); });
      loads = told.get_future().get();
      if (std::accumulate(loads.begin(), loads.end(), std::size_t{0}) == all) break;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return loads;
  }

  std::shared_ptr<CurlEngine> engine_ =
      std::make_shared<CurlEngine>(TransportOptions{}, base::system_clock());
  RequestId last_ = 0;
};

// Answers "/now" at once and everything else when it is let go.
class Gate {
 public:
  StubServer::Script script() {
    return [this](Connection& connection, const std::string& request) {
      const bool now = request.find("/now") != std::string::npos;
      while (!now && !open_) std::this_thread::sleep_for(milliseconds(2));
      connection.send(sized_reply("ok"));
      return true;
    };
  }
  void open() { open_ = true; }

 private:
  std::atomic<bool> open_{false};
};

TEST_F(CurlEngineTest, ABurstIsSpreadOverShards) {
  constexpr std::size_t kAll = 65;  // one more than a shard may ever look after
  Gate gate;
  const StubServer server(gate.script());
  std::vector<std::shared_ptr<Counting>> burst;
  for (std::size_t at = 0; at < kAll; ++at) burst.push_back(send(server.url("/wait")));
  const std::vector<std::size_t> loads = loads_with(kAll);
  EXPECT_EQ(std::accumulate(loads.begin(), loads.end(), std::size_t{0}), kAll);
  EXPECT_LE(*std::ranges::max_element(loads), 16U);
  gate.open();
  for (const auto& one : burst) EXPECT_TRUE(one->wait() && one->ok);
}

TEST_F(CurlEngineTest, AWarmConnectionIsFoundInWhicheverShardItWaits) {
  Gate gate;
  const StubServer slow(gate.script());
  const StubServer other(gate.script());
  std::vector<std::shared_ptr<Counting>> first_shard;
  for (int at = 0; at < 16; ++at) first_shard.push_back(send(slow.url("/wait")));
  EXPECT_EQ(loads_with(16), std::vector<std::size_t>{16});
  const auto cold = send(other.url("/now"));
  ASSERT_TRUE(cold->wait() && cold->ok);
  EXPECT_FALSE(cold->reused);
  gate.open();
  for (const auto& one : first_shard) ASSERT_TRUE(one->wait() && one->ok);
  ASSERT_EQ(loads_with(0), (std::vector<std::size_t>{0, 0}));
  const auto warm = send(other.url("/now"));
  ASSERT_TRUE(warm->wait() && warm->ok);
  EXPECT_TRUE(warm->reused);
  EXPECT_EQ(other.connections(), 1);
}

}  // namespace
}  // namespace dure::net
