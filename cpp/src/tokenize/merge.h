// tokenize/merge.h - merging of one piece that is no token itself, by its length.
//
// Thread-safe: each call works on the memo it is given.
#ifndef DURE_SRC_TOKENIZE_MERGE_H_
#define DURE_SRC_TOKENIZE_MERGE_H_

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "dure/tokenize/vocab.h"
#include "tokenize/pair_memo.h"

namespace dure::tokenize {

inline constexpr std::size_t kStackMerge = 64;  // longest piece of merge_short

// Writes the ids into `out` (room for piece.size()) and returns their number.
// REQUIRES: 1 <= piece.size() <= kStackMerge; PairMemo::fits(vocab).
std::size_t merge_short(const Vocab& vocab, PairMemo& memo, std::string_view piece,
                        Rank* out) noexcept;

// A piece of a group and what became of it.
struct ShortPiece {
  const char* data;
  std::size_t size;  // 1 to kMostBytes
  static constexpr std::size_t kMostBytes = 32;
  std::array<Rank, kMostBytes> ids;
  std::size_t count;
};
// merge_short of many pieces. Their lookups wait for memory, so some pieces are under way at a
// time. REQUIRES: PairMemo::fits(vocab).
void merge_group(const Vocab& vocab, PairMemo& memo, std::span<ShortPiece> pieces) noexcept;

// Makes the table of all pairs once looking them up by bytes has cost about as much.
void make_table_when_worth(const Vocab& vocab, PairMemo& memo);

// Appends the ids; O(n log n).
void merge_by_heap(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out);

// Appends the ids of a piece of any length: as a TokenRow if the vocabulary is canonical (vocab.h),
// else by heap.
void merge_any(const Vocab& vocab, PairMemo& memo, std::string_view piece, std::vector<Rank>& out);
// How many these are; of a long piece only the last ones are held at a time.
std::size_t count_any(const Vocab& vocab, PairMemo& memo, std::string_view piece,
                      std::vector<Rank>& scratch);

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_MERGE_H_
