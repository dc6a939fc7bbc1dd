// tokenize/walk.h - the inner loop: pieces of a text, each to its ids, in batches so that the
// cache lines of the vocabulary are fetched while others are compared.
//
// Thread-safe: it works on the calling thread's cache.
#ifndef DURE_SRC_TOKENIZE_WALK_H_
#define DURE_SRC_TOKENIZE_WALK_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "dure/base/cancel.h"
#include "dure/tokenize/pretokenizer.h"
#include "tokenize/merge.h"
#include "tokenize/merge_cache.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {

// Takes the ids of pieces, in their order.
class Append {
 public:
  // `bytes` of text are to come: room is made for what they most likely give.
  Append(std::vector<Rank>& out, std::size_t bytes) : out_(out), size_(out.size()) {
    out_.resize(size_ + bytes / 4 + kSlack);
  }
  ~Append() { out_.resize(size_); }
  Append(const Append&) = delete;
  Append& operator=(const Append&) = delete;

  // `count` pieces that are one token each.
  void hits(const Rank* ranks, std::size_t count) { many(ranks, count); }
  bool cached(const MergeCache& cache, const ShortKey& key, std::uint64_t hash,
              std::uint32_t serial) {
    if (out_.size() - size_ < kSlack) grow(0);
    const std::size_t count = cache.find(key, hash, serial, out_.data() + size_);
    size_ += count;
    return count != 0;
  }
  // One piece of `count` tokens.
  void many(const Rank* ids, std::size_t count) {
    if (out_.size() - size_ < count) grow(count);
    Rank* to = out_.data() + size_;
    size_ += count;
    if (count > kSlack) {
      std::memcpy(to, ids, count * sizeof(Rank));
      return;
    }
    for (; count != 0; --count) *to++ = *ids++;
  }

 private:
  static constexpr std::size_t kSlack = 16;  // ids that are written without a look at the room
  static_assert(kSlack >= MergeCache::kMostIds);
  [[gnu::noinline]] void grow(std::size_t count) {
    out_.resize(out_.size() + out_.size() / 2 + count + kSlack);
  }

  std::vector<Rank>& out_;
  std::size_t size_;  // ids in out_; behind them is room
};

// Tells how many.
class Count {
 public:
  void hits(const Rank* /*ranks*/, std::size_t count) noexcept { total_ += count; }
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
  // Pieces that are handed over together; so many that what must be merged is worth it.
  static constexpr std::size_t kBatch = 384;

  Walk(const Vocab& vocab, std::string_view text, Sink& sink)
      : vocab_(vocab),
        table_(vocab.table()),
        text_(text),
        sink_(sink),
        cache_(MergeCache::of_thread()),
        hashed_(std::max(vocab.longest(), MergeCache::kLongest)) {}

  // Hands the ids of the pieces text[start:ends[0]), [ends[0]:ends[1]) ... to the sink.
  // REQUIRES: ends.size() <= kBatch.
  void pieces(std::size_t start, std::span<const std::size_t> ends) {
    for (std::size_t first = 0; first < ends.size();) {
      std::size_t last = first;
      std::size_t misses = 0;
      while (last < ends.size() && misses < kEnough) {
        const std::size_t next = std::min(last + kLines, ends.size());
        const std::size_t at = last == 0 ? start : ends[last - 1];
        fetch(at, ends.data(), last, next);
        misses = probe(at, ends.data(), last, next, misses);
        last = next;
      }
      if (misses != 0 && PairMemo::fits(vocab_)) merge_new(start, ends.data(), misses);
      hand_over(start, ends.data(), first, last, misses);
      first = last;
    }
    if (cache_.pairs().learned() > (vocab_.pairs_known() ? kWorthKnown : kWorthATable)) {
      cache_.pairs().release();
      (void)vocab_.pair_table();
    }
  }

 private:
  // As many questions by bytes cost about what the table of all pairs does.
  static constexpr std::size_t kWorthATable = 200'000;
  static constexpr std::size_t kWorthKnown = 5'000;  // where the pairs are known

  // Pieces whose lines of the vocabulary are fetched together: more would crowd the L1 cache.
  static constexpr std::size_t kLines = 128;
  // Pieces that are no token before they are merged: fewer would wait for memory one by one.
  static constexpr std::size_t kEnough = 24;
  static constexpr std::size_t kMostMisses = kEnough - 1 + kLines;

  // The pieces from `first` to `last`, `misses` of which are no token, to the sink.
  void hand_over(std::size_t start, const std::size_t* ends, std::size_t first, std::size_t last,
                 std::size_t misses) {
    std::size_t done = first;
    for (std::size_t i = 0; i < misses; ++i) {
      const std::size_t piece = missed_.data()[i];
      sink_.hits(ranks_.data() + done, piece - done);
      const std::size_t from = piece == 0 ? start : ends[piece - 1];
      missed(text_.substr(from, ends[piece] - from), piece);
      done = piece + 1;
    }
    sink_.hits(ranks_.data() + done, last - done);
  }

  // Makes the keys of the pieces from `first`, which begins at `at`, to `last`, and has their lines
  // of the vocabulary fetched.
  void fetch(std::size_t at, const std::size_t* ends, std::size_t first,
             std::size_t last) noexcept {
    const char* const begin = text_.data();
    const char* const end = begin + text_.size();
    ShortKey* const keys = keys_.data();
    std::uint64_t* const hashes = hashes_.data();
    for (std::size_t i = first; i < last; ++i) {
      const std::size_t length = ends[i] - at;
      if (length <= kShort) [[likely]] {
        keys[i] = short_key(begin + at, length, end);
        hashes[i] = hash_of(keys[i]);
        table_.prefetch(hashes[i]);
      } else if (length <= hashed_) {
        hashes[i] = hash_of(long_key({begin + at, length}), length);
        table_.prefetch_long(hashes[i]);
      }
      at = ends[i];
    }
  }

  // Looks the same up, without a branch on the outcome; adds to the `before` that are no token, and
  // returns how many these are now. Their line of the cache is fetched.
  std::size_t probe(std::size_t at, const std::size_t* ends, std::size_t first, std::size_t last,
                    std::size_t before) noexcept {
    const ShortKey* const keys = keys_.data();
    const std::size_t begin = at;
    std::size_t misses = before;
    for (std::size_t i = first; i < last; ++i) {
      const std::size_t length = ends[i] - at;
      const Rank rank = length <= kShort ? table_.find(keys[i], hashes_.data()[i])
                                         : find_long(at, length, hashes_.data()[i]);
      ranks_.data()[i] = rank;
      missed_.data()[misses] = static_cast<std::uint32_t>(i);
      misses += rank == kNoRank ? 1 : 0;
      at = ends[i];
    }
    for (std::size_t i = before; i < misses; ++i) {
      const std::size_t piece = missed_.data()[i];
      const std::size_t from = piece == first ? begin : ends[piece - 1];
      if (ends[piece] - from <= kShort) {
        cache_.prefetch(hashes_.data()[piece]);
      } else if (ends[piece] - from <= MergeCache::kLongest) {
        cache_.prefetch_long(hashes_.data()[piece]);
      }
    }
    return misses;
  }
  [[nodiscard]] Rank find_long(std::size_t at, std::size_t length,
                               std::uint64_t hash) const noexcept {
    if (length > vocab_.longest()) return kNoRank;
    return table_.find_long({text_.data() + at, length}, hash);
  }

  // Merges the short ones that the cache does not know, all together; group_ has their ids, and
  // instead of a rank they have their place in it.
  void merge_new(std::size_t start, const std::size_t* ends, std::size_t misses) noexcept {
    std::size_t fresh = 0;
    for (std::size_t i = 0; i < misses; ++i) {
      const std::size_t index = missed_.data()[i];
      const std::size_t from = index == 0 ? start : ends[index - 1];
      const std::size_t length = ends[index] - from;
      if (length > MergeCache::kLongest || known(text_.substr(from, length), index)) continue;
      group_.data()[fresh].data = text_.data() + from;
      group_.data()[fresh].size = length;
      ranks_.data()[index] = static_cast<Rank>(fresh++);
    }
    merge_group(vocab_, cache_.pairs(), std::span(group_.data(), fresh));
  }

  // Does the cache know it?
  [[nodiscard]] bool known(std::string_view piece, std::size_t index) const noexcept {
    const std::uint64_t hash = hashes_.data()[index];
    return piece.size() <= kShort
               ? cache_.has(keys_.data()[index], hash, vocab_.serial())
               : cache_.has_long(long_key(piece), hash, piece.size(), vocab_.serial());
  }

  void missed(std::string_view piece, std::size_t index) {
    const bool fits = PairMemo::fits(vocab_);
    if (ranks_.data()[index] != kNoRank) {
      const ShortPiece& merged = group_.data()[ranks_.data()[index]];
      if (piece.size() <= kShort) {
        cache_.store(keys_.data()[index], hashes_.data()[index], vocab_.serial(), merged.ids.data(),
                     merged.count);
      } else {
        cache_.store_long(long_key(piece), hashes_.data()[index], piece.size(), vocab_.serial(),
                          merged.ids.data(), merged.count);
      }
      sink_.many(merged.ids.data(), merged.count);
    } else if (piece.size() <= kShort && fits) {
      const ShortKey& key = keys_[index];
      const std::uint64_t hash = hashes_[index];
      if (sink_.cached(cache_, key, hash, vocab_.serial())) return;
      std::array<Rank, kShort> ids;
      const std::size_t count = merge_short(vocab_, cache_.pairs(), piece, ids.data());
      cache_.store(key, hash, vocab_.serial(), ids.data(), count);
      sink_.many(ids.data(), count);
    } else if (piece.size() <= MergeCache::kLongest && piece.size() > kShort && fits) {
      missed_long(piece);
    } else {
      long_.clear();
      merge_any(vocab_, cache_.pairs(), piece, long_);
      sink_.many(long_.data(), long_.size());
    }
  }

  void missed_long(std::string_view piece) {
    const LongKey key = long_key(piece);
    const std::uint64_t hash = hash_of(key, piece.size());
    std::array<Rank, MergeCache::kLongest> ids;
    std::size_t count = cache_.find_long(key, hash, piece.size(), vocab_.serial(), ids.data());
    if (count == 0) {
      count = merge_short(vocab_, cache_.pairs(), piece, ids.data());
      cache_.store_long(key, hash, piece.size(), vocab_.serial(), ids.data(), count);
    }
    sink_.many(ids.data(), count);
  }

  const Vocab& vocab_;
  const ProbeTable& table_;
  std::string_view text_;
  Sink& sink_;
  MergeCache& cache_;
  const std::size_t hashed_;  // longest piece that has a hash
  std::array<ShortKey, kBatch> keys_;
  std::array<std::uint64_t, kBatch> hashes_;
  std::array<Rank, kBatch> ranks_;
  std::array<std::uint32_t, kMostMisses + 1> missed_;  // indices of the pieces that are no token
  std::array<ShortPiece, kMostMisses> group_;
  std::vector<Rank> long_;
};

// All pieces of `text` to the sink; stops after a batch that makes `enough()` true.
template <typename Sink, typename Enough>
void walk(const Vocab& vocab, Grammar grammar, std::string_view text, Sink& sink, Enough enough) {
  Walk<Sink> walker(vocab, text, sink);
  std::array<std::size_t, Walk<Sink>::kBatch> ends;
  base::CancelTick<256> tick;
  for (std::size_t at = 0; at < text.size() && !enough();) {
    tick();
    const std::size_t count = split(grammar, text, at, ends);
    walker.pieces(at, std::span(ends.data(), count));
    at = ends[count - 1];
  }
}

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_WALK_H_
