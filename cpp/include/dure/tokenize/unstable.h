// dure/tokenize/unstable.h - the ends that more text could change.
//
// tiktoken's `encode_with_unstable` and `_encode_bytes`, with its definitions of what is unstable;
// the results are equal to tiktoken 0.14's, those that its own comments call approximate too.
//
// Thread-safe: pure functions.
#ifndef DURE_TOKENIZE_UNSTABLE_H_
#define DURE_TOKENIZE_UNSTABLE_H_

#include <set>
#include <string_view>
#include <vector>

#include "dure/tokenize/encoding.h"

namespace dure::tokenize {

struct Unstable {
  std::vector<Rank> stable;                 // ids of a start of the text
  std::set<std::vector<Rank>> completions;  // what may follow them, for some continuation
};

[[nodiscard]] Unstable encode_with_unstable(const Encoding& encoding, std::string_view text,
                                            const SpecialFilter& allowed);

// Ids of bytes that need not be UTF-8: split as text as far as they are, the last piece merged
// together with the rest.
[[nodiscard]] std::vector<Rank> encode_bytes(const Encoding& encoding, std::string_view bytes);

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_UNSTABLE_H_
