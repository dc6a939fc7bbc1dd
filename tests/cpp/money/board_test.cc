// Slots and places of the board by themselves; account_test shows what they are for.
#include "money/board.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "fake_files.h"

namespace dure::money {
namespace {

class BoardTest : public ::testing::Test {
 protected:
  std::unique_ptr<Board> open() {
    EXPECT_TRUE(files_.create_folder("/ledger").ok());
    return Board::open(files_, "/ledger").value();
  }
  std::vector<Board::Reading> slots() {
    return Board::read(files_.read("/ledger/board").value(), files_.boot()).value();
  }

  testing::FakeFiles files_;
};

TEST_F(BoardTest, ASlotIsFreshWhoeverHadItBefore) {
  const auto board = open();
  ASSERT_TRUE(board->enter().ok());
  Board::Slot* slot = board->claim(1, {1, 64});
  slot->synced.store(Board::pack({7, 640}));
  slot->writing.store(Board::kYes);
  slot->sealed.store(Board::kYes);
  ASSERT_EQ(slots().size(), 1U);
  EXPECT_TRUE(slots()[0].sealed);
  EXPECT_TRUE(slots()[0].writing);
  Board::release(*slot);
  EXPECT_TRUE(slots().empty());
  ASSERT_EQ(board->claim(2, {0, 48}), slot);
  ASSERT_EQ(slots().size(), 1U);
  EXPECT_EQ(slots()[0].epoch, 2U);
  EXPECT_EQ(slots()[0].end, (FileEnd{0, 48}));
  EXPECT_FALSE(slots()[0].sealed);
  EXPECT_FALSE(slots()[0].writing);
  EXPECT_EQ(slot->synced.load(), 0U);
}

TEST_F(BoardTest, AllSlotsAreTakenAtLast) {
  const auto board = open();
  for (std::uint64_t epoch = 1; epoch <= Board::kSlots; ++epoch) {
    ASSERT_NE(board->claim(epoch, {0, 48}), nullptr) << epoch;
  }
  EXPECT_EQ(board->claim(Board::kSlots + 1, {0, 48}), nullptr);
  EXPECT_EQ(board->begun(), Board::checked(Board::kSlots));
  ASSERT_NE(board->find(Board::kSlots), nullptr);
  EXPECT_EQ(board->find(Board::kSlots + 1), nullptr);
  EXPECT_EQ(slots().size(), Board::kSlots);
}

TEST_F(BoardTest, WhoDiedWaitingIsGoneWhenTheLastOneLeaves) {
  const auto board = open();
  ASSERT_TRUE(board->enter().ok());
  Board::Slot* slot = board->claim(1, {0, 48});
  const std::uint64_t ticket = board->wait(0, 3, (std::int64_t{1} << 50) + 5, 1'000);
  ASSERT_NE(ticket, 0U);
  const std::vector<Board::Waiter> waiting = board->waiters(1'000);
  ASSERT_EQ(waiting.size(), 1U);
  EXPECT_EQ(waiting[0].budget, 3U);
  EXPECT_EQ(waiting[0].amount, (std::int64_t{1} << 50) + 5);
  board->leave();
  EXPECT_EQ(board->waiters(1'000).size(), 1U) << "a file is live";
  Board::release(*slot);
  board->leave();
  EXPECT_TRUE(board->waiters(1'000).empty());
  EXPECT_FALSE(board->anybody_waits());
  const std::uint64_t next = board->wait(0, 3, 5, 1'001);
  EXPECT_GT(next, ticket);
  EXPECT_FALSE(board->waits_before(next, 3, 1'001));
}

TEST_F(BoardTest, APlaceLastsASecondAfterItsHolderAsked) {
  const auto board = open();
  const std::uint64_t first = board->wait(0, 3, 5, 1'000);
  const std::uint64_t second = board->wait(0, 3, 5, 1'500);
  EXPECT_TRUE(board->waits_before(second, 3, 2'000));
  EXPECT_FALSE(board->waits_before(second, 4, 2'000)) << "another budget";
  EXPECT_FALSE(board->waits_before(first, 3, 2'000));
  EXPECT_TRUE(board->waits_before(0, 3, 2'000)) << "who has no place comes last";
  EXPECT_EQ(board->waiters(2'001).size(), 1U);
  EXPECT_FALSE(board->waits_before(second, 3, 2'001));
  EXPECT_EQ(board->wait(first, 3, 5, 2'002), first) << "back in its place";
  EXPECT_TRUE(board->waits_before(second, 3, 2'003));
}

}  // namespace
}  // namespace dure::money
