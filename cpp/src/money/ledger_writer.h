// src/money/ledger_writer.h - this process's own ledger file: numbers, appends, checkpoints.
//
// After a failed write the file is closed for ever; the account begins another one.
//
// One thread at a time.
#ifndef DURE_SRC_MONEY_LEDGER_WRITER_H_
#define DURE_SRC_MONEY_LEDGER_WRITER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "dure/base/files.h"
#include "dure/money/ledger.h"

namespace dure::money {

[[nodiscard]] std::string ledger_path(const std::string& folder, std::uint64_t epoch);

class LedgerWriter {
 public:
  // Creates `<folder>/<epoch>.ledger` and writes its header. `files` outlives the writer.
  [[nodiscard]] static base::Result<std::unique_ptr<LedgerWriter>> begin(base::Files& files,
                                                                         const std::string& folder,
                                                                         std::uint64_t epoch,
                                                                         base::WallTime now,
                                                                         Durability durability);

  // Gives the record its epoch and seq (a RESERVE also its id) and writes it. Every 4,096 records
  // a CHECKPOINT follows. Fails with kIo; then broken() is true and nothing of it is in the file.
  base::Status append(Record& record);
  base::Status sync();
  // The sums of this file so far; `closed`: nothing will follow.
  base::Status checkpoint(std::int64_t at_us, bool closed);

  [[nodiscard]] bool broken() const noexcept { return broken_; }
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return good_bytes_; }

 private:
  LedgerWriter(base::Files& files, std::string path, std::uint64_t epoch, Durability durability)
      : files_(files), path_(std::move(path)), epoch_(epoch), durability_(durability) {}
  base::Status write(Record& record);
  void count(const Record& record);

  base::Files& files_;
  const std::string path_;
  const std::uint64_t epoch_;
  const Durability durability_;
  std::unique_ptr<base::AppendFile> file_;
  std::string buffer_;
  std::uint64_t seq_ = 0;
  std::uint64_t good_bytes_ = 0;
  bool broken_ = false;
  Totals totals_;
  std::map<std::pair<std::uint32_t, std::int64_t>, std::pair<std::int64_t, std::int64_t>> counters_;
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_LEDGER_WRITER_H_
