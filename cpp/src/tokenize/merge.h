// tokenize/merge.h - merging of one piece that is no token itself, by its length.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_TOKENIZE_MERGE_H_
#define DURE_SRC_TOKENIZE_MERGE_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "dure/tokenize/vocab.h"

namespace dure::tokenize {

inline constexpr std::size_t kStackMerge = 96;  // longest piece of merge_short

// Writes the ids into `out` (room for piece.size()) and returns their number.
// REQUIRES: 2 <= piece.size() <= kStackMerge.
std::size_t merge_short(const Vocab& vocab, std::string_view piece, Rank* out) noexcept;

// Below so many bytes the heap is done before the tables of Backtrack would be made.
inline constexpr std::size_t kHeapMerge = 4096;

// Appends the ids; O(n log n).
void merge_by_heap(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out);

// Appends the ids; linear if the vocabulary allows it.
void merge_long(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out);

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_MERGE_H_
