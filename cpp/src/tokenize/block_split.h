// tokenize/block_split.h - pieces of 64 bytes of text at a time, by bit masks.
//
// The classes of 64 bytes become masks, one bit a byte; where pieces start is algebra on them, the
// same for every set of instructions. Pieces whose end the block does not show, and characters
// that the masks do not tell apart, are left to the rules for a single piece (piece_rules.h).
//
// The set of instructions is chosen once (dure/base/simd.h). All give equal pieces.
//
// Thread-safe: pure functions, constant tables.
#ifndef DURE_SRC_TOKENIZE_BLOCK_SPLIT_H_
#define DURE_SRC_TOKENIZE_BLOCK_SPLIT_H_

#include <cstddef>
#include <string_view>

#include "dure/base/simd.h"
#include "dure/tokenize/pretokenizer.h"

namespace dure::tokenize {

using base::Simd;

// split() of pretokenizer.h.
using SplitFunction = std::size_t (*)(Grammar grammar, std::string_view text, std::size_t start,
                                      std::size_t* ends, std::size_t room) noexcept;

struct Splitter {
  Simd simd;
  const char* name;
  SplitFunction split;
};

// The set in use.
[[nodiscard]] const Splitter& splitter() noexcept;
// The given set, or null if this machine cannot run it.
[[nodiscard]] const Splitter* splitter_of(Simd simd) noexcept;

// The same by the rules for a single piece alone: what the block splitters are compared with.
std::size_t split_by_pieces(Grammar grammar, std::string_view text, std::size_t start,
                            std::size_t* ends, std::size_t room) noexcept;

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_BLOCK_SPLIT_H_
