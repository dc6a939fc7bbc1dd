// src/money/ledger_writer.h - this process's own ledger file: numbers, appends, checkpoints.
//
// After a failed write the file is closed for ever; the account begins another one. The board is
// told after every record where the file ends: what a failed write left behind that is void.
//
// One thread at a time.
#ifndef DURE_SRC_MONEY_LEDGER_WRITER_H_
#define DURE_SRC_MONEY_LEDGER_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "dure/base/files.h"
#include "dure/money/ledger.h"
#include "money/board.h"
#include "money/ledger_index.h"
#include "money/posting_sums.h"

namespace dure::money {

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
  // From here on the board is told. REQUIRES: the slot is this epoch's.
  void publish_on(Board::Slot& slot) noexcept { slot_ = &slot; }
  base::Status sync();
  // The sums of this file so far; `closed`: nothing will follow.
  base::Status checkpoint(std::int64_t at_us, bool closed);

  [[nodiscard]] bool broken() const noexcept { return broken_; }
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return good_bytes_; }
  [[nodiscard]] FileEnd end() const noexcept { return {seq_, good_bytes_}; }
  // Ends the file in order: a closing CHECKPOINT, nothing behind it, synced. Nothing may be
  // appended then.
  base::Status finish(std::int64_t at_us);
  // The process leaves: the end of a finished file goes into the index, its slot is free; from here
  // on the holds that it left open are a dead process's. REQUIRES: folder and board are locked.
  base::Status retire();

 private:
  LedgerWriter(base::Files& files, std::string folder, std::uint64_t epoch, Durability durability)
      : files_(files),
        folder_(std::move(folder)),
        path_(ledger_path(folder_, epoch)),
        epoch_(epoch),
        durability_(durability) {}
  base::Status write(Record& record);
  base::Status store();
  void fail() noexcept;
  [[nodiscard]] bool published() const noexcept {
    return slot_ != nullptr &&
           slot_->epoch.load(std::memory_order_relaxed) == Board::checked(epoch_);
  }
  void count(const Record& record);

  base::Files& files_;
  const std::string folder_;
  const std::string path_;
  const std::uint64_t epoch_;
  const Durability durability_;
  std::unique_ptr<base::AppendFile> file_;
  Board::Slot* slot_ = nullptr;
  std::string buffer_;
  std::uint64_t seq_ = 0;
  std::uint64_t good_bytes_ = 0;
  bool broken_ = false;
  bool finished_ = false;
  Totals totals_;
  PostingSums counters_;
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_LEDGER_WRITER_H_
