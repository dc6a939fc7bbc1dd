// Breaker, adaptive limit, fair queue, balancer, cache, single flight, hedging, shared rates.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "dure/base/files.h"
#include "dure/flow/adaptive_limit.h"
#include "dure/flow/balancer.h"
#include "dure/flow/breaker.h"
#include "dure/flow/cache.h"
#include "dure/flow/fair_queue.h"
#include "dure/flow/hedge.h"
#include "dure/flow/shared_rates.h"
#include "dure/flow/single_flight.h"
#include "fake_clock.h"
#include "fake_random.h"

namespace dure::flow {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using Result = Breaker::Result;

void fail(Breaker& breaker, int times) {
  for (int i = 0; i < times; ++i) breaker.tell(breaker.ask(), Result::kFailed);
}

TEST(Breaker, OpensAtHalfOfTwentyWithinTenSeconds) {
  testing::FakeClock clock;
  testing::FakeRandom random(1);
  Breaker breaker(clock, random);
  fail(breaker, 10);
  for (int i = 0; i < 9; ++i) breaker.tell(breaker.ask(), Result::kWorked);
  EXPECT_EQ(breaker.state(), Breaker::State::kClosed) << "nineteen results judge nothing";
  fail(breaker, 1);
  EXPECT_EQ(breaker.state(), Breaker::State::kOpen);
  const auto refused = breaker.ask();
  EXPECT_FALSE(refused.go);
  EXPECT_GE(refused.wait, 5s);
  EXPECT_LE(refused.wait, 7500ms);
}

TEST(Breaker, ForgetsWhatIsOlderThanItsWindow) {
  testing::FakeClock clock;
  testing::FakeRandom random(1);
  Breaker breaker(clock, random);
  fail(breaker, 19);
  clock.advance(11s);
  fail(breaker, 19);
  EXPECT_EQ(breaker.state(), Breaker::State::kClosed);
  fail(breaker, 1);
  EXPECT_EQ(breaker.state(), Breaker::State::kOpen);
}

TEST(Breaker, HalfOpenLetsOneProbeOfAThousandThrough) {
  testing::FakeClock clock;
  testing::FakeRandom random(1);
  Breaker breaker(clock, random);
  fail(breaker, 20);
  clock.advance(8s);
  int passed = 0;
  Breaker::Pass probe;
  for (int i = 0; i < 1000; ++i) {
    const auto pass = breaker.ask();
    if (pass.go) {
      ++passed;
      probe = pass;
    }
  }
  EXPECT_EQ(passed, 1);
  breaker.tell(probe, Result::kUnknown);  // the probe was cancelled: the next one is it
  probe = breaker.ask();
  EXPECT_TRUE(probe.probe);
  breaker.tell(probe, Result::kFailed);
  EXPECT_GE(breaker.ask().wait, 10s) << "each probe that fails doubles the time";
  clock.advance(16s);
  probe = breaker.ask();
  ASSERT_TRUE(probe.go);
  breaker.tell(probe, Result::kWorked);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(breaker.ask().go);
}

TEST(Breaker, OneProbeAmongThreads) {
  testing::FakeClock clock;
  testing::FakeRandom random(1);
  Breaker breaker(clock, random);
  fail(breaker, 20);
  clock.advance(8s);
  std::atomic<int> passed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 125; ++n) passed += breaker.ask().go ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(passed.load(), 1);
}

TEST(AdaptiveLimit, GrowsWhileUsedAndShrinksOnceForABurst) {
  testing::FakeClock clock;
  AdaptiveLimit limit({.start = 10, .least = 2, .most = 12});
  limit.on_success(4);
  EXPECT_EQ(limit.limit(), 10) << "less than half was used";
  for (int i = 0; i < 5; ++i) limit.on_success(8);
  EXPECT_EQ(limit.limit(), 12);
  limit.on_use(10);
  const base::Instant began = clock.now();
  clock.advance(1s);
  for (int i = 0; i < 12; ++i) limit.on_overload(1, began, clock.now());
  EXPECT_EQ(limit.limit(), 9)
      << "a tenth of the ten that were in use, once for all that began before";
  const base::Instant later = clock.now() + 1ms;
  clock.advance(1s);
  limit.on_overload(1, later, clock.now());
  EXPECT_EQ(limit.limit(), 2);
}

// One slot; what is woken says its name.
struct Line {
  testing::FakeClock clock;
  FairQueue queue{clock, {.limit = {.start = 1, .least = 1, .most = 1}}};
  std::vector<std::string> woken;
  FairQueue::Entry enter(const char* name, FairQueue::Ask ask) {
    return queue.enter(ask, [this, name] { woken.emplace_back(name); });
  }
  void drain(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) queue.release(clock.now(), FairQueue::End::kOther);
  }
};

TEST(FairQueue, PartiesShareByCost) {
  Line line;
  EXPECT_EQ(line.enter("first", {.party = "x"}).answer, FairQueue::Answer::kGo);
  for (int i = 0; i < 4; ++i) (void)line.enter("big", {.party = "big", .cost = 1000});
  for (int i = 0; i < 4; ++i) (void)line.enter("small", {.party = "small", .cost = 100});
  line.drain(5);
  EXPECT_EQ(line.woken, (std::vector<std::string>{"big", "small", "small", "small", "small"}))
      << "who asks for much waits behind his own first one";
  EXPECT_EQ(line.queue.waiting(), 3U);
}

TEST(FairQueue, InteractiveGoesFirstAndAgeingEndsStarvation) {
  Line line;
  (void)line.enter("running", {.party = "x"});
  (void)line.enter("batch", {.party = "b", .priority = 1});
  (void)line.enter("chat", {.party = "c"});
  line.drain(1);
  EXPECT_EQ(line.woken.back(), "chat");
  line.clock.advance(11s);
  (void)line.enter("late chat", {.party = "c", .cost = 5});
  line.drain(1);
  EXPECT_EQ(line.woken.back(), "batch") << "it waited for more than ten seconds";
}

TEST(FairQueue, LeavesAndIsFull) {
  Line line;
  (void)line.enter("running", {.party = "x"});
  const auto waits = line.enter("waits", {.party = "x"});
  EXPECT_EQ(waits.answer, FairQueue::Answer::kWaits);
  EXPECT_TRUE(line.queue.leave(waits.ticket));
  EXPECT_FALSE(line.queue.leave(waits.ticket));
  line.drain(1);
  EXPECT_TRUE(line.woken.empty());
  EXPECT_EQ(line.queue.in_use(), 0);

  testing::FakeClock clock;
  FairQueue small(clock, {.most_waiting = 1, .limit = {.start = 1, .least = 1, .most = 1}});
  const base::Instant began = clock.now();
  (void)small.enter({.party = "a"}, [] {});
  clock.advance(2s);
  small.release(began, FairQueue::End::kOk);
  (void)small.enter({.party = "a"}, [] {});
  EXPECT_EQ(small.enter({.party = "a", .patience = 1s}, [] {}).answer, FairQueue::Answer::kFull)
      << "two seconds a slot: one second is not enough";
  EXPECT_EQ(small.enter({.party = "a"}, [] {}).answer, FairQueue::Answer::kWaits);
  const auto full = small.enter({.party = "a"}, [] {});
  EXPECT_EQ(full.answer, FairQueue::Answer::kFull);
  EXPECT_EQ(full.wait, 4s);
}

TEST(FairQueue, NothingIsLostAmongThreads) {
  testing::FakeClock clock;
  FairQueue queue(clock, {.limit = {.start = 3, .least = 3, .most = 3}});
  std::atomic<int> done{0};
  std::atomic<int> inside{0};
  std::function<void()> work = [&] {
    EXPECT_LE(++inside, 3);
    --inside;
    ++done;
    queue.release(clock.now(), FairQueue::End::kOk);
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string party(1, static_cast<char>('a' + t));
      for (int i = 0; i < 500; ++i) {
        if (queue.enter({.party = party, .priority = i % 2U}, work).answer ==
            FairQueue::Answer::kGo) {
          work();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(done.load(), 2000);
  EXPECT_EQ(queue.in_use(), 0);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST(Balancer, PrefersTheFasterAndForgets) {
  testing::FakeClock clock;
  testing::FakeRandom random(5);
  Balancer balancer({1, 1}, clock, random);
  const std::vector<std::size_t> both{0, 1};
  for (const std::size_t peer : both) balancer.begin(peer);
  balancer.end(0, 900ms);
  balancer.end(1, 100ms);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(balancer.choose(both), 1U);
  for (int i = 0; i < 10; ++i) balancer.begin(1);
  EXPECT_EQ(balancer.choose(both), 0U) << "ten in flight at 100 ms are more than one at 900";
  for (int i = 0; i < 10; ++i) balancer.end(1, 100ms);
  clock.advance(5min);
  EXPECT_LT(balancer.score(0), 1.0) << "a peak is forgotten";
  EXPECT_EQ(balancer.choose(std::vector<std::size_t>{0}), 0U);
  EXPECT_FALSE(balancer.choose({}));
}

TEST(Balancer, SpreadsByWeight) {
  testing::FakeClock clock;
  testing::FakeRandom random(5);
  Balancer balancer({3, 1, 1}, clock, random);
  const std::vector<std::size_t> all{0, 1, 2};
  std::array<int, 3> taken{};
  for (int i = 0; i < 3000; ++i) {
    const std::size_t peer = *balancer.choose(all);
    balancer.begin(peer);  // never ends: what is in flight decides
    ++taken.at(peer);
  }
  EXPECT_NEAR(taken[0], 1800, 60);
  EXPECT_NEAR(taken[1], 600, 60);
}

CacheKey key_of(std::string_view text) { return base::sha256(text); }
CacheValue value_of(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

TEST(MemoryCache, KeepsWhatIsUsedWithinItsBytes) {
  const base::WallTime now{1000};
  const base::WallTime later{2000};
  MemoryCache cache(1000);
  for (const char* name : {"a", "b", "c"})
    cache.put(key_of(name), value_of(std::string(100, *name)), later);
  EXPECT_EQ(cache.size(), 3U);
  EXPECT_NE(cache.get(key_of("a"), now), nullptr);
  cache.put(key_of("d"), value_of(std::string(100, 'd')), later);
  EXPECT_EQ(cache.get(key_of("b"), now), nullptr) << "used longest ago";
  EXPECT_EQ(*cache.get(key_of("a"), now), std::string(100, 'a'));
  EXPECT_LE(cache.bytes(), 1000U);
  cache.put(key_of("e"), value_of(std::string(2000, 'e')), later);
  EXPECT_EQ(cache.get(key_of("e"), now), nullptr) << "larger than the room";
  EXPECT_EQ(cache.get(key_of("a"), later), nullptr) << "expired";
  cache.clear();
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(SingleFlight, TakesInUntilItLands) {
  SingleFlight<int, std::string> flights;
  const auto make = [] { return std::make_shared<std::string>("work"); };
  const auto [first, leads] = flights.join(1, make);
  EXPECT_TRUE(leads);
  EXPECT_FALSE(flights.join(1, make).second);
  EXPECT_TRUE(flights.join(2, make).second);
  flights.land(1, first.get());
  flights.land(1, first.get());
  const auto [again, leads_again] = flights.join(1, make);
  EXPECT_TRUE(leads_again);
  flights.land(1, first.get());
  EXPECT_EQ(flights.size(), 2U) << "an older flight lands nobody else's";
}

TEST(Hedging, WaitsForThe95thPercentileWithinItsBudget) {
  Hedging hedging;
  EXPECT_FALSE(hedging.after());
  for (int i = 1; i <= 100; ++i) hedging.on_first(i * 1ms);
  EXPECT_EQ(hedging.after(), 96ms);
  EXPECT_FALSE(hedging.take()) << "no call has paid for it";
  int copies = 0;
  for (int i = 0; i < 1000; ++i) {
    hedging.on_call();
    copies += hedging.take() ? 1 : 0;
  }
  EXPECT_NEAR(copies, 50, 1);
}

class SharedRatesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "dure_rates_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::unique_ptr<SharedRates> open() {
    return SharedRates::open(base::system_files(), folder_ + "/rates", clock_).value();
  }
  testing::FakeClock clock_;
  std::string folder_;
};

TEST_F(SharedRatesTest, TakesAllOrNothingAndSaysTheExactWait) {
  const auto rates = open();
  EXPECT_FALSE(rates->any());
  ASSERT_TRUE(rates->set("rpm", {.per_minute = 60, .burst = 2}).ok());
  ASSERT_TRUE(rates->set("tpm", {.per_minute = 6000, .burst = 1000}).ok());
  const std::vector<SharedRates::Ask> call{{"rpm", 1}, {"tpm", 600}, {"no rate", 1e9}};
  EXPECT_EQ(rates->take(call).wait, 0s);
  const auto refused = rates->take(call);
  EXPECT_EQ(refused.over, "tpm");
  EXPECT_EQ(refused.wait, 2s) << "200 too many at 100 a second";
  EXPECT_DOUBLE_EQ(rates->left("rpm"), 1) << "the refused call took none";
  clock_.advance(2s - 1ns);
  EXPECT_EQ(rates->take(call).wait, 1ns);
  clock_.advance(1ns);
  EXPECT_EQ(rates->take(call).wait, 0s);
  rates->give_back("tpm", 500);
  EXPECT_DOUBLE_EQ(rates->left("tpm"), 500);
}

TEST_F(SharedRatesTest, LargerThanTheBurstNeverFits) {
  const auto rates = open();
  ASSERT_TRUE(rates->set("tpm", {.per_minute = 6000}).ok());
  const std::vector<SharedRates::Ask> all{{"tpm", 6000}};
  EXPECT_EQ(rates->take(all).wait, 0s);
  const std::vector<SharedRates::Ask> more{{"tpm", 6001}};
  EXPECT_TRUE(rates->take(more).never);
  EXPECT_FALSE(rates->set("x", {.per_minute = -1}).ok());
  EXPECT_FALSE(rates->set("x", {.per_minute = 60, .burst = 0.5}).ok());
  EXPECT_DOUBLE_EQ(rates->read("tpm").per_minute, 6000);
}

TEST_F(SharedRatesTest, TwoMappingsAreOneLimit) {
  const auto one = open();
  const auto two = open();
  ASSERT_TRUE(one->set("rpm", {.per_minute = 60, .burst = 1000}).ok());
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (SharedRates* rates : {one.get(), two.get(), one.get(), two.get()}) {
    threads.emplace_back([&taken, rates] {
      const std::vector<SharedRates::Ask> call{{"rpm", 1}};
      for (int i = 0; i < 500; ++i) taken += rates->take(call).wait.count() == 0 ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), 1000);
}

}  // namespace
}  // namespace dure::flow
