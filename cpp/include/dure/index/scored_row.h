// dure/index/scored_row.h - the number of a row inside one collection, and a row with its score.
//
// Rows are given out rising; the store maps them to chunk ids in the same order, so a tie broken
// by row is a tie broken by chunk id.
//
// Immutable.
#ifndef DURE_INDEX_SCORED_ROW_H_
#define DURE_INDEX_SCORED_ROW_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace dure::index {

using RowNumber = std::uint32_t;

struct ScoredRow {
  RowNumber row;
  float score;  // higher is better
  friend bool operator==(const ScoredRow&, const ScoredRow&) = default;
};

// The order of every answer: better scores first, then lower rows.
[[nodiscard]] inline bool ranks_before(const ScoredRow& a, const ScoredRow& b) noexcept {
  return a.score != b.score ? a.score > b.score : a.row < b.row;
}

// A borrowed set of rows, one bit each: bit r & 63 of word r >> 6. Rows beyond it are not in it.
using RowBits = std::span<const std::uint64_t>;

[[nodiscard]] inline bool contains(RowBits bits, RowNumber row) noexcept {
  const std::size_t word = row >> 6;
  return word < bits.size() && (bits[word] >> (row & 63U) & 1U) != 0;
}

}  // namespace dure::index

#endif  // DURE_INDEX_SCORED_ROW_H_
