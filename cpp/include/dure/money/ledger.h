// dure/money/ledger.h - the append-only record of holds, settlements and voids, and its proof.
//
// One file per process epoch, `<data>/ledger/<epoch as 8 digits>.ledger`:
//   header: magic "DURELDG1", u32 version, u32 crc32c of the rest, u64 epoch, i64 begun (UTC us),
//           u64 process id                                                 40 bytes
//   record: u32 payload bytes | u32 crc32c of all else, padding too | u8 type | u8 version |
//           u16 flags | u64 seq | payload | zeros to a multiple of 8
// While it is written the file ends in zeros. `epochs` beside it says which files were begun and
// where they ended, `board` how far the live ones are.
//
// Little-endian. seq counts 1, 2, 3 ... within a file. Each record is a complete posting: it names
// the budgets it moves and by how much, so any prefix can be summed without the rest.
//
// Thread-safe: pure functions over base::Files; reading locks nothing and changes nothing.
#ifndef DURE_MONEY_LEDGER_H_
#define DURE_MONEY_LEDGER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/base/files.h"
#include "dure/base/result.h"
#include "dure/money/account.h"
#include "dure/money/budget.h"
#include "dure/money/cost.h"

namespace dure::money {

enum class RecordType : std::uint8_t {
  kReserve = 1,
  kSent,
  kProgress,
  kSettle,
  kVoid,
  kExpire,  // a void by another process: the holder died before it sent anything
  kAdjust,
  kLimit,
  kGrant,
  kPriceVersion,
  kCheckpoint,
  kAlert,  // a budget's use passed one of its percentages; once a window
};
[[nodiscard]] std::string_view name(RecordType type) noexcept;

// One movement of one budget's counters in one window.
struct Posting {
  std::uint32_t budget = 0;  // number given by the LIMIT record
  std::int64_t window_start_us = 0;
  std::int64_t held = 0;
  std::int64_t used = 0;
  friend bool operator==(const Posting&, const Posting&) = default;
};

// A decoded record; fields that its type does not carry are empty.
struct Record {
  RecordType type = RecordType::kReserve;
  Flags flags = 0;
  std::uint64_t epoch = 0;  // of the file
  std::uint64_t seq = 0;
  std::int64_t at_us = 0;
  ReservationId id;  // the hold it speaks of; RESERVE: (epoch, seq)
  std::vector<Posting> postings;

  std::int64_t pico = 0;       // RESERVE: held; SETTLE: settled; ADJUST: difference
  std::int64_t tokens = 0;     // likewise; PROGRESS: received so far
  std::int64_t held_pico = 0;  // SETTLE, VOID, EXPIRE: what the hold was

  Bound bound;                      // RESERVE
  std::int64_t lease_us = 0;        // RESERVE: UTC end of the lease
  std::uint16_t attempt = 0;        // RESERVE
  std::string model;                // RESERVE
  std::string service;              // RESERVE
  std::string call_id;              // RESERVE
  std::string key_id;               // RESERVE
  std::vector<std::string> scopes;  // RESERVE
  ReservationId parent;             // RESERVE: of a hedge's or a stage's, zeros: none

  std::vector<std::pair<catalog::Unit, std::int64_t>> units;  // SETTLE
  std::string price_version;                                  // SETTLE, PRICE_VERSION
  std::vector<catalog::Rate> rates;  // SETTLE: of each of `units`; empty: no prices were asked
  std::string service_tier;          // SETTLE, as the answer said, as the three below
  std::string region;
  std::string returned_model;
  std::string request_id;

  std::uint32_t budget = 0;    // LIMIT, GRANT, ALERT
  std::uint64_t revision = 0;  // LIMIT, GRANT: the latest in the folder is in force
  BudgetSpec spec;             // LIMIT
  std::int64_t amount = 0;     // GRANT; ALERT: the percentage
  std::int64_t until_us = 0;   // GRANT; ALERT: start of the window

  Totals totals;        // CHECKPOINT: sums over this file so far
  bool closed = false;  // CHECKPOINT: the process ended in order

  // As a fresh one, but texts and lists keep their memory.
  void clear() noexcept;
};

// Calls `each` for every record of the file until it returns false. Fails with kNotFound, kIo,
// kCorrupt (details path, offset) for damage before the end, leaf StoreVersionError for a newer
// format. A torn tail ends the file; returns how many bytes it has (0: none).
[[nodiscard]] base::Result<std::uint64_t> read_ledger(
    base::Files& files, const std::string& path, const std::function<bool(const Record&)>& each);

// A place behind a whole record of a file; zeros: its beginning.
struct LedgerPlace {
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;
};
// Calls `each` for the whole records behind `from`, also while the file is written; returns where
// they end. For whoever reads on from time to time; it does not look for damage. Fails with
// kNotFound, kIo, kCorrupt for a damaged header.
[[nodiscard]] base::Result<LedgerPlace> read_ledger_on(
    base::Files& files, const std::string& path, LedgerPlace from,
    const std::function<void(const Record&)>& each);

// The ledger files of `path`: itself, or those of a ledger folder or data folder, in order.
[[nodiscard]] base::Result<std::vector<std::string>> ledger_files(base::Files& files,
                                                                  const std::string& path);

struct LedgerReport {
  bool ok = true;
  std::int64_t files = 0;
  std::int64_t records = 0;
  std::int64_t open_holds = 0;
  base::int128 spent = 0;  // pico-dollars
  base::int128 held = 0;
  // Empty if ok; else where and what: "00000003.ledger record 17: ..."
  std::string first_difference;
};

// Replays everything: each CRC and seq, every hold ended once and with what it held, settled
// figures against postings, checkpoints against the sums of the records before them, the end of
// each file against index and board. Fails only if `path` cannot be read; damage, or a file of a
// newer dure, is reported in the result.
[[nodiscard]] base::Result<LedgerReport> verify_ledger(base::Files& files, const std::string& path);

}  // namespace dure::money

#endif  // DURE_MONEY_LEDGER_H_
