// src/money/ledger_index.h - `ledger/epochs`: which ledger files were begun, and where they ended.
//
// One line a fact, with its CRC-32C: "begun 3 9f3c21aa", "ended 3 17 2044 0b2d11fe" (epoch,
// records, bytes). A file that is missing or shorter than its line is damage, however clean its end
// looks.
//
// Thread-safe: pure functions over base::Files.
#ifndef DURE_SRC_MONEY_LEDGER_INDEX_H_
#define DURE_SRC_MONEY_LEDGER_INDEX_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "dure/base/files.h"
#include "dure/base/result.h"
#include "money/board.h"

namespace dure::money {

// `<folder>/00000003.ledger`.
[[nodiscard]] std::string ledger_path(const std::string& folder, std::uint64_t epoch);

// By epoch; nullopt: begun, its end is not written down.
using LedgerIndex = std::map<std::uint64_t, std::optional<FileEnd>>;

// Empty if there is none. A line that was not written whole, at the end, is left out (`torn`).
// Fails with kIo, kCorrupt.
[[nodiscard]] base::Result<LedgerIndex> read_index(base::Files& files, const std::string& folder,
                                                   bool* torn = nullptr);

// Append one fact, synced. REQUIRES: the folder's or the board's lock is held. Fail with kIo.
base::Status note_begun(base::Files& files, const std::string& folder, std::uint64_t epoch);
base::Status note_ended(base::Files& files, const std::string& folder, std::uint64_t epoch,
                        FileEnd end);

// What is wrong with a file that ends at `found` though it was written to `told`; empty: nothing.
// `exactly`: nothing may follow either.
[[nodiscard]] std::string difference(FileEnd found, FileEnd told, bool exactly);

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_LEDGER_INDEX_H_
