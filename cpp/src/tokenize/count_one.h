// tokenize/count_one.h - tokens of a few bytes, without the arrays that a Walk brings with it.
//
// One thread at a time: each works on its own cache.
#ifndef DURE_SRC_TOKENIZE_COUNT_ONE_H_
#define DURE_SRC_TOKENIZE_COUNT_ONE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenize/merge.h"
#include "tokenize/merge_cache.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {

// Tokens of the piece text[start:end). REQUIRES: start < end <= text.size().
inline std::size_t count_one(const Vocab& vocab, MergeCache& cache, std::string_view text,
                             std::size_t start, std::size_t end) {
  const std::string_view piece = text.substr(start, end - start);
  if (piece.size() > MergeCache::kLongest || !PairMemo::fits(vocab)) {
    if (vocab.find(piece) != kNoRank) return 1;
    std::vector<Rank> scratch;
    return count_any(vocab, cache.pairs(), piece, scratch);
  }
  std::array<Rank, MergeCache::kLongest> ids;
  if (piece.size() > kShort) {
    if (vocab.find(piece) != kNoRank) return 1;
    const LongKey key = long_key(piece);
    const std::uint64_t hash = hash_of(key, piece.size());
    if (const auto known = cache.count_long(key, hash, piece.size(), vocab.serial()); known != 0)
      return known;
    const std::size_t count = merge_short(vocab, cache.pairs(), piece, ids.data());
    cache.store_long(key, hash, piece.size(), vocab.serial(), ids.data(), count);
    return count;
  }
  const ShortKey key = short_key(piece.data(), piece.size(), text.data() + text.size());
  const std::uint64_t hash = hash_of(key);
  if (vocab.table().find(key, hash) != kNoRank) return 1;
  if (const auto known = cache.count(key, hash, vocab.serial()); known != 0) return known;
  const std::size_t count = merge_short(vocab, cache.pairs(), piece, ids.data());
  cache.store(key, hash, vocab.serial(), ids.data(), count);
  return count;
}

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_COUNT_ONE_H_
