// What verify says of ledgers, beside what account_test shows of damage.
#include "dure/money/ledger.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "dure/money/account.h"
#include "fake_clock.h"
#include "fake_files.h"
#include "money/ledger_index.h"

namespace dure::money {
namespace {

using namespace std::chrono_literals;

class LedgerTest : public ::testing::Test {
 protected:
  std::shared_ptr<Account> open() {
    return Account::open("/data", {Durability::kProcess, &clock_, &files_}).value();
  }
  static Admission reserve(Account& account) {
    const std::vector<std::string> scopes{"org:acme"};
    ReserveRequest request;
    request.scopes = scopes;
    request.bound.input_pico = 100;
    request.bound.input_tokens = 10;
    request.bound.output_rate = 10;
    request.bound.max_output_tokens = 40;
    request.bound.pico = 500;
    request.bound.tokens = 50;
    return account.reserve(request).value();
  }
  LedgerReport report(const std::string& path = "/data") {
    return verify_ledger(files_, path).value();
  }

  testing::FakeClock clock_;
  testing::FakeFiles files_;
};

TEST_F(LedgerTest, EveryUnitIsComparedWithItsPostings) {
  const auto account = open();
  for (const BudgetUnit unit : {BudgetUnit::kPico, BudgetUnit::kTokens, BudgetUnit::kRequests}) {
    BudgetSpec spec;
    spec.scope = "org:acme";
    spec.unit = unit;
    spec.limit = 1'000'000;
    ASSERT_TRUE(account->set_budget(spec).ok());
  }
  const Admission held = reserve(*account);
  EXPECT_TRUE(report().ok) << report().first_difference;
  ASSERT_TRUE(account->sent(held.id).ok());
  Cost cost;
  cost.pico = 220;
  ASSERT_TRUE(account->settle(held.id, count_units({.input = 10, .output = 12}), cost).ok());
  EXPECT_TRUE(report().ok) << report().first_difference;
  EXPECT_EQ(static_cast<std::int64_t>(account->totals().tokens), 22);
  EXPECT_EQ(static_cast<std::int64_t>(report().spent), 220);
  std::vector<std::int64_t> used;
  const std::vector<BudgetState> states = account->budgets("org:acme").value();
  for (const BudgetState& state : states) used.push_back(static_cast<std::int64_t>(state.used));
  EXPECT_EQ(used, (std::vector<std::int64_t>{220, 22, 1}));
}

// A file by itself may end holds that another file made; it cannot be told whether they were there.
TEST_F(LedgerTest, OneFileIsReadByItself) {
  auto doomed = open();
  const Admission held = reserve(*doomed);
  ASSERT_TRUE(doomed->sent(held.id).ok());
  files_.kill();
  doomed.reset();
  clock_.advance(48h);
  {
    const auto next = open();  // settles what the dead one held, in a file of its own
    (void)reserve(*next);
    const auto paths = ledger_files(files_, "/data").value();
    ASSERT_EQ(paths.size(), 2U);
    EXPECT_TRUE(report(paths[1]).ok) << report(paths[1]).first_difference;
    EXPECT_TRUE(report().ok) << report().first_difference;
  }
}

TEST(Difference, SaysWhatIsMissing) {
  EXPECT_EQ(difference({3, 100}, {4, 120}, true),
            "was cut: record 4 (20 bytes) is missing at its end");
  EXPECT_EQ(difference({3, 100}, {6, 180}, false),
            "was cut: records 4 to 6 (80 bytes) are missing at its end");
  EXPECT_EQ(difference({3, 100}, {4, 100}, true),
            "was cut: record 4 (0 bytes) is missing at its end");
  EXPECT_EQ(difference({3, 100}, {3, 100}, true), "");
  EXPECT_EQ(difference({3, 100}, {3, 90}, true), "ends at byte 100, but was written to byte 90");
  EXPECT_EQ(difference({4, 120}, {3, 100}, true), "goes on behind record 3, where it ended");
  EXPECT_EQ(difference({4, 120}, {3, 100}, false), "") << "it is being written";
}

}  // namespace
}  // namespace dure::money
