#include "dure/money/account.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "dure/money/ledger.h"
#include "dure/money/reservation.h"
#include "fake_clock.h"
#include "fake_files.h"
#include "money/ledger_codec.h"

namespace dure::money {
namespace {

using namespace std::chrono_literals;

// A bound of `output` output tokens at 10 pico-dollars, input 100 tokens for 100 pico-dollars.
Bound bound_of(std::int64_t output) {
  Bound bound;
  bound.input_pico = 100;
  bound.input_tokens = 100;
  bound.output_rate = 10;
  bound.max_output_tokens = output;
  bound.pico = 100 + output * 10;
  bound.tokens = 100 + output;
  return bound;
}

Usage used(std::int64_t input, std::int64_t output) {
  return count_units({.input = input, .output = output});
}

Cost cost_of(Pico pico) {
  Cost cost;
  cost.pico = pico;
  cost.price_version = "test";
  return cost;
}

BudgetSpec budget(std::string scope, std::int64_t limit, BudgetUnit unit = BudgetUnit::kPico,
                  OnLimit on_limit = OnLimit::kBlock) {
  BudgetSpec spec;
  spec.scope = std::move(scope);
  spec.limit = limit;
  spec.unit = unit;
  spec.on_limit = on_limit;
  return spec;
}

class AccountTest : public ::testing::Test {
 protected:
  std::shared_ptr<Account> open(Durability durability = Durability::kProcess) {
    auto account = Account::open("/data", {durability, &clock_, &files_});
    EXPECT_TRUE(account.has_value()) << account.error().message();
    return *account;
  }
  // For org:acme; what is asked again and again.
  static ReserveRequest request_of(std::int64_t output) {
    static const std::vector<std::string> scopes{"org:acme"};
    ReserveRequest request;
    request.scopes = scopes;
    request.bound = bound_of(output);
    return request;
  }
  base::Result<Admission> reserve(Account& account, std::int64_t output,
                                  std::vector<std::string> scopes = {"org:acme"}) {
    ReserveRequest request;
    request.scopes = scopes;
    request.bound = bound_of(output);
    request.call.model = "gpt-4o-mini";
    return account.reserve(request);
  }
  BudgetState state(Account& account, const std::string& scope = "org:acme") {
    return account.budgets(scope).value().at(0);
  }
  // Every record of the first ledger, in order.
  std::vector<Record> records() {
    std::vector<Record> found;
    const std::string path = ledger_files(files_, "/data").value().at(0);
    EXPECT_TRUE(read_ledger(files_, path, [&](const Record& record) {
                  found.push_back(record);
                  return true;
                }).has_value());
    return found;
  }
  void expect_sound() {
    const LedgerReport report = verify_ledger(files_, "/data").value();
    EXPECT_TRUE(report.ok) << report.first_difference;
  }

  // The counters are what a replay gives, whatever failed. REQUIRES: every call names org:acme.
  void expect_equal(Account& account) { expect_equal(account, files_, "now"); }
  static void expect_equal(Account& account, base::Files& files, const std::string& when) {
    const LedgerReport report = verify_ledger(files, "/data").value();
    const std::vector<BudgetState> states = account.budgets("org:acme").value();
    if (states.empty()) return;
    EXPECT_EQ(states[0].used, static_cast<std::int64_t>(report.spent)) << when;
    EXPECT_EQ(states[0].held, static_cast<std::int64_t>(report.held)) << when;
    EXPECT_EQ(account.totals().spent, report.spent) << when;
    EXPECT_EQ(account.totals().held, report.held) << when;
  }

  testing::FakeClock clock_;
  testing::FakeFiles files_;
};

TEST_F(AccountTest, HoldsThenSettlesTheTruth) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 10'000)).ok());
  const Admission held = reserve(*account, 400).value();
  EXPECT_EQ(state(*account).held, 4'100);
  EXPECT_EQ(state(*account).left, 5'900);
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(100, 50), cost_of(600)).ok());
  EXPECT_EQ(state(*account).held, 0);
  EXPECT_EQ(state(*account).used, 600);
  EXPECT_EQ(account->settlement(held.id).value().pico, 600);
  EXPECT_EQ(static_cast<std::int64_t>(account->totals().spent), 600);
  expect_sound();
}

TEST_F(AccountTest, TheRecordIsOnDiskBeforeReserveReturns) {
  auto account = open();
  const Admission held = reserve(*account, 1).value();
  bool found = false;
  const std::string path = ledger_files(files_, "/data").value().at(0);
  ASSERT_TRUE(read_ledger(files_, path, [&](const Record& record) {
                found = found || (record.type == RecordType::kReserve && record.id == held.id &&
                                  record.model == "gpt-4o-mini");
                return true;
              }).has_value());
  EXPECT_TRUE(found);
}

TEST_F(AccountTest, ARefusalTakesNothingAnywhere) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  ASSERT_TRUE(account->set_budget(budget("user:7", 5'000)).ok());
  ASSERT_TRUE(reserve(*account, 400, {"org:acme", "user:7"}).has_value());
  const auto refused = reserve(*account, 400, {"org:acme", "user:7"});
  ASSERT_FALSE(refused.has_value());
  const base::Status& error = refused.error();
  EXPECT_EQ(error.code(), base::Code::kBudgetExceeded);
  EXPECT_EQ(error.http_status(), 429);
  EXPECT_EQ(std::get<std::string>(*error.detail("scope")), "user:7");
  EXPECT_EQ(std::get<std::int64_t>(*error.detail("left_units")), 900);
  EXPECT_EQ(state(*account, "org:acme").held, 4'100);
  EXPECT_EQ(state(*account, "user:7").held, 4'100);
  EXPECT_EQ(account->totals().reserved, 1);
}

TEST_F(AccountTest, LargerThanTheWholeLimitIsAnotherError) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000)).ok());
  const auto refused = reserve(*account, 400);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().leaf(), "RequestExceedsLimitError");
  EXPECT_EQ(refused.error().provider_code(), "request_exceeds_limit");
  EXPECT_EQ(refused.error().http_status(), 400);
  EXPECT_EQ(refused.error().detail("resets_at_us"), nullptr);
}

TEST_F(AccountTest, TailPolicies) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:soft", 200, BudgetUnit::kPico, OnLimit::kWarn)).ok());
  const auto warned = reserve(*account, 100, {"org:soft"});
  ASSERT_TRUE(warned.has_value());
  ASSERT_EQ(warned->warnings.size(), 1U);
  EXPECT_EQ(warned->warnings[0].left, 200);

  ASSERT_TRUE(
      account->set_budget(budget("org:ask", 200, BudgetUnit::kPico, OnLimit::kApproval)).ok());
  const auto ask = reserve(*account, 100, {"org:ask"});
  ASSERT_FALSE(ask.has_value());
  EXPECT_EQ(ask.error().http_status(), 403);
  EXPECT_EQ(ask.error().provider_code(), "approval_required");
  ASSERT_NE(ask.error().detail("approval_id"), nullptr);
  const base::WallTime until{clock_.wall().us + 60'000'000};
  ASSERT_TRUE(account->grant("org:ask", BudgetUnit::kPico, 900, until).ok());
  EXPECT_TRUE(reserve(*account, 100, {"org:ask"}).has_value());
  EXPECT_EQ(account->grant("org:none", BudgetUnit::kPico, 1, until).code(), base::Code::kNotFound);
}

TEST_F(AccountTest, ShrinksTheAnswerToWhatIsLeft) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 1'000, BudgetUnit::kTokens, OnLimit::kShrink)).ok());
  ReserveRequest request;
  const std::vector<std::string> scopes{"org:acme"};
  request.scopes = scopes;
  request.bound = bound_of(4'000);
  request.bound.may_shrink = true;
  const Admission held = account->reserve(request).value();
  EXPECT_TRUE(held.shrunk);
  EXPECT_EQ(held.max_output_tokens, 900);
  EXPECT_EQ(state(*account).left, 0);
  EXPECT_FALSE(account->reserve(request).has_value());  // below 256 tokens the budget blocks
}

TEST_F(AccountTest, TooLittleLeftToShrinkToIsALimitReachedAndResets) {
  auto account = open();
  const std::int64_t now = clock_.wall().us;
  BudgetSpec spec = budget("org:acme", 1'000, BudgetUnit::kTokens, OnLimit::kShrink);
  spec.window = {"day", "UTC", {now, now + 3'600'000'000}, {}};
  ASSERT_TRUE(account->set_budget(spec).ok());
  ReserveRequest request;
  const std::vector<std::string> scopes{"org:acme"};
  request.scopes = scopes;
  request.bound = bound_of(4'000);
  ASSERT_TRUE(reserve(*account, 545).has_value());  // 355 are left: 100 of input, 255 of output
  request.bound.may_shrink = true;
  const auto refused = account->reserve(request);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().http_status(), 429) << refused.error().message();
  EXPECT_EQ(refused.error().provider_code(), "limit_exceeded");
  EXPECT_NE(refused.error().detail("resets_at_us"), nullptr);
  ASSERT_TRUE(
      account->set_budget(budget("user:7", 355, BudgetUnit::kTokens, OnLimit::kShrink)).ok());
  const std::vector<std::string> never{"user:7"};
  request.scopes = never;
  const auto larger = account->reserve(request);  // no answer of 256 tokens ever fits 355
  ASSERT_FALSE(larger.has_value());
  EXPECT_EQ(larger.error().http_status(), 400);
  request.bound.may_shrink = false;  // the caller named a maximum
  request.scopes = scopes;
  EXPECT_EQ(account->reserve(request).error().http_status(), 400);
}

TEST_F(AccountTest, OtherBudgetsSeeTheShrunkAnswer) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 1'000, BudgetUnit::kTokens, OnLimit::kShrink)).ok());
  ASSERT_TRUE(account->set_budget(budget("user:7", 9'100)).ok());  // 100 and 900 outputs at 10
  ReserveRequest request;
  const std::vector<std::string> scopes{"org:acme", "user:7"};
  request.scopes = scopes;
  request.bound = bound_of(4'000);
  request.bound.may_shrink = true;
  const auto held = account->reserve(request);
  ASSERT_TRUE(held.has_value()) << held.error().message();
  EXPECT_EQ(held->max_output_tokens, 900);
  EXPECT_EQ(state(*account, "user:7").left, 0);
  EXPECT_TRUE(has(records().back().flags, Flag::kShrunk));
  expect_sound();
}

TEST_F(AccountTest, TheTightestOfSeveralBudgetsShrinks) {
  auto account = open();
  const auto set = [&](const char* scope, std::int64_t limit, OnLimit on_limit) {
    ASSERT_TRUE(account->set_budget(budget(scope, limit, BudgetUnit::kTokens, on_limit)).ok());
  };
  set("key:k", 100'000, OnLimit::kBlock);
  set("team:t", 50'000, OnLimit::kShrink);  // fits
  set("user:7", 1'000, OnLimit::kShrink);
  set("service:s", 1'200, OnLimit::kShrink);  // the user's is tighter
  set("org:acme", 900, OnLimit::kShrink);
  ReserveRequest request;
  const std::vector<std::string> scopes{"key:k", "team:t", "user:7", "service:s", "org:acme"};
  request.scopes = scopes;
  request.bound = bound_of(4'000);
  request.bound.may_shrink = true;
  const Admission held = account->reserve(request).value();
  EXPECT_EQ(held.max_output_tokens, 800);
  EXPECT_EQ(state(*account, "org:acme").left, 0);
  EXPECT_EQ(state(*account, "user:7").left, 100);
}

TEST_F(AccountTest, AWindowMayHoldMoreThan64Bits) {
  constexpr Pico kNineMillion = 9'000'000 * kPicoPerDollar;
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 1'000, BudgetUnit::kPico, OnLimit::kWarn)).ok());
  for (int i = 0; i < 3; ++i) {
    const Admission held = reserve(*account, 1).value();
    ASSERT_TRUE(account->sent(held.id).ok());
    ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(kNineMillion)).ok());
  }
  const base::int128 all = static_cast<base::int128>(kNineMillion) * 3;
  EXPECT_TRUE(state(*account).used == all) << format_dollars(state(*account).used);
  EXPECT_EQ(state(*account).left, 0);
  expect_sound();
  account.reset();  // its closing CHECKPOINT tells the sum of the budget in parts
  expect_sound();
  auto again = open();
  EXPECT_TRUE(state(*again).used == all);
}

TEST_F(AccountTest, AFileOfItsSizeIsFollowedByTheNext) {
  const auto opened = [&] {
    AccountOptions options{Durability::kProcess, &clock_, &files_};
    options.rotate_bytes = 4'096;
    return Account::open("/data", options).value();
  };
  auto account = opened();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000'000)).ok());
  const Admission early = reserve(*account, 7).value();  // stays open over every file
  ASSERT_TRUE(account->sent(early.id).ok());
  for (int i = 0; i < 200; ++i) {
    const Admission held = reserve(*account, 1).value();
    ASSERT_TRUE(account->sent(held.id).ok());
    ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(10)).ok());
    if (i % 20 == 0) expect_equal(*account);
  }
  const std::vector<std::string> files = ledger_files(files_, "/data").value();
  EXPECT_GT(files.size(), 5U);
  for (const std::string& path : files) {
    EXPECT_LT(files_.read(path).value().find_last_not_of('\0'), 8'192U) << path;
    Record last;
    ASSERT_TRUE(read_ledger(files_, path, [&](const Record& record) {
                  last = record;
                  return true;
                }).has_value());
    if (path != files.back()) {
      EXPECT_EQ(last.type, RecordType::kCheckpoint);
      EXPECT_TRUE(last.closed);
    }
  }
  EXPECT_EQ(state(*account).used, 2'000);
  EXPECT_EQ(state(*account).held, 170);
  auto other = opened();  // reads them all while the first one lives
  EXPECT_EQ(state(*other).used, 2'000);
  ASSERT_TRUE(account->settle(early.id, used(100, 7), cost_of(150)).ok());
  EXPECT_EQ(state(*other).used, 2'150);
  EXPECT_EQ(state(*other).held, 0);
  account.reset();
  other.reset();
  expect_sound();
  EXPECT_EQ(state(*opened()).used, 2'150);
}

TEST_F(AccountTest, DeathAfterARotationLosesNothing) {
  AccountOptions options{Durability::kProcess, &clock_, &files_};
  options.rotate_bytes = 2'048;
  auto account = Account::open("/data", options).value();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000'000)).ok());
  const Admission early = reserve(*account, 9).value();
  ASSERT_TRUE(account->sent(early.id).ok());
  for (int i = 0; i < 50; ++i) {
    const Admission held = reserve(*account, 1).value();
    ASSERT_TRUE(account->sent(held.id).ok());
    ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(10)).ok());
  }
  ASSERT_GT(ledger_files(files_, "/data").value().size(), 3U);
  files_.kill();
  account.reset();
  auto next = open();  // by rule: the input of the one that was sent
  EXPECT_EQ(state(*next).used, 500 + 100);
  EXPECT_EQ(state(*next).held, 0);
  expect_sound();
}

TEST_F(AccountTest, ACorrectionNeverMakesACostNegative) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000)).ok());
  const Admission held = reserve(*account, 1).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(5, 5), cost_of(100)).ok());
  EXPECT_EQ(account->adjust(held.id, -101, 0).code(), base::Code::kInvalidArgument);
  EXPECT_EQ(account->adjust(held.id, 0, -11).code(), base::Code::kInvalidArgument);
  EXPECT_EQ(account->adjust(held.id, std::numeric_limits<Pico>::max(), 0).code(),
            base::Code::kInvalidArgument);
  EXPECT_EQ(state(*account).used, 100);
  ASSERT_TRUE(account->adjust(held.id, -100, -10).ok());
  EXPECT_EQ(state(*account).used, 0);
  EXPECT_EQ(account->settlement(held.id).value().pico, 0);
  expect_sound();
}

TEST_F(AccountTest, WhatWasShrunkIsHeldInEveryUnit) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 10'000, BudgetUnit::kPico, OnLimit::kShrink)).ok());
  ASSERT_TRUE(account->set_budget(budget("user:7", 100'000, BudgetUnit::kTokens)).ok());
  ReserveRequest request;
  const std::vector<std::string> scopes{"org:acme", "user:7"};
  request.scopes = scopes;
  request.bound = bound_of(4'000);
  request.bound.may_shrink = true;
  const Admission held = account->reserve(request).value();
  EXPECT_EQ(held.max_output_tokens, 990);
  EXPECT_EQ(state(*account).held, 10'000);
  EXPECT_EQ(state(*account, "user:7").held, 100 + 990);
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle_possible_spend(held.id).ok());
  EXPECT_EQ(state(*account, "user:7").used, 100 + 990);
  expect_sound();
}

TEST_F(AccountTest, SettlingTwiceChangesNothing) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 10'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(500)).ok());
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(500)).ok());
  ASSERT_TRUE(account->settle(held.id, used(9, 9), cost_of(900)).ok());  // recorded, not counted
  const Record told = records().back();
  EXPECT_EQ(told.type, RecordType::kAdjust);
  EXPECT_TRUE(has(told.flags, Flag::kConflict));
  EXPECT_EQ(told.id, held.id);
  EXPECT_EQ(told.held_pico, 900);
  EXPECT_EQ(told.pico, 0);
  ASSERT_TRUE(account->settle_by_rule(held.id).ok());
  EXPECT_EQ(state(*account).used, 500);
  ASSERT_TRUE(account->adjust(held.id, 25, 3).ok());
  EXPECT_EQ(state(*account).used, 525);
  expect_sound();
}

TEST_F(AccountTest, WhatWasSentCannotBeVoided) {
  auto account = open();
  const Admission first = reserve(*account, 10).value();
  EXPECT_TRUE(account->void_hold(first.id).ok());
  EXPECT_TRUE(account->void_hold(first.id).ok());
  const Admission second = reserve(*account, 10).value();
  ASSERT_TRUE(account->sent(second.id).ok());
  EXPECT_EQ(account->void_hold(second.id).code(), base::Code::kInvalidArgument);
}

TEST_F(AccountTest, CallsWithoutUsageSettleByRule) {
  auto account = open();
  const Admission unsent = reserve(*account, 10).value();
  ASSERT_TRUE(account->settle_by_rule(unsent.id).ok());
  EXPECT_EQ(account->settlement(unsent.id).value().pico, 0);
  const Admission cut = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(cut.id).ok());
  ASSERT_TRUE(account->progress(cut.id, 7).ok());
  ASSERT_TRUE(account->settle_by_rule(cut.id).ok());
  EXPECT_EQ(account->settlement(cut.id).value().pico, 170);
  EXPECT_TRUE(has(account->settlement(cut.id).value().flags, Flag::kEstimated));
  const Admission doubt = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(doubt.id).ok());
  ASSERT_TRUE(account->settle_possible_spend(doubt.id).ok());
  EXPECT_EQ(account->settlement(doubt.id).value().pico, 4'100);
  EXPECT_EQ(account->settlement(doubt.id).value().tokens, 500);
  EXPECT_EQ(records().back().tokens, 500);
  EXPECT_EQ(account->totals().open, 0);
  EXPECT_EQ(ledger_files(files_, "/data").value().size(), 1U)
      << "a file is ended by its size alone";
  expect_sound();
}

// What a call that is cut off costs at least is in the ledger every 256 tokens, and every second.
TEST_F(AccountTest, AStreamIsNotedEverySecondAndEvery256Tokens) {
  auto account = open();
  const Admission held = reserve(*account, 4'000).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  const auto noted = [&](std::int64_t tokens) {
    EXPECT_TRUE(account->progress(held.id, tokens).ok());
    return records().back().tokens;
  };
  EXPECT_EQ(noted(255), 0);
  EXPECT_EQ(noted(256), 256);
  EXPECT_EQ(noted(511), 256);
  EXPECT_EQ(noted(512), 512);
  clock_.advance(999ms);
  EXPECT_EQ(noted(513), 512);
  clock_.advance(1ms);
  EXPECT_EQ(noted(514), 514);
  EXPECT_EQ(noted(515), 514);
  EXPECT_EQ(noted(100), 514) << "it never shrinks";
}

TEST_F(AccountTest, EveryRecordSaysWhen) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  for (int way = 0; way < 3; ++way) {
    const Admission held = reserve(*account, 400).value();
    clock_.advance(1s);
    if (way > 0) {
      ASSERT_TRUE(account->sent(held.id).ok());
    }
    clock_.advance(1s);
    ASSERT_TRUE(account->progress(held.id, 300).ok());
    clock_.advance(1s);
    if (way == 2) {
      ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(7)).ok());
      ASSERT_TRUE(account->adjust(held.id, 1, 0).ok());
    } else {
      ASSERT_TRUE(account->settle_by_rule(held.id).ok());
    }
  }
  std::int64_t before = clock_.wall().us - 9'000'000;
  for (const Record& record : records()) {
    EXPECT_GE(record.at_us, before) << name(record.type);
    before = record.at_us;
  }
  EXPECT_EQ(before, clock_.wall().us);
}

// What was settled is known for a while, so that it may be settled again or corrected.
TEST_F(AccountTest, TheLast65536SettlementsAreKnown) {
  auto account = open();
  std::vector<ReservationId> settled;
  for (int i = 0; i < 65'537; ++i) {
    settled.push_back(account->reserve(request_of(1)).value().id);
    ASSERT_TRUE(account->void_hold(settled.back()).ok());
    if (i == 65'535) {
      EXPECT_TRUE(account->settlement(settled.front()).has_value());
    }
  }
  EXPECT_FALSE(account->settlement(settled.front()).has_value());
  EXPECT_TRUE(account->settlement(settled[1]).has_value());
  EXPECT_TRUE(account->settlement(settled.back()).has_value());
}

TEST_F(AccountTest, ARecordIsOneStepOfTheDisk) {
  auto account = open();
  const std::int64_t before = files_.steps();
  ASSERT_TRUE(reserve(*account, 1).has_value());
  EXPECT_EQ(files_.steps(), before + 1) << "written, not synced";
}

TEST_F(AccountTest, BudgetsAreNumberedFromOne) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000)).ok());
  ASSERT_TRUE(account->set_budget(budget("user:7", 1'000)).ok());
  std::vector<std::uint32_t> numbers;
  for (const Record& record : records()) {
    if (record.type == RecordType::kLimit) numbers.push_back(record.budget);
  }
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{1, 2}));
}

// Windows from first use -------------------------------------------------------------------------

TEST_F(AccountTest, AWindowFromFirstUseBeginsWithItsFirstCall) {
  auto first = open();
  auto second = open();
  BudgetSpec spec = budget("org:acme", 5'000);
  spec.window = {std::string(kFirstUse), "UTC", {}, 24h};
  ASSERT_TRUE(first->set_budget(spec).ok());
  EXPECT_EQ(state(*first).resets_at_us, std::nullopt) << "nobody used it yet";
  clock_.advance(3h);
  const std::int64_t began = clock_.wall().us;
  const Admission held = reserve(*first, 400).value();
  EXPECT_EQ(state(*second).resets_at_us, began + 86'400'000'000);
  clock_.advance(10h);
  const auto refused = reserve(*second, 400);  // the other process is in the same window
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(std::get<std::int64_t>(*refused.error().detail("resets_at_us")),
            began + 86'400'000'000);
  clock_.set_wall({began - 1'000'000});  // a clock that steps back begins no other
  EXPECT_EQ(state(*second).held, 4'100);
  clock_.set_wall({began + 86'400'000'000 - 1});
  EXPECT_FALSE(reserve(*second, 400).has_value()) << "its last microsecond";
  clock_.set_wall({began + 86'400'000'000});
  EXPECT_EQ(state(*first).held, 0);
  EXPECT_EQ(state(*first).resets_at_us, std::nullopt);
  clock_.advance(7h);
  const std::int64_t again = clock_.wall().us;
  ASSERT_TRUE(reserve(*second, 400).has_value());
  EXPECT_EQ(state(*first).window_start_us, again);
  ASSERT_TRUE(first->sent(held.id).ok());
  ASSERT_TRUE(first->settle(held.id, used(1, 1), cost_of(700)).ok());
  EXPECT_EQ(state(*first).used, 0) << "it belongs to the window in which it was held";
  EXPECT_EQ(state(*first).held, 4'100);
  expect_sound();
  first.reset();
  second.reset();
  auto later = open();  // settles by rule what was never sent
  EXPECT_EQ(state(*later).window_start_us, again);
  EXPECT_EQ(state(*later).held, 0);
  expect_sound();
}

TEST_F(AccountTest, WhatWasSpentElsewhereBeginsAWindowToo) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 5'000);
  spec.window = {std::string(kFirstUse), "UTC", {}, 1h};
  ASSERT_TRUE(account->set_budget(spec).ok());
  ASSERT_TRUE(account->record(request_of(1), used(1, 1), cost_of(70)).ok());
  clock_.advance(30min);
  ASSERT_TRUE(account->record(request_of(1), used(1, 1), cost_of(7)).ok());
  EXPECT_EQ(state(*account).used, 77);
  clock_.advance(30min);
  EXPECT_EQ(state(*account).used, 0);
  spec.window.rolling = 0h;
  EXPECT_EQ(account->set_budget(spec).code(), base::Code::kInvalidArgument);
}

// What the ledger says beside the cost -----------------------------------------------------------

TEST_F(AccountTest, TheLedgerSaysWhatTheAnswerSaidAndAtWhichPrices) {
  auto account = open();
  const auto& book = *catalog::PriceBook::builtin();
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  const Usage usage = count_units({.input = 1'000, .output = 500});
  const Cost cost =
      money::cost(book, usage, {.model = "gpt-4o-mini", .at = {1'795'000'000'000'000}}).value();
  ASSERT_TRUE(account
                  ->settle(held.id, usage, cost,
                           {.service_tier = "default",
                            .region = "eu",
                            .model = "gpt-4o-mini-2024-07-18",
                            .request_id = "req_1"})
                  .ok());
  const Record told = records().back();
  EXPECT_EQ(told.service_tier, "default");
  EXPECT_EQ(told.region, "eu");
  EXPECT_EQ(told.returned_model, "gpt-4o-mini-2024-07-18");
  EXPECT_EQ(told.request_id, "req_1");
  ASSERT_EQ(told.units.size(), 2U);
  ASSERT_EQ(told.rates.size(), 2U);
  base::int128 sum = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    sum += multiply(told.units[i].second, told.rates[i], Rounding::kHalfEven).value();
  }
  EXPECT_TRUE(sum == told.pico) << "the lines are the cost";
  expect_sound();
}

TEST_F(AccountTest, AHedgeAndAStageAreChildrenWithHoldsOfTheirOwn) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 10'000)).ok());
  Reservation parent = Reservation::make(account, request_of(100)).value();
  {
    Reservation hedge = parent.child(request_of(100), Flag::kHedge).value();
    Reservation stage = parent.child(request_of(50), Flag::kStage).value();
    EXPECT_EQ(state(*account).held, 1'100 + 1'100 + 600);
    const std::vector<Record> told = records();
    const Record& of_hedge = told[told.size() - 2];
    EXPECT_EQ(of_hedge.parent, parent.id());
    EXPECT_TRUE(has(of_hedge.flags, Flag::kHedge));
    EXPECT_EQ(told.back().parent, parent.id());
    EXPECT_TRUE(has(told.back().flags, Flag::kStage));
    EXPECT_EQ(told[told.size() - 3].parent, ReservationId());
    ASSERT_TRUE(hedge.sent().ok());
    Cost cost = cost_of(300);
    ASSERT_TRUE(hedge.settle(used(10, 2), cost).ok());
  }  // the stage was never sent: nothing
  EXPECT_EQ(state(*account).held, 1'100);
  EXPECT_EQ(state(*account).used, 300);
  EXPECT_FALSE(parent.child(request_of(1'000), Flag::kStage).has_value()) << "a budget refuses it";
  expect_sound();
}

TEST_F(AccountTest, WhatIsServedWithoutACallIsTakenDownAndCountsNowhere) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 0, BudgetUnit::kRequests)).ok());
  const std::vector<std::string> scopes{"org:acme"};
  ASSERT_TRUE(account
                  ->note_free(scopes, {.model = "gpt-4o-mini",
                                       .service = {},
                                       .call_id = "call-1",
                                       .key_id = {},
                                       .flags = static_cast<Flags>(Flag::kCached)})
                  .ok());
  EXPECT_EQ(state(*account).used, 0);
  const std::vector<Record> told = records();
  const Record& end = told.back();
  const Record& begin = told[told.size() - 2];
  EXPECT_EQ(begin.type, RecordType::kReserve);
  EXPECT_EQ(begin.call_id, "call-1");
  EXPECT_EQ(begin.scopes, scopes);
  EXPECT_EQ(end.type, RecordType::kSettle);
  EXPECT_TRUE(has(end.flags, Flag::kCached));
  EXPECT_EQ(end.pico, 0);
  EXPECT_TRUE(end.postings.empty());
  EXPECT_EQ(account->totals().open, 0);
  expect_sound();
}

TEST_F(AccountTest, ABudgetMayForbidWhatNobodyCanBound) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 1'000'000);
  spec.forbids_provider_side = true;
  ASSERT_TRUE(account->set_budget(spec).ok());
  ReserveRequest request = request_of(1);
  request.bound.provider_side = true;
  const auto refused = account->reserve(request);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base::Code::kInvalidArgument);
  EXPECT_EQ(refused.error().http_status(), 400);
  EXPECT_EQ(refused.error().provider_code(), "provider_side_forbidden");
  EXPECT_EQ(state(*account).held, 0);
  EXPECT_TRUE(reserve(*account, 1).has_value()) << "what can be bounded";
  ASSERT_TRUE(account->set_budget(budget("user:7", 1'000'000)).ok());
  const std::vector<std::string> others{"user:7"};
  request.scopes = others;
  EXPECT_TRUE(account->reserve(request).has_value()) << "another's budget";
  account.reset();
  EXPECT_TRUE(state(*open()).spec.forbids_provider_side);
}

TEST_F(AccountTest, AForgottenReservationSettlesItself) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 10'000)).ok());
  {
    const std::vector<std::string> scopes{"org:acme"};
    ReserveRequest request;
    request.scopes = scopes;
    request.bound = bound_of(400);
    Reservation held = Reservation::make(account, request).value();
    ASSERT_TRUE(held.sent().ok());
    EXPECT_EQ(state(*account).held, 4'100);
  }
  EXPECT_EQ(state(*account).held, 0);
  EXPECT_EQ(state(*account).used, 100);
}

TEST_F(AccountTest, AnOverrunSettlesTheTruthAndSaysSo) {
  auto account = open();
  const Admission held = reserve(*account, 10).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(1'000)).ok());
  EXPECT_TRUE(has(account->settlement(held.id).value().flags, Flag::kOverrun));
  EXPECT_EQ(static_cast<std::int64_t>(account->totals().spent), 1'000);
}

TEST_F(AccountTest, RecordCountsWhatWasSpentElsewhere) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("service:S", 100)).ok());
  const std::vector<std::string> scopes{"service:S"};
  ReserveRequest request;
  request.scopes = scopes;
  ASSERT_TRUE(account->record(request, used(1000, 500), cost_of(450)).ok());
  EXPECT_EQ(state(*account, "service:S").used, 450);
  EXPECT_EQ(state(*account, "service:S").left, 0);
  expect_sound();
}

TEST_F(AccountTest, CalendarWindowsResetAtTheirEdge) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 5'000);
  const std::int64_t now = clock_.wall().us;
  spec.window.name = "day";
  spec.window.edges_us = {now - 1'000'000, now + 3'600'000'000, now + 7'200'000'000};
  ASSERT_TRUE(account->set_budget(spec).ok());
  const Admission late = reserve(*account, 400).value();
  const auto refused = reserve(*account, 400);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(std::get<std::int64_t>(*refused.error().detail("resets_at_us")), now + 3'600'000'000);
  EXPECT_DOUBLE_EQ(*refused.error().retry_after(), 3600.0);
  clock_.advance(1h);
  EXPECT_TRUE(reserve(*account, 400).has_value());
  // The first call belongs to the window in which it was reserved.
  ASSERT_TRUE(account->sent(late.id).ok());
  ASSERT_TRUE(account->settle(late.id, used(1, 1), cost_of(4'000)).ok());
  EXPECT_EQ(state(*account).used, 0);
  expect_sound();
}

TEST_F(AccountTest, AZoneChangeStartsAtTheNextWindow) {
  auto account = open();
  const std::int64_t now = clock_.wall().us;
  BudgetSpec spec = budget("org:acme", 5'000);
  spec.window.name = "day";
  spec.window.edges_us = {now - 10, now + 1'000'000, now + 2'000'000};
  ASSERT_TRUE(account->set_budget(spec).ok());
  spec.window.edges_us = {now - 500, now + 1'500'000, now + 2'500'000};
  ASSERT_TRUE(account->set_budget(spec).ok());
  const std::vector<std::int64_t> expected{now - 10, now + 1'000'000, now + 1'500'000,
                                           now + 2'500'000};
  EXPECT_EQ(state(*account).spec.window.edges_us, expected);
  EXPECT_EQ(account->budgets("").value().size(), 1U);
}

TEST_F(AccountTest, RollingWindowsNeverCountTooLittle) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 5'000);
  spec.window.name = "rolling";
  spec.window.rolling = 96min;
  ASSERT_TRUE(account->set_budget(spec).ok());
  const Admission first = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(first.id).ok());
  ASSERT_TRUE(account->settle(first.id, used(1, 1), cost_of(4'100)).ok());
  clock_.advance(95min);
  EXPECT_FALSE(reserve(*account, 400).has_value());
  clock_.advance(2min);
  EXPECT_TRUE(reserve(*account, 400).has_value());
}

// At the very microsecond at which a bucket falls out it counts no more, and frees nothing either.
TEST_F(AccountTest, ABucketThatJustFellOutFreesNothing) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 5'000);
  spec.window = {"rolling", "UTC", {}, 96min};
  ASSERT_TRUE(account->set_budget(spec).ok());
  const std::int64_t minute = 60'000'000;
  const std::int64_t start = clock_.wall().us / minute * minute;
  clock_.set_wall({start});
  const auto spend = [&](Pico pico) {
    const Admission held = reserve(*account, 1).value();
    ASSERT_TRUE(account->sent(held.id).ok());
    ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(pico)).ok());
  };
  spend(4'000);
  clock_.set_wall({start + 10 * minute});
  spend(50);
  clock_.set_wall({start + 20 * minute});
  spend(900);
  clock_.set_wall({start + 97 * minute});
  EXPECT_EQ(state(*account).used, 950);
  const auto refused = reserve(*account, 400);  // 50 too much: just what falls out next
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(std::get<std::int64_t>(*refused.error().detail("resets_at_us")), start + 107 * minute);
}

TEST_F(AccountTest, BudgetsAndCountersSurviveARestart) {
  {
    auto account = open();
    ASSERT_TRUE(account->set_budget(budget("org:acme", 10'000)).ok());
    const Admission held = reserve(*account, 400).value();
    ASSERT_TRUE(account->sent(held.id).ok());
    ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(1'234)).ok());
  }
  auto account = open();
  EXPECT_EQ(state(*account).used, 1'234);
  EXPECT_EQ(state(*account).spec.limit, 10'000);
  expect_sound();
}

TEST_F(AccountTest, ADeadProcessIsSettledByRule) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 20'000)).ok());
  ASSERT_TRUE(reserve(*account, 400).has_value());  // never sent: nothing
  const Admission streamed = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(streamed.id).ok());
  ASSERT_TRUE(account->progress(streamed.id, 300).ok());
  files_.kill();
  auto next = open();
  EXPECT_EQ(state(*next).held, 0);
  EXPECT_EQ(state(*next).used, 100 + 300 * 10);
  expect_sound();
}

TEST_F(AccountTest, TwoProcessesShareOneLimit) {
  auto first = open();
  auto second = open();
  ASSERT_TRUE(first->set_budget(budget("org:acme", 10'000)).ok());
  const Admission a = reserve(*first, 400).value();
  ASSERT_TRUE(reserve(*second, 400).has_value());
  EXPECT_FALSE(reserve(*first, 400).has_value());
  EXPECT_FALSE(reserve(*second, 400).has_value());
  ASSERT_TRUE(first->sent(a.id).ok());
  ASSERT_TRUE(first->settle(a.id, used(1, 1), cost_of(100)).ok());
  EXPECT_TRUE(reserve(*second, 400).has_value());
  EXPECT_EQ(state(*first).held, 8'200);
  EXPECT_EQ(state(*second).held, 8'200);
  expect_sound();
}

TEST_F(AccountTest, AnExpiredHoldCountsAsVoided) {
  auto survivor = open();
  auto doomed = open();
  ASSERT_TRUE(reserve(*doomed, 400).has_value());
  doomed.reset();
  const auto next = open();             // declares it dead: EXPIRE in the third file
  EXPECT_EQ(next->totals(), Totals());  // no reservation of its own
  const std::string path = ledger_files(files_, "/data").value().at(2);
  Totals sum;
  ASSERT_TRUE(read_ledger(files_, path, [&](const Record& record) {
                sum.apply(record);
                return true;
              }).has_value());
  EXPECT_EQ(sum.voided, 1);
  EXPECT_EQ(sum.open, -1);
  EXPECT_EQ(sum.held, -4'100);
  expect_sound();
}

TEST_F(AccountTest, ALimitLoweredBelowWhatIsHeld) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 10'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 3'000)).ok());
  EXPECT_EQ(state(*account).left, 0);  // never negative
  EXPECT_EQ(state(*account).held, 4'100);
  EXPECT_FALSE(reserve(*account, 1).has_value());
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(100, 50), cost_of(600)).ok());
  EXPECT_EQ(state(*account).left, 2'400);
  EXPECT_TRUE(reserve(*account, 1).has_value());
  expect_sound();
}

TEST_F(AccountTest, AClockThatStepsBackMovesNoSettlement) {
  auto account = open();
  const std::int64_t now = clock_.wall().us;
  BudgetSpec spec = budget("org:acme", 10'000);
  spec.window = {"day", "UTC", {now - 10, now + 3'600'000'000}, {}};
  ASSERT_TRUE(account->set_budget(spec).ok());
  clock_.advance(2h);  // the second window
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  clock_.set_wall({now + 1});
  EXPECT_EQ(state(*account).held, 0);  // the first window is shown
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
  EXPECT_EQ(state(*account).used, 0);
  clock_.set_wall({now + 7'200'000'000});
  EXPECT_EQ(state(*account).used, 700);  // where it was reserved
  EXPECT_EQ(state(*account).held, 0);
  expect_sound();
}

TEST_F(AccountTest, ReversedScopesOfTwoWritersAddUp) {
  auto first = open();
  auto second = open();
  ASSERT_TRUE(first->set_budget(budget("org:acme", 100'000)).ok());
  ASSERT_TRUE(second->set_budget(budget("user:7", 100'000)).ok());
  for (int i = 0; i < 10; ++i) {
    const Admission one = reserve(*first, 10, {"org:acme", "user:7"}).value();
    const Admission two = reserve(*second, 10, {"user:7", "org:acme"}).value();
    ASSERT_TRUE(first->sent(one.id).ok());
    ASSERT_TRUE(first->settle(one.id, used(1, 1), cost_of(7)).ok());
    ASSERT_TRUE(second->void_hold(two.id).ok());
  }
  for (const char* scope : {"org:acme", "user:7"}) {
    EXPECT_EQ(state(*first, scope).used, 70);
    EXPECT_EQ(state(*second, scope).used, 70);
    EXPECT_EQ(state(*second, scope).held, 0);
  }
  expect_sound();
}

TEST_F(AccountTest, EachAlertIsToldOnceAWindow) {
  auto first = open();
  auto second = open();
  BudgetSpec spec = budget("org:acme", 1'000);
  const std::int64_t now = clock_.wall().us;
  spec.window = {"day", "UTC", {now, now + 3'600'000'000, now + 7'200'000'000}, {}};
  spec.alerts = {50, 80, 100};
  ASSERT_TRUE(first->set_budget(spec).ok());
  const auto spend = [&](Account& account, Pico pico) {
    const Admission held = reserve(account, 1).value();
    ASSERT_TRUE(account.sent(held.id).ok());
    ASSERT_TRUE(account.settle(held.id, used(1, 1), cost_of(pico)).ok());
  };
  spend(*first, 490);
  EXPECT_TRUE(first->take_alerts().empty());
  spend(*second, 10);
  const std::vector<Alert> half = second->take_alerts();
  ASSERT_EQ(half.size(), 1U);
  EXPECT_EQ(half[0].percent, 50);
  EXPECT_EQ(half[0].scope, "org:acme");
  EXPECT_EQ(half[0].used, 500);
  EXPECT_EQ(half[0].limit, 1'000);
  spend(*first, 1);
  EXPECT_TRUE(first->take_alerts().empty());  // the other told it
  spend(*first, 490);                         // an overrun of its hold: both at once
  const std::vector<Alert> rest = first->take_alerts();
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].percent, 80);
  EXPECT_TRUE(first->take_alerts().empty());
  clock_.advance(1h);
  spend(*second, 1'000);
  EXPECT_EQ(second->take_alerts().size(), 3U);  // a new window
  first.reset();
  second.reset();
  auto third = open();
  expect_sound();
}

TEST_F(AccountTest, AHundredAlertsAreToldOnceAWindowEach) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 1'000);
  const std::int64_t now = clock_.wall().us;
  const std::int64_t hour = 3'600'000'000;
  spec.window = {"day", "UTC", {now, now + hour, now + 2 * hour}, {}};
  spec.alerts.clear();
  for (std::uint8_t percent = 1; percent <= 100; ++percent) spec.alerts.push_back(percent);
  ASSERT_TRUE(account->set_budget(spec).ok());
  const auto spend = [&](Pico pico) {
    ASSERT_TRUE(account->record(request_of(1), used(1, 1), cost_of(pico)).ok());
  };
  for (const std::int64_t at : {now, now + hour}) {
    clock_.set_wall({at});
    spend(1'000);
    EXPECT_EQ(account->take_alerts().size(), 100U);
    spend(1);
    EXPECT_TRUE(account->take_alerts().empty());
  }
  clock_.set_wall({now + 1});  // it stepped back
  spend(1);
  EXPECT_TRUE(account->take_alerts().empty());
}

TEST_F(AccountTest, ACorrectionAndALowerLimitAlertAsWell) {
  auto account = open();
  BudgetSpec spec = budget("org:acme", 1'000);
  spec.alerts = {50, 80, 100};
  ASSERT_TRUE(account->set_budget(spec).ok());
  const Admission held = reserve(*account, 1).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(100)).ok());
  EXPECT_TRUE(account->take_alerts().empty());
  ASSERT_TRUE(account->adjust(held.id, 450, 0).ok());
  const std::vector<Alert> half = account->take_alerts();
  ASSERT_EQ(half.size(), 1U);
  EXPECT_EQ(half[0].percent, 50);
  EXPECT_EQ(half[0].used, 550);
  spec.limit = 500;
  ASSERT_TRUE(account->set_budget(spec).ok());
  const std::vector<Alert> lowered = account->take_alerts();
  ASSERT_EQ(lowered.size(), 2U);
  EXPECT_EQ(lowered[0].percent, 80);
  EXPECT_EQ(lowered[1].percent, 100);
  EXPECT_EQ(lowered[1].limit, 500);
  ASSERT_TRUE(account->set_budget(spec).ok());
  EXPECT_TRUE(account->take_alerts().empty());
  expect_sound();
}

TEST_F(AccountTest, ADetachedHoldOutlivesItsProcess) {
  auto keeper = open();
  ASSERT_TRUE(keeper->set_budget(budget("org:acme", 10'000)).ok());
  ReserveRequest request;
  const std::vector<std::string> scopes{"org:acme"};
  request.scopes = scopes;
  request.bound = bound_of(400);
  request.detached = true;
  auto doomed = open();
  const Admission job = doomed->reserve(request).value();
  ASSERT_TRUE(doomed->sent(job.id).ok());
  ASSERT_TRUE(reserve(*doomed, 400).has_value());
  doomed.reset();
  auto later = open();  // settles what the dead left, but not the job
  EXPECT_EQ(state(*later).held, 4'100);
  EXPECT_EQ(state(*keeper).held, 4'100);
  EXPECT_FALSE(keeper->void_hold(job.id).ok());  // it was sent
  ASSERT_TRUE(keeper->settle(job.id, used(100, 50), cost_of(600)).ok());
  EXPECT_TRUE(later->settle(job.id, used(100, 50), cost_of(600)).ok());  // the same: no-op
  EXPECT_EQ(state(*later).used, 600);
  EXPECT_EQ(state(*later).held, 0);
  EXPECT_EQ(later->settle({9, 9}, used(1, 1), cost_of(1)).code(), base::Code::kNotFound);
  expect_sound();
}

TEST_F(AccountTest, OnlyOneProcessEndsADetachedHold) {
  auto first = open();
  ASSERT_TRUE(first->set_budget(budget("org:acme", 10'000)).ok());
  ReserveRequest request;
  const std::vector<std::string> scopes{"org:acme"};
  request.scopes = scopes;
  request.bound = bound_of(400);
  request.detached = true;
  const Admission job = first->reserve(request).value();
  auto second = open();
  ASSERT_TRUE(second->void_hold(job.id).ok());
  EXPECT_EQ(first->totals().open, 1);  // it has not looked yet
  ASSERT_TRUE(first->settle_by_rule(job.id).ok());
  EXPECT_EQ(first->totals().open, 0);
  EXPECT_EQ(first->totals().voided, 1);
  EXPECT_EQ(state(*first).held, 0);
  EXPECT_EQ(state(*first).used, 0);
  expect_sound();
}

TEST_F(AccountTest, NobodyIsRefusedForTheHoldOfTheDead) {
  auto survivor = open();
  auto doomed = open();
  ASSERT_TRUE(survivor->set_budget(budget("org:acme", 5'000)).ok());
  ASSERT_TRUE(reserve(*doomed, 400).has_value());
  ASSERT_FALSE(reserve(*survivor, 400).has_value());
  doomed.reset();
  EXPECT_TRUE(reserve(*survivor, 400).has_value());
  expect_sound();
}

TEST_F(AccountTest, AFullDiskStopsAdmissionAndLosesNothing) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  files_.set_room(0);
  EXPECT_EQ(account->settle(held.id, used(1, 1), cost_of(700)).code(), base::Code::kIo);
  const auto refused = reserve(*account, 400);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base::Code::kIo);
  EXPECT_EQ(state(*account).used, 0);  // still readable, and what the ledger says
  EXPECT_EQ(state(*account).held, 4'100);
  EXPECT_EQ(account->unwritten(), 1);
  EXPECT_EQ(account->settlement(held.id).value().pico, 700);
  EXPECT_EQ(account->settle(held.id, used(1, 1), cost_of(700)).code(), base::Code::kIo);
  expect_equal(*account);
  files_.heal();
  clock_.advance(1s);
  ASSERT_TRUE(reserve(*account, 400).has_value());
  EXPECT_EQ(account->unwritten(), 0);
  EXPECT_TRUE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
  expect_equal(*account);
  expect_sound();
  files_.kill();
  EXPECT_EQ(state(*open()).used, 700);
}

TEST_F(AccountTest, PowerLossKeepsWhatWasAcknowledged) {
  auto account = open(Durability::kPower);
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
  files_.crash();
  auto next = open();
  EXPECT_EQ(state(*next).used, 700);
  EXPECT_EQ(state(*next).held, 0);
  expect_sound();
}

// The record is whole in the file, but neither synced nor cut away: the board says where the ledger
// ends, to who looks meanwhile.
TEST_F(AccountTest, WhatLiesBehindAFailureIsVoidToThoseWhoLook) {
  auto account = open(Durability::kPower);
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  files_.fail_after(3);  // past PRICE_VERSION, which a first settlement tells
  EXPECT_EQ(account->settle(held.id, used(1, 1), cost_of(700)).code(), base::Code::kIo);
  const LedgerReport report = verify_ledger(files_, "/data").value();
  EXPECT_TRUE(report.ok) << report.first_difference;
  EXPECT_EQ(static_cast<std::int64_t>(report.held), 4'100);
  EXPECT_EQ(static_cast<std::int64_t>(report.spent), 0);
  files_.heal();
}

// Another process reads to the seal, not what lies behind it.
TEST_F(AccountTest, WhatLiesBehindASealIsNotReadByOthers) {
  auto account = open(Durability::kPower);
  auto other = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  EXPECT_EQ(state(*other).held, 4'100);
  files_.fail_after(3);  // SETTLE is stored, neither synced nor cut
  EXPECT_EQ(account->settle(held.id, used(1, 1), cost_of(700)).code(), base::Code::kIo);
  files_.heal();
  EXPECT_EQ(state(*other).held, 4'100);
  EXPECT_EQ(state(*other).used, 0);
  ASSERT_TRUE(reserve(*other, 1).has_value());
  EXPECT_EQ(state(*other).held, 4'100 + 110);
}

// A record that is whole in the file, and not yet told on the board, may still fail: others wait.
TEST_F(AccountTest, WhatIsNotToldIsNotReadByOthers) {
  auto account = open(Durability::kPower);
  auto other = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  EXPECT_EQ(state(*other).held, 4'100);
  ASSERT_TRUE(account->sent(held.id).ok());
  const std::string path = ledger_files(files_, "/data").value().at(0);
  Record untold = records().at(1);
  ASSERT_EQ(untold.type, RecordType::kReserve);
  untold.seq = records().back().seq + 1;
  untold.id = {untold.epoch, untold.seq};
  std::string bytes;
  encode(untold, bytes);
  ASSERT_TRUE(files_.open_append(path, false).value()->append(bytes).ok());
  EXPECT_EQ(state(*other).held, 4'100);
  EXPECT_EQ(records().back().seq, untold.seq) << "it is a record";
}

// Every changing call of a short life fails once, for good, and the next life must add up: what
// was acknowledged is there, nothing is held, the ledger is sound.
TEST_F(AccountTest, EveryStepMayFail) {
  for (std::int64_t step = 0; step < 40; ++step) {
    testing::FakeFiles disk;
    std::int64_t acknowledged = 0;
    std::int64_t possible = 0;
    bool limited = false;
    disk.fail_after(step);
    {
      auto account = Account::open("/data", {Durability::kProcess, &clock_, &disk});
      if (account) {
        limited = (*account)->set_budget(budget("org:acme", 100'000)).ok();
        for (int i = 0; i < 5; ++i) {
          const auto held = reserve(**account, 400);
          if (!held) continue;
          possible += 4'100;
          (void)(*account)->sent(held->id);
          if ((*account)->settle(held->id, used(1, 1), cost_of(700)).ok()) acknowledged += 700;
          expect_equal(**account, disk, std::to_string(step));
        }
      }
      disk.kill();
    }
    disk.heal();
    auto next = Account::open("/data", {Durability::kProcess, &clock_, &disk});
    ASSERT_TRUE(next.has_value()) << step << ": " << next.error().message();
    const auto budgets = (*next)->budgets("org:acme").value();
    if (limited) {
      ASSERT_EQ(budgets.size(), 1U) << step;
      EXPECT_EQ(budgets[0].held, 0) << step;
      EXPECT_GE(budgets[0].used, acknowledged) << step;
      EXPECT_LE(budgets[0].used, possible) << step;
    }
    const LedgerReport report = verify_ledger(disk, "/data").value();
    EXPECT_TRUE(report.ok) << step << ": " << report.first_difference;
    EXPECT_EQ(report.open_holds, 0) << step;
  }
}

// Power fails, or the process is killed, after every step of a life, and again after every step of
// the recoveries that follow: nothing acknowledged is lost, nothing stays held, all files open.
TEST_F(AccountTest, DeathAfterEveryStepAndInEveryRecovery) {
  int deaths = 0;
  for (const Durability level : {Durability::kProcess, Durability::kPower}) {
    for (std::int64_t step = 0; step < 45; ++step) {
      for (std::int64_t again = 0; again < 24; again += 1 + again / 4) {
        testing::FakeFiles disk;
        const auto live = [&](std::int64_t& acknowledged) {
          auto account = Account::open("/data", {level, &clock_, &disk});
          if (!account) return;
          if (!(*account)->set_budget(budget("org:acme", 100'000)).ok()) return;
          for (int i = 0; i < 4; ++i) {
            const auto held = reserve(**account, 400);
            if (!held || !(*account)->sent(held->id).ok()) continue;
            if ((*account)->settle(held->id, used(1, 1), cost_of(700)).ok()) acknowledged += 700;
          }
        };
        const auto die = [&] {
          level == Durability::kPower ? disk.crash() : disk.kill();
          disk.heal();
          ++deaths;
        };
        std::int64_t acknowledged = 0;
        disk.fail_after(step);
        live(acknowledged);
        die();
        disk.fail_after(again);
        live(acknowledged);
        die();
        auto next = Account::open("/data", {level, &clock_, &disk});
        const std::string when = std::to_string(step) + ", " + std::to_string(again);
        ASSERT_TRUE(next.has_value()) << when << ": " << next.error().message();
        const auto states = (*next)->budgets("org:acme").value();
        ASSERT_EQ(states.size() + (acknowledged > 0 ? 0 : states.empty() ? 1 : 0), 1U) << when;
        if (!states.empty()) {
          EXPECT_EQ(states[0].held, 0) << when;
          EXPECT_GE(states[0].used, acknowledged) << when;
        }
        const LedgerReport report = verify_ledger(disk, "/data").value();
        EXPECT_TRUE(report.ok) << when << ": " << report.first_difference;
        EXPECT_EQ(report.open_holds, 0) << when;
      }
    }
  }
  EXPECT_GT(deaths, 1'000);
}

TEST_F(AccountTest, ATornTailIsCutAndDamageIsNot) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  files_.fail_after(0);  // half a record is written, and cannot be cut
  ASSERT_FALSE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
  files_.heal();
  files_.kill();
  const std::string path = ledger_files(files_, "/data").value().at(0);
  EXPECT_GT(read_ledger(files_, path, [](const Record&) { return true; }).value(), 0U);
  {
    auto next = open();  // the SETTLE was never told to be written: the hold is settled by rule
    EXPECT_EQ(state(*next).used, 100);
    expect_sound();
  }
  files_.flip(path, 8 * 60);
  const LedgerReport report = verify_ledger(files_, "/data").value();
  EXPECT_FALSE(report.ok);
  EXPECT_NE(report.first_difference.find("record 1"), std::string::npos) << report.first_difference;
  const auto damaged = Account::open("/data", {Durability::kProcess, &clock_, &files_});
  ASSERT_FALSE(damaged.has_value());
  EXPECT_EQ(damaged.error().code(), base::Code::kCorrupt);
}

// A ledger that was cut at a whole record, emptied or deleted looks clean; it is found all the
// same, by verify and by the next account, while its process lives, after kill -9 and at the end.
TEST_F(AccountTest, ACutEmptiedOrMissingLedgerIsFound) {
  enum class End { kLiving, kKilled, kClosed, kBuried };
  for (const End end : {End::kLiving, End::kKilled, End::kClosed, End::kBuried}) {
    for (const std::string what :
         {"one record", "all records", "everything", "wiped", "the file"}) {
      testing::FakeFiles disk;
      const auto open_on = [&] {
        return Account::open("/data", {Durability::kProcess, &clock_, &disk});
      };
      auto account = open_on().value();
      ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
      const Admission held = reserve(*account, 400).value();
      ASSERT_TRUE(account->sent(held.id).ok());
      ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
      if (end == End::kKilled || end == End::kBuried) disk.kill();
      if (end == End::kClosed) account.reset();
      if (end == End::kBuried) (void)open_on();
      const std::string path = "/data/ledger/00000001.ledger";
      std::uint64_t last = 0;
      for (std::uint64_t bytes = 40; bytes < disk.read(path)->size(); bytes += 8) {
        testing::FakeFiles copy;  // the last byte at which a whole record ends
        ASSERT_TRUE(copy.replace(path, disk.read(path)->substr(0, bytes)).ok());
        const auto torn = read_ledger(copy, path, [](const Record&) { return true; });
        if (torn && *torn == 0) last = bytes;
      }
      const std::uint64_t kept = what == "one record" ? last : what == "all records" ? 40 : 0;
      if (what == "wiped") {
        ASSERT_TRUE(disk.replace(path, std::string(disk.read(path)->size(), '\0')).ok());
      } else {
        ASSERT_TRUE((what == "the file" ? disk.remove(path) : disk.truncate(path, kept)).ok());
      }
      const LedgerReport report = verify_ledger(disk, "/data").value();
      EXPECT_FALSE(report.ok) << static_cast<int>(end) << " " << what;
      EXPECT_NE(report.first_difference.find("missing"), std::string::npos)
          << report.first_difference;
      const auto next = open_on();
      if (end == End::kLiving && what != "the file") continue;  // its process knows what it wrote
      ASSERT_FALSE(next.has_value()) << static_cast<int>(end) << " " << what;
      EXPECT_EQ(next.error().code(), base::Code::kCorrupt);
      EXPECT_NE(next.error().message().find("missing"), std::string::npos);
    }
  }
}

// A process makes its file, gives it space and stores the header; others look at any moment.
// The header is stored under another name: nobody ever meets a file that is half begun.
TEST_F(AccountTest, WhoDiesWhileItBeginsLeavesNoDamage) {
  auto first = open();
  ASSERT_TRUE(first->set_budget(budget("org:acme", 100'000)).ok());
  const std::string header = files_.read("/data/ledger/00000001.ledger")->substr(0, 40);
  for (const std::size_t stored : {std::size_t{0}, std::size_t{8}, std::size_t{39}}) {
    const std::string path = "/data/ledger/0000000" + std::to_string(2 + stored % 7) + ".ledger";
    ASSERT_TRUE(files_.replace(path + ".new", header.substr(0, stored)).ok());
    auto second = open();
    EXPECT_EQ(state(*first).used, 0) << stored;
    expect_sound();
  }
  auto next = open();
  EXPECT_EQ(state(*next).used, 0);
  expect_sound();
}

TEST_F(AccountTest, ABlankFileOfPowerLossIsNoDamage) {
  {
    auto account = open();
  }
  ASSERT_TRUE(files_.replace("/data/ledger/00000007.ledger", std::string(4096, '\0')).ok());
  auto next = open();
  ASSERT_TRUE(next->set_budget(budget("org:acme", 100'000)).ok());
  EXPECT_EQ(files_.read("/data/ledger/epochs")->find("ended 7"), std::string::npos)
      << "nothing is told of a file that never began";
  expect_sound();
}

// Competitors' bugs -------------------------------------------------------------------------------

TEST_F(AccountTest, HoursAfterTheLoadNothingIsHeld) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000'000)).ok());
  for (int call = 0; call < 200; ++call) {
    const Admission held = reserve(*account, call % 7).value();
    if (call % 5 == 0) {
      ASSERT_TRUE(account->void_hold(held.id).ok());
      continue;
    }
    ASSERT_TRUE(account->sent(held.id).ok());
    if (call % 3 == 0) {
      ASSERT_TRUE(account->settle_by_rule(held.id).ok());
    } else {
      ASSERT_TRUE(account->settle(held.id, used(100, 1), cost_of(110)).ok());
    }
  }
  const std::int64_t spent = static_cast<std::int64_t>(state(*account).used);
  clock_.advance(6h);
  EXPECT_EQ(state(*account).held, 0);
  EXPECT_EQ(state(*account).used, spent);
  EXPECT_EQ(account->totals().open, 0);
  expect_sound();
}

TEST_F(AccountTest, ALargeMaximumIsNotBlockedWhileNothingIsSpent) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100 + 10 * 128'000)).ok());
  EXPECT_TRUE(reserve(*account, 128'000).has_value()) << "to the last unit";
}

TEST_F(AccountTest, SettlingAfterAnotherProcessSettledByRuleChangesNothing) {
  auto first = open();
  auto second = open();
  ASSERT_TRUE(first->set_budget(budget("org:acme", 1'000'000)).ok());
  const Admission held = reserve(*second, 5).value();
  ASSERT_TRUE(second->sent(held.id).ok());
  files_.kill();  // as if its process had died: its lock is free
  auto third = open();
  EXPECT_EQ(state(*third).used, 100) << "settled by rule";
  EXPECT_FALSE(third->settle(held.id, used(100, 5), cost_of(150)).ok()) << "it is nobody's hold";
  EXPECT_EQ(state(*third).used, 100);
  expect_sound();
}

// I10: what was settled stays settled; corrections are records of their own.
TEST_F(AccountTest, APriceChangeAltersNoSettledRow) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000'000)).ok());
  const auto settle_at = [&](Pico pico, const char* version) {
    const ReservationId id = reserve(*account, 5).value().id;
    EXPECT_TRUE(account->sent(id).ok());
    Cost cost = cost_of(pico);
    cost.price_version = version;
    EXPECT_TRUE(account->settle(id, used(100, 5), cost).ok());
    return id;
  };
  const ReservationId first = settle_at(150, "old");
  const std::string before = files_.read("/data/ledger/00000001.ledger").value();
  settle_at(300, "new");
  ASSERT_TRUE(account->adjust(first, 150, 0).ok());
  const std::string after = files_.read("/data/ledger/00000001.ledger").value();
  EXPECT_EQ(after.substr(0, before.size()), before) << "not a byte of it";
  std::vector<std::string> versions;
  std::int64_t settled = 0;
  std::int64_t adjusted = 0;
  ASSERT_TRUE(read_ledger(files_, "/data/ledger/00000001.ledger", [&](const Record& record) {
                if (record.type == RecordType::kSettle) {
                  settled += record.pico;
                  versions.push_back(record.price_version);
                }
                if (record.type == RecordType::kAdjust) adjusted += record.pico;
                return true;
              }).has_value());
  EXPECT_EQ(settled, 450);
  EXPECT_EQ(adjusted, 150);
  EXPECT_EQ(versions, (std::vector<std::string>{"old", "new"}));
  EXPECT_EQ(state(*account).used, 600);
  expect_sound();
}

// The board --------------------------------------------------------------------------------------

TEST_F(AccountTest, VerifyFindsEveryFlippedBitOfTheBoard) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  ASSERT_TRUE(reserve(*account, 1).has_value());
  expect_sound();
  const auto found = [&](std::uint64_t bit) {
    files_.flip("/data/ledger/board", bit);
    const LedgerReport report = verify_ledger(files_, "/data").value();
    files_.flip("/data/ledger/board", bit);
    return !report.ok && report.first_difference.find("board") != std::string::npos;
  };
  // In use: all but the bytes of the lock itself, which hold no figure.
  const std::uint64_t whole = files_.read("/data/ledger/board")->size() * 8;
  ASSERT_EQ(whole, 131'072U * 8);
  for (std::uint64_t bit = 0; bit < 256 * 8; ++bit) {
    if (bit / 8 >= 64 && bit / 8 < 104) continue;
    EXPECT_TRUE(found(bit)) << "byte " << bit / 8 << " bit " << bit % 8;
  }
  for (std::uint64_t bit = 256 * 8; bit < whole; bit += 4'999) EXPECT_TRUE(found(bit)) << bit;
  // At rest: every bit.
  account.reset();
  expect_sound();
  for (std::uint64_t bit = 0; bit < 192 * 8; ++bit) {
    EXPECT_TRUE(found(bit)) << "at rest: byte " << bit / 8 << " bit " << bit % 8;
  }
  for (std::uint64_t bit = 192 * 8; bit < whole; bit += 4'999) EXPECT_TRUE(found(bit)) << bit;
  expect_sound();
  files_.flip("/data/ledger/board", 3);
  const auto refused = Account::open("/data", {.clock = &clock_, .files = &files_});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base::Code::kCorrupt);
}

TEST_F(AccountTest, ABoardThatIsGoneIsHarmlessOrTold) {
  {
    auto account = open();
    ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
    ASSERT_TRUE(account->settle(reserve(*account, 1).value().id, used(1, 1), cost_of(7)).ok());
  }
  // Everything was ended in order: the index knows it all.
  ASSERT_TRUE(files_.remove("/data/ledger/board").ok());
  expect_sound();
  auto account = open();
  EXPECT_EQ(state(*account).used, 7);
  expect_sound();
  // A file that was not ended: nobody could tell whether it was cut.
  ASSERT_TRUE(account->settle(reserve(*account, 1).value().id, used(1, 1), cost_of(8)).ok());
  files_.kill();
  ASSERT_TRUE(files_.remove("/data/ledger/board").ok());
  const LedgerReport report = verify_ledger(files_, "/data").value();
  EXPECT_FALSE(report.ok);
  EXPECT_NE(report.first_difference.find("`board` is missing"), std::string::npos)
      << report.first_difference;
  auto next = open();
  EXPECT_EQ(state(*next).used, 15);
  expect_sound();
}

TEST_F(AccountTest, ABoardThatIsReplacedWhileInUseIsRefused) {
  auto first = open();
  ASSERT_TRUE(files_.remove("/data/ledger/board").ok());
  const auto second = Account::open("/data", {.clock = &clock_, .files = &files_});
  ASSERT_FALSE(second.has_value()) << "two boards would admit twice";
  EXPECT_EQ(second.error().code(), base::Code::kIo);
  EXPECT_NE(second.error().message().find("replaced"), std::string::npos);
}

TEST_F(AccountTest, WhoLeavesInOrderIsEndedAtOnce) {
  auto first = open();
  auto second = open();
  ASSERT_TRUE(first->set_budget(budget("org:acme", 2'000)).ok());
  const Admission open_hold = reserve(*second, 100).value();
  ASSERT_TRUE(second->sent(open_hold.id).ok());
  second.reset();
  EXPECT_EQ(state(*first).held, 1'100);
  EXPECT_TRUE(reserve(*first, 100).has_value()) << "settled by rule before anybody is refused";
  EXPECT_EQ(state(*first).used, 100);
  expect_sound();
}

// The queue --------------------------------------------------------------------------------------

TEST_F(AccountTest, AQueueIsFirstComeFirstServedAmongProcesses) {
  auto one = open();
  auto two = open();
  ASSERT_TRUE(one->set_budget(budget("org:acme", 2'000, BudgetUnit::kPico, OnLimit::kQueue)).ok());
  const Admission first = reserve(*one, 140).value();
  const auto ask = [&](Account& account, std::int64_t output, std::uint64_t ticket) {
    ReserveRequest request;
    const std::vector<std::string> scopes{"org:acme"};
    request.scopes = scopes;
    request.bound = bound_of(output);
    request.may_wait = true;
    request.ticket = ticket;
    return account.reserve(request);
  };
  const auto ticket_of = [](const base::Result<Admission>& refused) {
    return static_cast<std::uint64_t>(std::get<std::int64_t>(*refused.error().detail("ticket")));
  };
  const auto large = ask(*one, 100, 0);
  ASSERT_FALSE(large.has_value());
  EXPECT_EQ(large.error().code(), base::Code::kBudgetExceeded);
  const std::uint64_t large_ticket = ticket_of(large);
  // A small call would fit, but the large one came first: it is never overtaken.
  const auto small = ask(*two, 10, 0);
  ASSERT_FALSE(small.has_value());
  EXPECT_NE(small.error().message().find("others wait"), std::string::npos);
  const std::uint64_t small_ticket = ticket_of(small);
  EXPECT_GT(small_ticket, large_ticket);
  EXPECT_FALSE(reserve(*two, 10).has_value()) << "nor by a call that would not wait";
  const std::uint64_t seen = two->room_changes();
  ASSERT_TRUE(one->sent(first.id).ok());
  EXPECT_EQ(two->room_changes(), seen);
  ASSERT_TRUE(one->settle(first.id, used(1, 1), cost_of(200)).ok());
  EXPECT_NE(two->room_changes(), seen) << "a settlement wakes the other process";
  EXPECT_FALSE(ask(*two, 10, small_ticket).has_value());
  const auto served = ask(*one, 100, large_ticket);
  ASSERT_TRUE(served.has_value());
  EXPECT_TRUE(ask(*two, 10, small_ticket).has_value());
  EXPECT_TRUE(reserve(*two, 1).has_value()) << "nobody waits any more";
  expect_sound();
}

TEST_F(AccountTest, WhoLeavesTheQueueOrDiesInItStopsNobody) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 2'000, BudgetUnit::kPico, OnLimit::kQueue)).ok());
  ReserveRequest request = request_of(190);
  request.may_wait = true;
  const Admission held = account->reserve(request).value();
  const auto refused = account->reserve(request);
  const auto ticket = std::get<std::int64_t>(*refused.error().detail("ticket"));
  ASSERT_TRUE(account->void_hold(held.id).ok());
  EXPECT_FALSE(reserve(*account, 1).has_value());
  const Totals before = account->totals();
  account->leave_queue(static_cast<std::uint64_t>(ticket));
  EXPECT_EQ(account->totals(), before) << "who waits holds nothing";
  const auto next = reserve(*account, 190);
  ASSERT_TRUE(next.has_value());
  ASSERT_FALSE(account->reserve(request).has_value());  // waits, and is never heard of again
  ASSERT_TRUE(account->void_hold(next->id).ok());
  EXPECT_FALSE(reserve(*account, 1).has_value());
  clock_.advance(1'001ms);
  EXPECT_TRUE(reserve(*account, 1).has_value());
}

TEST_F(AccountTest, WhoWaitsIsServedWhenThereIsRoomAndNotAfterItsTime) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 2'000, BudgetUnit::kPico, OnLimit::kQueue)).ok());
  ReserveRequest request = request_of(190);
  const Admission held = account->reserve_within(request, 0ms).value();
  const auto begin = std::chrono::steady_clock::now();
  const auto refused = account->reserve_within(request, 120ms);
  EXPECT_FALSE(refused.has_value());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
  std::thread settling([&] {
    std::this_thread::sleep_for(150ms);  // beyond one try of the waiter
    EXPECT_TRUE(account->void_hold(held.id).ok());
  });
  const auto served = account->reserve_within(request, 60s);
  settling.join();
  EXPECT_TRUE(served.has_value());
  expect_sound();
}

TEST_F(AccountTest, WhoWaitedLeavesItsPlaceToOthers) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 2'000, BudgetUnit::kPico, OnLimit::kQueue)).ok());
  ReserveRequest request = request_of(190);
  request.may_wait = true;
  const Admission held = account->reserve(request).value();
  for (int i = 0; i < 3'000; ++i) {  // a board has 2,048 places
    const auto refused = account->reserve(request);
    const auto* ticket = refused.error().detail("ticket");
    ASSERT_NE(ticket, nullptr) << refused.error().message();
    account->leave_queue(static_cast<std::uint64_t>(std::get<std::int64_t>(*ticket)));
  }
  ASSERT_TRUE(account->void_hold(held.id).ok());
  EXPECT_TRUE(reserve(*account, 190).has_value());
}

TEST_F(AccountTest, WhatWouldJustFitWaitsForThoseBeforeIt) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 2'000, BudgetUnit::kPico, OnLimit::kQueue)).ok());
  ASSERT_TRUE(reserve(*account, 140).has_value());  // 500 are left
  ReserveRequest request = request_of(100);
  request.may_wait = true;
  ASSERT_FALSE(account->reserve(request).has_value());
  const auto refused = reserve(*account, 40);  // 500
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("others wait"), std::string::npos);
}

TEST_F(AccountTest, AWaiterIsRefusedByWhatNeverFits) {
  auto account = open();
  ASSERT_TRUE(
      account->set_budget(budget("org:acme", 2'000, BudgetUnit::kPico, OnLimit::kQueue)).ok());
  ASSERT_TRUE(account->set_budget(budget("user:7", 1'500)).ok());
  const auto wait = [&](std::int64_t output, std::vector<std::string> scopes) {
    ReserveRequest request;
    request.scopes = scopes;
    request.bound = bound_of(output);
    request.may_wait = true;
    return account->reserve(request);
  };
  const auto huge = wait(1'000, {"org:acme"});
  EXPECT_EQ(huge.error().leaf(), "RequestExceedsLimitError");
  EXPECT_EQ(huge.error().detail("ticket"), nullptr);
  ASSERT_TRUE(wait(140, {"user:7"}).has_value());
  ASSERT_TRUE(wait(140, {"org:acme"}).has_value());
  const auto blocked = wait(100, {"org:acme", "user:7"});
  EXPECT_EQ(std::get<std::string>(*blocked.error().detail("scope")), "user:7") << "block > queue";
  EXPECT_EQ(blocked.error().detail("ticket"), nullptr);
}

// What the disk loses ----------------------------------------------------------------------------

TEST_F(AccountTest, UnsyncedWritesMayBeLostInAnyOrder) {
  for (const Durability level : {Durability::kProcess, Durability::kPower}) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      testing::FakeFiles files;
      const auto open_on = [&] { return Account::open("/data", {level, &clock_, &files}); };
      const std::vector<std::string> scopes{"org:acme"};
      std::int64_t told = 0;
      std::vector<std::shared_ptr<Account>> lives;  // the first dies with its power
      for (std::uint64_t life = 0; life < 3; ++life) {
        auto account = open_on();
        ASSERT_TRUE(account.has_value()) << seed << ": " << account.error().message();
        lives.push_back(*account);
        ASSERT_TRUE((*account)->set_budget(budget("org:acme", 1'000'000)).ok());
        const BudgetState before = (*account)->budgets("org:acme").value().at(0);
        if (level == Durability::kPower) {
          EXPECT_EQ(before.used, told) << "what was acknowledged is there, seed " << seed;
        }
        EXPECT_EQ(before.held, 0);
        const LedgerReport replay = verify_ledger(files, "/data").value();
        EXPECT_TRUE(replay.ok) << "seed " << seed << ": " << replay.first_difference;
        EXPECT_EQ(before.used, static_cast<std::int64_t>(replay.spent)) << seed;
        told = static_cast<std::int64_t>(before.used);
        for (int call = 0; call < 40; ++call) {
          ReserveRequest request;
          request.scopes = scopes;
          request.bound = bound_of(5);
          request.call.model = "gpt-4o-mini";
          const Admission held = (*account)->reserve(request).value();
          ASSERT_TRUE((*account)->sent(held.id).ok());
          ASSERT_TRUE((*account)->settle(held.id, used(1, 1), cost_of(100)).ok());
          told += 100;
        }
        files.crash_in_any_order(seed * 3 + life);
      }
      auto account = open_on();
      ASSERT_TRUE(account.has_value()) << seed << ": " << account.error().message();
      account->reset();
      const LedgerReport report = verify_ledger(files, "/data").value();
      EXPECT_TRUE(report.ok) << "seed " << seed << ": " << report.first_difference;
    }
  }
}

TEST_F(AccountTest, TheIndexCanBeMadeAnew) {
  {
    ASSERT_TRUE(open()->set_budget(budget("org:acme", 100'000)).ok());
  }
  ASSERT_TRUE(files_.remove("/data/ledger/epochs").ok());
  ASSERT_TRUE(files_.remove("/data/ledger/board").ok());
  EXPECT_FALSE(verify_ledger(files_, "/data").value().ok);
  {
    EXPECT_EQ(state(*open()).spec.limit, 100'000);
  }
  expect_sound();
}

// Power loss at level `process` may lose the end of a ledger and keep the board: no false alarm.
TEST_F(AccountTest, PowerLossIsNoCut) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  files_.crash();
  auto next = open();
  EXPECT_EQ(state(*next).held, 0);
  expect_sound();
}

// A sync that fails leaves a whole record behind if the file cannot be cut either: it is void.
TEST_F(AccountTest, ARecordThatWasNotSyncedIsVoid) {
  auto account = open(Durability::kPower);
  ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
  const Admission held = reserve(*account, 400).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  files_.fail_after(1);  // the record is written, then nothing works any more
  EXPECT_EQ(account->settle(held.id, used(1, 1), cost_of(700)).code(), base::Code::kIo);
  expect_equal(*account);
  files_.heal();
  clock_.advance(1s);
  EXPECT_TRUE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
  EXPECT_EQ(state(*account).used, 700);
  expect_equal(*account);
  expect_sound();
  files_.kill();
  auto next = open();
  EXPECT_EQ(state(*next).used, 700);
  expect_sound();
}

TEST_F(AccountTest, VerifyFindsEveryFlippedBit) {
  {
    auto account = open();
    ASSERT_TRUE(account->set_budget(budget("org:acme", 100'000)).ok());
    const Admission held = reserve(*account, 400).value();
    ASSERT_TRUE(account->sent(held.id).ok());
    ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(700)).ok());
  }
  {
    const auto next = open();
  }  // buries the first
  expect_sound();
  std::vector<std::string> paths = ledger_files(files_, "/data").value();
  ASSERT_EQ(paths.size(), 2U);
  paths.push_back("/data/ledger/epochs");
  for (const std::string& path : paths) {
    const std::uint64_t bits = files_.read(path).value().size() * 8;
    for (std::uint64_t bit = 0; bit < bits; ++bit) {
      files_.flip(path, bit);
      const auto report = verify_ledger(files_, "/data");
      EXPECT_TRUE(!report || !report->ok) << path << " bit " << bit;
      files_.flip(path, bit);
    }
  }
  expect_sound();
}

TEST_F(AccountTest, ANewerLedgerIsNamedAndTheOthersAreListed) {
  auto account = open();
  ASSERT_TRUE(account->set_budget(budget("org:acme", 1'000'000)).ok());
  const Admission held = reserve(*account, 1).value();
  ASSERT_TRUE(account->sent(held.id).ok());
  ASSERT_TRUE(account->settle(held.id, used(1, 1), cost_of(10)).ok());
  account.reset();
  open().reset();
  files_.flip("/data/ledger/00000002.ledger", 8 * 8 + 1);  // its version
  const LedgerReport report = verify_ledger(files_, "/data").value();
  EXPECT_FALSE(report.ok);
  EXPECT_NE(report.first_difference.find("newer dure"), std::string::npos)
      << report.first_difference;
  EXPECT_EQ(static_cast<std::int64_t>(report.spent), 10);
  EXPECT_FALSE(records().empty());
  EXPECT_EQ(Account::open("/data", {Durability::kProcess, &clock_, &files_}).error().leaf(),
            "StoreVersionError");
}

TEST_F(AccountTest, ReadingOnTellsEachRecordOnce) {
  auto account = open();
  const std::string path = ledger_files(files_, "/data").value().at(0);
  LedgerPlace place;
  std::vector<std::uint64_t> seen;
  const auto read_on = [&] {
    place = read_ledger_on(files_, path, place, [&](const Record& record) {
              seen.push_back(record.seq);
            }).value();
  };
  read_on();
  ASSERT_TRUE(reserve(*account, 1).has_value());
  read_on();
  read_on();
  ASSERT_TRUE(reserve(*account, 1).has_value());
  ASSERT_TRUE(reserve(*account, 1).has_value());
  read_on();
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(place.bytes, files_.read(path)->size());
}

TEST_F(AccountTest, ScopesAreChecked) {
  auto account = open();
  for (const std::string scope : {"acme", "org:", ":x", "planet:mars", ""}) {
    EXPECT_EQ(account->set_budget(budget(scope, 1)).code(), base::Code::kInvalidArgument) << scope;
    EXPECT_EQ(reserve(*account, 1, {scope}).error().code(), base::Code::kInvalidArgument) << scope;
  }
  EXPECT_EQ(account->set_budget(budget("org:a", -1)).code(), base::Code::kInvalidArgument);
  const std::string longest = "org:" + std::string(196, 'a');
  EXPECT_TRUE(account->set_budget(budget(longest, 1)).ok());
  EXPECT_EQ(account->set_budget(budget(longest + "a", 1)).code(), base::Code::kInvalidArgument);
}

TEST_F(AccountTest, WindowsAreChecked) {
  auto account = open();
  const auto set = [&](const Window& window) {
    BudgetSpec spec = budget("org:a", 1);
    spec.window = window;
    return account->set_budget(spec);
  };
  const Window sound{"day", "UTC", {1, 2, 3}, {}};
  EXPECT_TRUE(set(sound).ok());
  for (const std::vector<std::int64_t>& edges :
       {std::vector<std::int64_t>{1, 3, 2}, std::vector<std::int64_t>{1, 1, 2}}) {
    Window window = sound;
    window.edges_us = edges;
    EXPECT_EQ(set(window).message(), "window edges must ascend");
  }
  Window window = sound;
  window.name = std::string(64, 'n');
  window.zone = std::string(64, 'z');
  EXPECT_TRUE(set(window).ok());
  window.zone += "z";
  EXPECT_EQ(set(window).code(), base::Code::kInvalidArgument);
  window = sound;
  window.name += std::string(64, 'n');
  EXPECT_EQ(set(window).code(), base::Code::kInvalidArgument);
  EXPECT_EQ(set({"rolling", "UTC", {}, -1ns}).code(), base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace dure::money
