// tokenize/walk.h - the inner loop: pieces of a text, each to its ids, in batches so that the
// cache lines of the vocabulary are fetched while others are compared.
//
// Thread-safe: it works on the calling thread's cache.
#ifndef DURE_SRC_TOKENIZE_WALK_H_
#define DURE_SRC_TOKENIZE_WALK_H_

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "dure/tokenize/pretokenizer.h"
#include "tokenize/merge.h"
#include "tokenize/merge_cache.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {

// Takes ids, tells how many.
class Append {
 public:
  explicit Append(std::vector<Rank>& out) noexcept : out_(out) {}
  void one(Rank rank) { out_.push_back(rank); }
  bool cached(const MergeCache& cache, const ShortKey& key, std::uint64_t hash,
              std::uint32_t serial) {
    std::array<Rank, MergeCache::kMostIds> ids;
    const std::size_t count = cache.find(key, hash, serial, ids.data());
    many(ids.data(), count);
    return count != 0;
  }
  void many(const Rank* ids, std::size_t count) { out_.insert(out_.end(), ids, ids + count); }

 private:
  std::vector<Rank>& out_;
};

class Count {
 public:
  void one(Rank /*rank*/) noexcept { ++total_; }
  bool cached(const MergeCache& cache, const ShortKey& key, std::uint64_t hash,
              std::uint32_t serial) noexcept {
    const std::size_t count = cache.count(key, hash, serial);
    total_ += count;
    return count != 0;
  }
  void many(const Rank* /*ids*/, std::size_t count) noexcept { total_ += count; }
  [[nodiscard]] std::size_t total() const noexcept { return total_; }

 private:
  std::size_t total_ = 0;
};

template <typename Sink>
class Walk {
 public:
  Walk(const Vocab& vocab, std::string_view text, Sink& sink)
      : vocab_(vocab),
        table_(vocab.table()),
        text_(text),
        sink_(sink),
        cache_(MergeCache::of_thread()) {}

  // Hands the ids of the pieces text[start:ends[0]), [ends[0]:ends[1]) ... to the sink.
  void pieces(std::size_t start, std::span<const std::size_t> ends) {
    const char* end = text_.data() + text_.size();
    std::size_t at = start;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const std::size_t length = ends[i] - at;
      if (length <= kShort) {
        keys_[i] = short_key(text_.data() + at, length, end);
        hashes_[i] = hash_of(keys_[i]);
        table_.prefetch(hashes_[i]);
      }
      at = ends[i];
    }
    at = start;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const std::string_view piece = text_.substr(at, ends[i] - at);
      at = ends[i];
      if (piece.size() > kShort) {
        long_piece(piece);
      } else if (const Rank rank = table_.find(keys_[i], hashes_[i]); rank != kNoRank) {
        sink_.one(rank);
      } else {
        missed(piece, keys_[i], hashes_[i]);
      }
    }
  }

  static constexpr std::size_t kBatch = 64;

 private:
  void missed(std::string_view piece, const ShortKey& key, std::uint64_t hash) {
    if (sink_.cached(cache_, key, hash, vocab_.serial())) return;
    std::array<Rank, kShort> ids;
    const std::size_t count = merge_short(vocab_, piece, ids.data());
    cache_.store(key, hash, vocab_.serial(), ids.data(), count);
    sink_.many(ids.data(), count);
  }

  void long_piece(std::string_view piece) {
    const LongKey key = long_key(piece);
    const std::uint64_t hash = hash_of(key, piece.size());
    Rank rank = kNoRank;
    if (piece.size() <= vocab_.longest()) rank = table_.find_long(piece, hash);
    if (rank != kNoRank) {
      sink_.one(rank);
    } else if (piece.size() <= MergeCache::kLongest) {
      missed_long(piece, key, hash);
    } else if (piece.size() <= kStackMerge) {
      std::array<Rank, kStackMerge> ids;
      sink_.many(ids.data(), merge_short(vocab_, piece, ids.data()));
    } else {
      std::vector<Rank> ids;
      merge_long(vocab_, piece, ids);
      sink_.many(ids.data(), ids.size());
    }
  }

  void missed_long(std::string_view piece, const LongKey& key, std::uint64_t hash) {
    std::array<Rank, MergeCache::kLongest> ids;
    std::size_t count = cache_.find_long(key, hash, piece.size(), vocab_.serial(), ids.data());
    if (count == 0) {
      count = merge_short(vocab_, piece, ids.data());
      cache_.store_long(key, hash, piece.size(), vocab_.serial(), ids.data(), count);
    }
    sink_.many(ids.data(), count);
  }

  const Vocab& vocab_;
  const ProbeTable& table_;
  std::string_view text_;
  Sink& sink_;
  MergeCache& cache_;
  std::array<ShortKey, kBatch> keys_;
  std::array<std::uint64_t, kBatch> hashes_;
};

// All pieces of `text` to the sink; stops after a batch that makes `enough()` true.
template <typename Sink, typename Enough>
void walk(const Vocab& vocab, Grammar grammar, std::string_view text, Sink& sink, Enough enough) {
  Walk<Sink> walker(vocab, text, sink);
  std::array<std::size_t, Walk<Sink>::kBatch> ends;
  for (std::size_t at = 0; at < text.size() && !enough();) {
    const std::size_t count = split(grammar, text, at, ends);
    walker.pieces(at, std::span(ends.data(), count));
    at = ends[count - 1];
  }
}

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_WALK_H_
