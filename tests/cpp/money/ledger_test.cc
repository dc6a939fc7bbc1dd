// What verify says of ledgers, beside what account_test shows of damage.
#include "dure/money/ledger.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "dure/base/hash.h"
#include "dure/money/account.h"
#include "fake_clock.h"
#include "fake_files.h"
#include "money/ledger_codec.h"
#include "money/ledger_index.h"
#include "money/ledger_writer.h"
#include "passing_files.h"

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

// A disk on which something happens while a file is read.
class Meanwhile final : public testing::PassingFiles {
 public:
  using PassingFiles::PassingFiles;
  base::Result<std::string> read(const std::string& path) override {
    auto bytes = PassingFiles::read(path);
    if (path.ends_with(".ledger") && bytes && before_ != nullptr) {
      *bytes += "half a record";
      std::exchange(before_, nullptr)();
    }
    return bytes;
  }
  // The next ledger that is read ends in half a record, and then `happens`.
  void when_read(std::function<void()> happens) { before_ = std::move(happens); }

 private:
  std::function<void()> before_;
};

// The owner stores a record while its file is read; by the time the reader asks, it has left.
TEST_F(LedgerTest, AFileThatEndsWhileItIsReadIsNotTorn) {
  auto account = open();
  (void)reserve(*account);
  Meanwhile disk(files_);
  // Nothing happened: half a record stays half a record. (It is looked at in two passes.)
  disk.when_read([&] { disk.when_read([] {}); });
  EXPECT_FALSE(verify_ledger(disk, "/data").value().ok);
  disk.when_read([&] { disk.when_read([&] { account.reset(); }); });
  const LedgerReport told = verify_ledger(disk, "/data").value();
  EXPECT_TRUE(told.ok) << told.first_difference;
}

// Head and checksum of a record with this payload.
std::string framed(RecordType type, std::uint64_t seq, std::string_view payload) {
  std::string out((20 + payload.size() + 7) / 8 * 8, '\0');
  const auto size = static_cast<std::uint32_t>(payload.size());
  out[8] = static_cast<char>(type);
  out[9] = 1;
  std::memcpy(out.data(), &size, sizeof(size));
  std::memcpy(out.data() + 12, &seq, sizeof(seq));
  std::memcpy(out.data() + 20, payload.data(), payload.size());
  const std::string_view all = out;
  const std::uint32_t crc = base::crc32c(all.substr(8), base::crc32c(all.substr(0, 4)));
  std::memcpy(out.data() + 4, &crc, sizeof(crc));
  return out;
}

bool decodes(const std::string& bytes, std::uint64_t seq) {
  std::size_t offset = 0;
  Record record;
  return decode_next(bytes, offset, 1, seq, record);
}

TEST(Codec, ARecordThatLacksAFieldIsNone) {
  const std::string whole(44, '\0');  // five numbers, no posting
  EXPECT_TRUE(decodes(framed(RecordType::kSent, 1, whole), 1));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decodes(framed(RecordType::kSent, 1, whole.substr(0, size)), 1)) << size;
  }
  EXPECT_FALSE(decodes(framed(RecordType::kSettle, 1, whole), 1)) << "what was held is missing";
  EXPECT_FALSE(decodes(framed(static_cast<RecordType>(13), 1, whole), 1)) << "no such type";
}

TEST(Codec, TheLargestRecordIsReadAndALargerOneIsNone) {
  EXPECT_TRUE(decodes(framed(RecordType::kSent, 1, std::string(1U << 24U, '\0')), 1));
  EXPECT_FALSE(decodes(framed(RecordType::kSent, 1, std::string((1U << 24U) + 8, '\0')), 1));
}

TEST(Codec, OnlyARecordThatFollowsMakesDamage) {
  const std::string other = framed(RecordType::kSent, 3, std::string(44, '\0'));
  const std::string bytes = std::string(64, 'x') + other;
  EXPECT_TRUE(has_record_after(bytes, 0, 3));
  EXPECT_TRUE(has_record_after(bytes, 0, 2));
  EXPECT_FALSE(has_record_after(bytes, 0, 4)) << "an older one is left from before";
  const std::string far =
      std::string(64, 'x') + framed(RecordType::kSent, 10'000, std::string(44, '\0'));
  EXPECT_FALSE(has_record_after(far, 0, 3)) << "so many cannot lie between";
}

TEST(Codec, WhatTheAnswerSaidIsReadBackAndIsMissingInEarlierFiles) {
  Record record;
  record.type = RecordType::kSettle;
  record.seq = 1;
  record.units = {{catalog::Unit::kInput, 5}, {catalog::Unit::kTraining, 7}};
  record.rates = {{3, 1}, {4, 9}};
  record.returned_model = "m";
  record.request_id = "r";
  std::string bytes;
  encode(record, bytes);
  std::size_t offset = 0;
  Record read;
  ASSERT_TRUE(decode_next(bytes, offset, 1, 1, read));
  EXPECT_EQ(offset, bytes.size());
  EXPECT_EQ(read.units, record.units);
  EXPECT_EQ(read.rates, record.rates);
  EXPECT_EQ(read.returned_model, "m");
  EXPECT_EQ(read.request_id, "r");
  EXPECT_EQ(read.service_tier, "");
  record.rates.clear();
  record.returned_model = record.request_id = "";
  std::string earlier;
  encode(record, earlier);
  EXPECT_LT(earlier.size(), bytes.size());
  offset = 0;
  ASSERT_TRUE(decode_next(earlier, offset, 1, 1, read));
  EXPECT_TRUE(read.rates.empty());
  EXPECT_EQ(read.returned_model, "");
}

TEST(Writer, GivesARecordItsPlace) {
  testing::FakeFiles files;
  ASSERT_TRUE(files.create_folder("/ledger").ok());
  auto writer =
      LedgerWriter::begin(files, "/ledger", 7, {1'767'225'600'000'000}, Durability::kProcess);
  ASSERT_TRUE(writer.has_value());
  Record record;
  ASSERT_TRUE((*writer)->append(record).ok());
  EXPECT_EQ(record.epoch, 7U);
  EXPECT_EQ(record.seq, 1U);
  EXPECT_EQ(record.id, (ReservationId{7, 1}));
  files.fail_after(0);
  const base::Status failed = (*writer)->append(record);
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(failed.message().find(".new"), std::string::npos) << failed.message();
  EXPECT_TRUE((*writer)->broken());
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
