// dure/chunk/dedup.h - which chunks say the same.
//
// Shingles are windows of nine bytes that start on a character. MinHash (128 hashes, 32 bands of 4
// and 12 of 10) finds candidates, the exact Jaccard index of the two sets decides. A pair at 0.7 is
// missed with a chance of 2 in 10,000, at 0.5 of 1 in 8: meant for thresholds of 0.7 and above.
// The work for a chunk is bounded, so that the whole is linear: among thousands that are alike
// below the threshold (lines of one form) a pair at 0.8 is missed with a chance of 1 in 4, at 0.9
// of 1 in 100.
//
// Thread-safe: pure functions.
#ifndef DURE_CHUNK_DEDUP_H_
#define DURE_CHUNK_DEDUP_H_

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "dure/chunk/chunks.h"

namespace dure::chunk {

// Indexes of the chunks to keep, ascending: the first of each group. Without `jaccard` only what is
// embedded alike, byte for byte, is a duplicate; with it, also a span whose Jaccard index with a
// kept one reaches it.
// REQUIRES: jaccard in (0, 1].
[[nodiscard]] std::vector<std::size_t> unique_chunks(const Chunks& chunks, std::string_view source,
                                                     std::optional<double> jaccard);

}  // namespace dure::chunk

#endif  // DURE_CHUNK_DEDUP_H_
