#include <gtest/gtest.h>

#include <array>
#include <chrono>

#include "dure/flow/backoff.h"
#include "dure/flow/key_pool.h"
#include "dure/flow/rate_limiter.h"
#include "dure/flow/retry_budget.h"
#include "fake_clock.h"
#include "fake_random.h"

namespace dure::flow {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)

TEST(RateLimiter, RefusesWithTheExactWait) {
  testing::FakeClock clock;
  auto limiter = RateLimiter::create({.per_second = 2, .burst = 2}, clock).value();
  EXPECT_EQ(limiter->try_acquire("a", 2).value(), 0ms);
  EXPECT_EQ(limiter->try_acquire("a", 1).value(), 500ms);
  clock.advance(500ms);
  EXPECT_EQ(limiter->try_acquire("a", 1).value(), 0ms);  // the refusal took nothing
}

TEST(RateLimiter, KeysAreApartAndOversizeNeverFits) {
  testing::FakeClock clock;
  auto limiter = RateLimiter::create({.per_second = 1, .burst = 3}, clock).value();
  EXPECT_EQ(limiter->try_acquire("a", 3).value(), 0ms);
  EXPECT_EQ(limiter->try_acquire("b", 3).value(), 0ms);
  const auto refused = limiter->try_acquire("c", 3.5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().provider_code(), "request_exceeds_rate");
  EXPECT_FALSE(limiter->try_acquire("c", 0));
  EXPECT_FALSE(RateLimiter::create({.per_second = 0, .burst = 1}, clock));
  EXPECT_FALSE(RateLimiter::create({.per_second = 1, .burst = 0.5}, clock));
}

TEST(RateLimiter, GivesBackAndForgets) {
  testing::FakeClock clock;
  auto limiter = RateLimiter::create({.per_second = 1, .burst = 10}, clock).value();
  EXPECT_EQ(limiter->try_acquire("a", 10).value(), 0ms);
  limiter->give_back("a", 4);
  EXPECT_EQ(limiter->try_acquire("a", 4).value(), 0ms);
  EXPECT_EQ(limiter->try_acquire("a", 1).value(), 1s);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(limiter->try_acquire(std::to_string(i), 1).value(), 0ms);
  }
  clock.advance(60s);
  EXPECT_EQ(limiter->busy_keys(), 0U);
}

TEST(Backoff, FullJitterStaysInItsWindow) {
  testing::FakeRandom random(7);
  const Backoff backoff{.base = 500ms, .cap = 8s};
  base::Duration longest{0};
  for (const int failures : {0, 1, 2, 3, 4, 5, 63, 1'000'000'000}) {
    const base::Duration window =
        std::min<base::Duration>(8s, 500ms * (1LL << std::min(failures, 8)));
    for (int i = 0; i < 200; ++i) {
      const base::Duration wait = full_jitter(backoff, failures, random);
      EXPECT_GE(wait, 0ms);
      EXPECT_LT(wait, window);
      longest = std::max(longest, wait);
    }
  }
  EXPECT_GT(longest, 7s) << "the whole window is used";
}

TEST(Backoff, HintIsNeverShortened) {
  testing::FakeRandom random(7);
  for (int i = 0; i < 200; ++i) {
    const base::Duration wait = after_hint(10s, random);
    EXPECT_GE(wait, 10s);
    EXPECT_LE(wait, 11s);
  }
  EXPECT_EQ(after_hint(-5s, random), 0s);
  EXPECT_EQ(after_hint(0s, random), 0s);
}

TEST(RetryBudget, TotalOutageAllowsAHandfulOfRetries) {
  RetryBudget budget;
  int retries = 0;
  for (int call = 0; call < 1000; ++call) {
    while (budget.on_failure()) ++retries;
  }
  EXPECT_EQ(retries, 4) << "10 tokens, none at half or less";
}

TEST(RetryBudget, SuccessesFillItAgain) {
  RetryBudget budget;
  while (budget.on_failure()) {
  }
  for (int i = 0; i < 1000; ++i) budget.on_success();
  EXPECT_EQ(budget.left(), 10.0);
  EXPECT_TRUE(budget.on_failure());
}

TEST(KeyPool, TakesTurnsSleepsAndParks) {
  testing::FakeClock clock;
  KeyPool pool(3, clock);
  EXPECT_EQ(pool.take()->key, 0U);
  EXPECT_EQ(pool.take()->key, 1U);
  EXPECT_EQ(pool.take()->key, 2U);
  pool.sleep(0, 5s);
  EXPECT_EQ(pool.take()->key, 1U);
  pool.park(1);
  EXPECT_EQ(pool.take()->key, 2U);
  EXPECT_EQ(pool.take()->key, 2U) << "the only one awake";
  pool.park(2);
  EXPECT_EQ(pool.take()->key, 0U);
  EXPECT_EQ(pool.take()->wait, 5s);
  clock.advance(5s);
  EXPECT_EQ(pool.take()->wait, 0s);
  pool.park(0);
  EXPECT_FALSE(pool.take());
  EXPECT_EQ(pool.usable(), 0U);
}

TEST(KeyPool, KeysOfOneQuotaSleepTogether) {
  testing::FakeClock clock;
  KeyPool pool(clock);
  for (const char* quota : {"a", "a", "b", ""}) pool.add({.quota = quota});
  EXPECT_EQ(pool.take()->key, 0U);
  EXPECT_TRUE(pool.another_awake(0));
  pool.sleep(0, 30s);
  EXPECT_EQ(pool.state(1).asleep, 30s);
  EXPECT_EQ(pool.take()->key, 2U);
  EXPECT_EQ(pool.take()->key, 3U);
  pool.park(2);
  pool.retire(3);
  EXPECT_FALSE(pool.another_awake(0)) << "the other key of its quota sleeps too";
  EXPECT_EQ(pool.take()->wait, 30s);
  pool.revive(1);
  EXPECT_EQ(pool.take()->wait, 0s) << "who was added again is awake";
}

TEST(KeyPool, TurnsByWeightAndWhatIsLeft) {
  testing::FakeClock clock;
  KeyPool pool(clock);
  pool.add({.weight = 3});
  pool.add({.weight = 1});
  std::array<int, 2> taken{};
  for (int i = 0; i < 400; ++i) ++taken.at(pool.take()->key);
  EXPECT_EQ(taken[0], 300);
  pool.note_left(0, 0.2);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(pool.take()->key, 1U);
  EXPECT_EQ(pool.take({1})->key, 0U) << "but that one";
  clock.advance(1min);
  EXPECT_DOUBLE_EQ(pool.state(0).left, 1) << "what was said a minute ago is forgotten";
  const std::size_t late = pool.add();
  int turns = 0;
  for (int i = 0; i < 50; ++i) turns += pool.take()->key == late ? 1 : 0;
  EXPECT_NEAR(turns, 10, 1) << "no turns of the time before it came";
}

}  // namespace
}  // namespace dure::flow
