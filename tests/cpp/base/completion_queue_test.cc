#include "dure/base/completion_queue.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace dure::base {
namespace {

std::unique_ptr<Completion> numbered(std::uint64_t ticket) {
  auto done = std::make_unique<Completion>();
  done->ticket = ticket;
  return done;
}

bool readable(const CompletionQueue& queue) {
  pollfd watched{.fd = queue.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 0) == 1;
}

TEST(CompletionQueue, KeepsOrderAndWakesOnlyWhenSomethingIsThere) {
  const auto queue = CompletionQueue::create().value();
  EXPECT_FALSE(readable(*queue));
  for (std::uint64_t ticket = 1; ticket <= 3; ++ticket) EXPECT_TRUE(queue->push(numbered(ticket)));
  EXPECT_TRUE(readable(*queue));
  CompletionList batch = queue->drain();
  EXPECT_TRUE(readable(*queue)) << "the reader has not found it empty yet";
  EXPECT_TRUE(queue->drain().empty());
  EXPECT_FALSE(readable(*queue));
  for (std::uint64_t ticket = 1; ticket <= 3; ++ticket) EXPECT_EQ(batch.pop()->ticket, ticket);
  EXPECT_EQ(batch.pop(), nullptr);
}

TEST(CompletionQueue, ABatchIsCappedAndTheDescriptorStaysReadable) {
  const auto queue = CompletionQueue::create().value();
  const std::size_t all = 2 * CompletionQueue::kBatch + 7;
  for (std::size_t at = 0; at < all; ++at) queue->push(numbered(at));
  EXPECT_EQ(queue->drain().size(), CompletionQueue::kBatch);
  EXPECT_TRUE(readable(*queue));
  EXPECT_EQ(queue->drain().size(), CompletionQueue::kBatch);
  EXPECT_TRUE(readable(*queue));
  EXPECT_EQ(queue->drain().size(), 7U);
  EXPECT_TRUE(queue->drain().empty());
  EXPECT_FALSE(readable(*queue));
}

std::uint64_t signals(const CompletionQueue& queue) {
  std::uint64_t count = 0;
  return ::read(queue.fd(), &count, sizeof count) == sizeof count ? count : 0;
}

TEST(CompletionQueue, AReaderAtWorkIsNotWokenAgain) {
  const auto queue = CompletionQueue::create().value();
  queue->push(numbered(1));
  EXPECT_EQ(queue->drain().size(), 1U);
  for (std::uint64_t ticket = 2; ticket < 10; ++ticket) {
    queue->push(numbered(ticket));
    EXPECT_EQ(queue->drain().size(), 1U);
  }
  EXPECT_EQ(signals(*queue), 1U);
}

TEST(CompletionQueue, AClosedQueueDropsAndCounts) {
  const auto queue = CompletionQueue::create().value();
  queue->push(numbered(1));
  queue->close();
  EXPECT_FALSE(queue->push(numbered(2)));
  EXPECT_EQ(queue->dropped(), 2U);
  EXPECT_TRUE(queue->drain().empty());
  EXPECT_EQ(queue->fd(), -1);
}

TEST(WakeScope, PutsTheWakeUpOffToTheEndOfTheTurn) {
  const auto queue = CompletionQueue::create().value();
  const auto other = CompletionQueue::create().value();
  {
    const WakeScope turn;
    queue->push(numbered(1));
    queue->push(numbered(2));
    EXPECT_FALSE(readable(*queue));
    std::thread([&] { other->push(numbered(3)); }).join();
    EXPECT_TRUE(readable(*other)) << "another thread is in no turn";
  }
  EXPECT_TRUE(readable(*queue));
  EXPECT_EQ(queue->drain().size(), 2U);
  EXPECT_TRUE(queue->drain().empty());
  queue->push(numbered(4));
  EXPECT_TRUE(readable(*queue)) << "no turn: at once";
}

TEST(WakeScope, ALongTurnWakesAllTheSame) {
  const auto queue = CompletionQueue::create().value();
  const WakeScope turn;
  for (std::size_t at = 1; at < WakeScope::kMost; ++at) queue->push(numbered(at));
  EXPECT_FALSE(readable(*queue));
  queue->push(numbered(WakeScope::kMost));
  EXPECT_TRUE(readable(*queue));
}

TEST(WakeScope, WakesNobodyWhoHasTakenAllOrClosed) {
  const auto taken = CompletionQueue::create().value();
  const auto closed = CompletionQueue::create().value();
  auto gone = CompletionQueue::create().value();
  {
    const WakeScope turn;
    for (const auto& queue : {taken, closed, gone}) queue->push(numbered(1));
    EXPECT_EQ(taken->drain().size(), 1U);
    closed->close();
    gone.reset();  // the turn keeps it until its end
  }
  EXPECT_FALSE(readable(*taken));
}

TEST(CompletionQueue, LosesNoWakeUpAmongThreads) {
  const auto queue = CompletionQueue::create().value();
  constexpr std::uint64_t kEach = 20'000;
  std::vector<std::thread> producers;
  for (int producer = 0; producer < 4; ++producer) {
    producers.emplace_back([&, in_turns = producer % 2 == 1] {
      for (std::uint64_t at = 0; at < kEach;) {
        const std::uint64_t end = std::min(kEach, at + at % 7 + 1);
        const auto turn = in_turns ? std::make_unique<WakeScope>() : nullptr;
        for (; at < end; ++at) queue->push(numbered(at));
      }
    });
  }
  std::uint64_t got = 0;
  while (got < 4 * kEach) {
    pollfd watched{.fd = queue->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&watched, 1, 5000), 1) << "a wake-up was lost after " << got;
    got += queue->drain().size();
  }
  for (auto& producer : producers) producer.join();
  EXPECT_EQ(got, 4 * kEach);
}

TEST(CompletionSlot, GivesTheFirstCompletionOnly) {
  CompletionSlot slot;
  EXPECT_EQ(slot.wait_for(std::chrono::milliseconds(1)), nullptr);
  std::thread producer([&] { slot.push(numbered(1)); });
  std::unique_ptr<Completion> done;
  while (done == nullptr) done = slot.wait_for(std::chrono::milliseconds(50));
  producer.join();
  EXPECT_EQ(done->ticket, 1U);
  EXPECT_FALSE(slot.push(numbered(2)));
}

TEST(CompletionList, ALongOneIsDestroyedWithoutRecursion) {
  CompletionList list;
  for (int at = 0; at < 1'000'000; ++at) list.append(std::make_unique<Completion>());
  list.clear();
  EXPECT_TRUE(list.empty());
}

}  // namespace
}  // namespace dure::base
