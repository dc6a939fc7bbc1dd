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
#include "tokenize/probe_many.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {

// Takes the ids of pieces, in their order. Any sink has kCounts, kPadding, hits() and many(); one
// that does not only count has cached() too.
class Append {
 public:
  // `bytes` of text are to come. Room is made for more than they most likely give: what is not
  // touched costs no page, and a row that grows later is copied.
  Append(std::vector<Rank>& out, std::size_t bytes) : out_(out) {
    constexpr std::size_t kLongText = std::size_t{1} << 18U;
    const std::size_t wanted = out_.size() + (bytes < kLongText ? bytes / 4 : bytes / 2);
    if (wanted > out_.capacity()) out_.reserve(std::max(wanted, 2 * out_.size()));
  }
  // Hands over what is left; what was handed over before stays if this is not called.
  void finish() { flush(); }

  static constexpr bool kCounts = false;
  static constexpr std::size_t kPadding = 16;  // ranks behind those of hits() that may be read
  // `count` pieces that are one token each.
  void hits(const Rank* ranks, std::size_t count) {
    if (count > kSlack) return copy(ranks, count);
    std::memcpy(room(), ranks, kSlack * sizeof(Rank));
    size_ += count;
  }
  bool cached(const MergeCache& cache, const ShortKey& key, std::uint64_t hash,
              std::uint32_t serial) {
    const std::size_t count = cache.find(key, hash, serial, room());
    size_ += count;
    return count != 0;
  }
  // One piece of `count` tokens.
  void many(const Rank* ids, std::size_t count) {
    if (count > kSlack) return copy(ids, count);
    Rank* to = room();
    size_ += count;
    for (; count != 0; --count) *to++ = *ids++;
  }

 private:
  static constexpr std::size_t kSlack = 16;  // ids that are written without a look at the room
  static_assert(kSlack >= MergeCache::kMostIds && kSlack <= kPadding);
  static constexpr std::size_t kBlock = 2048;

  Rank* room() {
    if (size_ > kBlock) flush();
    return block_.data() + size_;
  }
  [[gnu::noinline]] void copy(const Rank* ids, std::size_t count) {
    if (size_ + count > kBlock) flush();
    if (count > kBlock) {
      out_.insert(out_.end(), ids, ids + count);
      return;
    }
    std::memcpy(block_.data() + size_, ids, count * sizeof(Rank));
    size_ += count;
  }
  [[gnu::noinline]] void flush() {
    out_.insert(out_.end(), block_.data(), block_.data() + size_);
    size_ = 0;
  }

  std::vector<Rank>& out_;
  std::size_t size_ = 0;                     // ids in block_
  std::array<Rank, kBlock + kSlack> block_;  // that are not in out_ yet
};

// Tells how many.
class Count {
 public:
  static constexpr bool kCounts = true;  // many() is asked for the number alone
  static constexpr std::size_t kPadding = 0;
  void hits(const Rank* /*ranks*/, std::size_t count) noexcept { total_ += count; }
  void many(const Rank* /*ids*/, std::size_t count) noexcept { total_ += count; }
  [[nodiscard]] std::size_t total() const noexcept { return total_; }

 private:
  std::size_t total_ = 0;
};

// Most pieces that are handed over together: among so many are enough that must be merged.
inline constexpr std::size_t kManyPieces = 2048;
// The same for short texts, which would wait longer for room on the stack than for words.
inline constexpr std::size_t kFewPieces = 128;

template <typename Sink, std::size_t Batch = kManyPieces>
class Walk {
 public:
  static constexpr std::size_t kBatch = Batch;

  Walk(const Vocab& vocab, std::string_view text, Sink& sink)
      : vocab_(vocab),
        table_(vocab.table()),
        text_(text),
        sink_(sink),
        cache_(MergeCache::of_thread()),
        find_(prober().find),
        hashed_(std::max(vocab.longest(), MergeCache::kLongest)) {}

  // Hands the ids of the pieces text[start:ends[0]), [ends[0]:ends[1]) ... to the sink.
  // REQUIRES: ends.size() <= kBatch.
  void pieces(std::size_t start, std::span<const std::size_t> ends) {
    for (std::size_t first = 0; first < ends.size();) {
      std::size_t last = first;
      std::size_t misses = 0;
      std::size_t sorted = 0;  // misses that were looked up in the cache
      fresh_ = 0;
      do {
        const std::size_t next = std::min(last + kLines, ends.size());
        const std::size_t at = last == 0 ? start : ends[last - 1];
        fetch(at, ends.data(), last, next);
        const std::size_t before = misses;
        misses = probe(at, ends.data(), last, next, misses);
        sort_out(sorted, before);  // whose lines of the cache have come meanwhile
        sorted = before;
        last = next;
      } while (last < ends.size() && fresh_ + (misses - sorted) < kEnough &&
               misses + kLines <= kMostMisses);
      sort_out(sorted, misses);
      if (fresh_ != 0) merge_group(vocab_, cache_.pairs(), std::span(group_.data(), fresh_));
      hand_over(first, last, misses);
      first = last;
    }
    make_table_when_worth(vocab_, cache_.pairs());
  }

 private:
  // Pieces whose lines of the vocabulary are fetched together: more would crowd the L1 cache.
  static constexpr std::size_t kLines = std::min<std::size_t>(128, Batch);
  // New words before they are merged: with fewer under way each would wait for memory alone.
  static constexpr std::size_t kEnough = 64;
  static constexpr std::size_t kMostFresh = std::min(kEnough - 1 + kLines, Batch);
  static constexpr std::size_t kMostMisses = std::min(5 * kLines, Batch);

  // A piece that is no token.
  struct Missed {
    const char* data;
    std::size_t size;
    std::uint64_t hash;   // if it is not too long for one
    std::uint32_t piece;  // its number
    std::uint32_t fresh;  // its place in group_, or kAlone
    std::uint32_t count;  // of its ids, if the cache knows them; else 0
    [[nodiscard]] std::string_view text() const noexcept { return {data, size}; }
  };
  static constexpr std::uint32_t kAlone = 0xFFFFFFFF;  // the cache knows it, or it is too long

  // The pieces from `first` to `last`, `misses` of which are no token, to the sink.
  void hand_over(std::size_t first, std::size_t last, std::size_t misses) {
    std::size_t done = first;
    for (std::size_t i = 0; i < misses; ++i) {
      const Missed& piece = missed_.data()[i];
      sink_.hits(ranks_.data() + done, piece.piece - done);
      done = std::size_t{piece.piece} + 1;
      if (piece.fresh != kAlone) {
        merged(piece, group_.data()[piece.fresh]);
      } else {
        missed(piece);
      }
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
    ends += first;
    long_count_ = 0;
    for (std::size_t i = 0; i < last - first; ++i) {
      const std::size_t length = ends[i] - at;
      if (length <= kShort) [[likely]] {
        keys[i] = short_key(begin + at, length, end);
        hashes[i] = hash_of(keys[i]);
        table_.prefetch(hashes[i]);
      } else {
        keys[i] = kNoKey;
        hashes[i] = 0;
        long_.data()[long_count_++] = {i, hash_long({begin + at, length})};
      }
      at = ends[i];
    }
  }

  // Looks the same up, without a branch on the outcome; adds to the `misses` that are no token, and
  // returns how many these are now. Their lines of the cache are fetched.
  std::size_t probe(std::size_t at, const std::size_t* ends, std::size_t first, std::size_t last,
                    std::size_t misses) noexcept {
    std::uint64_t* const hashes = hashes_.data();
    Rank* const ranks = ranks_.data() + first;
    const auto from_of = [&](std::size_t i) { return i == 0 ? at : ends[first + i - 1]; };
    find_(table_, keys_.data(), hashes, last - first, ranks);
    for (std::size_t k = 0; k < long_count_; ++k) {
      const auto [i, hash] = long_.data()[k];
      hashes[i] = hash;
      ranks[i] = find_long(from_of(i), ends[first + i] - from_of(i), hash);
    }
    std::array<std::uint32_t, kLines + 1> found;
    std::size_t count = 0;
    for (std::size_t i = 0; i < last - first; ++i) {
      found.data()[count] = static_cast<std::uint32_t>(i);
      count += ranks[i] == kNoRank ? 1 : 0;
    }
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t i = found.data()[k];
      const std::size_t from = from_of(i);
      const std::size_t size = ends[first + i] - from;
      missed_.data()[misses + k] = {
          text_.data() + from, size, hashes[i], static_cast<std::uint32_t>(first + i), kAlone, 0};
      if (size <= kShort) {
        cache_.prefetch(hashes[i]);
      } else if (size <= MergeCache::kLongest) {
        cache_.prefetch_long(hashes[i]);
      }
    }
    return misses + count;
  }
  // The hash of a piece that has no ShortKey, whose line is fetched; any if it is too long for one.
  std::uint64_t hash_long(std::string_view piece) const noexcept {
    if (piece.size() > hashed_) return 0;
    const std::uint64_t hash = hash_of(long_key(piece), piece.size());
    table_.prefetch_long(hash);
    return hash;
  }
  [[nodiscard]] Rank find_long(std::size_t at, std::size_t length,
                               std::uint64_t hash) const noexcept {
    if (length > vocab_.longest()) return kNoRank;
    return table_.find_long({text_.data() + at, length}, hash);
  }

  // Of these misses the short ones that the cache does not know go to group_.
  void sort_out(std::size_t begin, std::size_t end) noexcept {
    if (!PairMemo::fits(vocab_)) return;
    for (; begin < end; ++begin) {
      Missed& piece = missed_.data()[begin];
      if (piece.size > MergeCache::kLongest) continue;
      piece.count = known(piece);
      if (piece.count != 0) continue;
      group_.data()[fresh_].data = piece.data;
      group_.data()[fresh_].size = piece.size;
      piece.fresh = fresh_++;
    }
  }

  [[nodiscard]] ShortKey key_of(const Missed& piece) const noexcept {
    return short_key(piece.data, piece.size, text_.data() + text_.size());
  }
  // How many ids of it the cache knows; 0: it does not.
  [[nodiscard]] std::uint32_t known(const Missed& piece) const noexcept {
    return piece.size <= kShort
               ? cache_.count(key_of(piece), piece.hash, vocab_.serial())
               : cache_.count_long(long_key(piece.text()), piece.hash, piece.size, vocab_.serial());
  }

  void merged(const Missed& piece, const ShortPiece& ids) {
    if (piece.size <= kShort) {
      cache_.store(key_of(piece), piece.hash, vocab_.serial(), ids.ids.data(), ids.count);
    } else {
      cache_.store_long(long_key(piece.text()), piece.hash, piece.size, vocab_.serial(),
                        ids.ids.data(), ids.count);
    }
    sink_.many(ids.ids.data(), ids.count);
  }

  // What the cache knew when it was asked, and what is too long for it.
  void missed(const Missed& piece) {
    if constexpr (Sink::kCounts) {
      sink_.many(nullptr, piece.count != 0
                              ? piece.count
                              : count_any(vocab_, cache_.pairs(), piece.text(), scratch_));
    } else if (piece.count == 0) {
      scratch_.clear();
      merge_any(vocab_, cache_.pairs(), piece.text(), scratch_);
      sink_.many(scratch_.data(), scratch_.size());
    } else if (piece.size > kShort) {
      missed_long(piece.text());
    } else if (!sink_.cached(cache_, key_of(piece), piece.hash, vocab_.serial())) {
      std::array<Rank, kShort> ids;  // another word has taken its place since
      const std::size_t count = merge_short(vocab_, cache_.pairs(), piece.text(), ids.data());
      sink_.many(ids.data(), count);
    }
  }

  void missed_long(std::string_view piece) {
    const LongKey key = long_key(piece);
    const std::uint64_t hash = hash_of(key, piece.size());
    std::array<Rank, MergeCache::kLongest> ids;
    std::size_t count = cache_.find_long(key, hash, piece.size(), vocab_.serial(), ids.data());
    if (count == 0) count = merge_short(vocab_, cache_.pairs(), piece, ids.data());
    sink_.many(ids.data(), count);
  }

  const Vocab& vocab_;
  const ProbeTable& table_;
  std::string_view text_;
  Sink& sink_;
  MergeCache& cache_;
  const FindMany find_;
  const std::size_t hashed_;  // longest piece that has a hash
  std::array<ShortKey, kLines> keys_;
  std::array<std::uint64_t, kLines> hashes_;
  struct LongPiece {
    std::size_t index;
    std::uint64_t hash;
  };
  std::array<LongPiece, kLines> long_;  // those of them that have no ShortKey
  std::size_t long_count_ = 0;
  std::array<Rank, Batch + Sink::kPadding> ranks_;
  std::array<Missed, kMostMisses> missed_;
  std::uint32_t fresh_ = 0;  // pieces in group_
  std::array<ShortPiece, kMostFresh> group_;
  std::vector<Rank> scratch_;  // ids of a piece too long for the cache
};

// All pieces of `text` to the sink, at most `most` of them at a time; stops after a batch that
// makes `enough()` true. REQUIRES: 1 <= most <= Batch.
template <std::size_t Batch, typename Sink, typename Enough>
[[gnu::noinline]] void walk_in_batches(const Vocab& vocab, Grammar grammar, std::string_view text,
                                       Sink& sink, Enough enough, std::size_t most) {
  Walk<Sink, Batch> walker(vocab, text, sink);
  std::array<std::size_t, Batch> ends;
  base::CancelTick<64> tick;
  for (std::size_t at = 0; at < text.size() && !enough();) {
    tick();
    const std::size_t count = split(grammar, text, at, std::span(ends).first(most));
    walker.pieces(at, std::span(ends.data(), count));
    at = ends[count - 1];
  }
}

// The same; REQUIRES: 1 <= most <= kManyPieces.
template <typename Sink, typename Enough>
void walk(const Vocab& vocab, Grammar grammar, std::string_view text, Sink& sink, Enough enough,
          std::size_t most = kManyPieces) {
  constexpr std::size_t kShortText = 4 * kFewPieces;
  if (text.size() <= kShortText) {
    walk_in_batches<kFewPieces>(vocab, grammar, text, sink, enough, std::min(most, kFewPieces));
  } else {
    walk_in_batches<kManyPieces>(vocab, grammar, text, sink, enough, most);
  }
}

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_WALK_H_
