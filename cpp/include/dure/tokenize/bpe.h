// dure/tokenize/bpe.h - byte-pair merging of one piece.
//
// The merge of lowest rank goes first, the leftmost of equals; as tiktoken does. Short pieces
// run on the stack; long ones in O(n log n), very long ones in linear time.
//
// Thread-safe: pure functions.
#ifndef DURE_TOKENIZE_BPE_H_
#define DURE_TOKENIZE_BPE_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "dure/tokenize/vocab.h"

namespace dure::tokenize {

// Appends the ids of `piece`; a whole piece that is a token is that token.
void merge_piece(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out);

// The same without a shortcut, cache or heap: quadratic. What tests compare with.
void merge_piece_slowly(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out);

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_BPE_H_
