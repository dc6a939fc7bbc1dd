#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "tokenize/merge.h"
#include "tokenize/syllables.h"

namespace dure::tokenize {
namespace {

using Bits = std::uint64_t;

// A pair that may merge: its rank, then the byte where it starts; the lowest merges first, and of
// equals the leftmost.
constexpr unsigned kPlaceBits = 6;
constexpr std::uint32_t kNever = 0xFFFFFFFF;
static_assert(std::size_t{1} << kPlaceBits == kStackMerge);
static_assert(kIdBits + kPlaceBits < 32);

std::uint32_t merge_at(Rank rank, unsigned place) noexcept {
  return rank >= kNoPair ? kNever : rank << kPlaceBits | place;
}

// Where pairs are looked up: in the table of all if it is there, else by their bytes.
struct ByTable {
  static constexpr bool kBySyllables = true;
  const PairTable& table;
  const Syllables& syllables;
  void prefetch(Rank left, Rank right) const noexcept { table.prefetch(left, right); }
  Rank find(Rank left, Rank right, std::string_view /*joined*/) const noexcept {
    return table.find(left, right);
  }
};
struct ByBytes {
  static constexpr bool kBySyllables = false;
  const Vocab& vocab;
  PairMemo& memo;
  void prefetch(Rank left, Rank right) const noexcept { memo.prefetch(left, right); }
  Rank find(Rank left, Rank right, std::string_view joined) const noexcept {
    return memo.find(vocab, left, right, joined);
  }
};

// The parts of a piece of up to `Most` bytes. Each stands at its first byte; no array is ever
// moved.
template <typename Pairs, std::size_t Most>
class Parts {
 public:
  // False if nothing is to be looked up before the first merge.
  bool start(const Vocab& vocab, const Pairs& pairs, std::string_view piece) noexcept {
    piece_ = piece;
    size_ = static_cast<unsigned>(piece.size());
    asked_ = 0;
    const auto* bytes = reinterpret_cast<const unsigned char*>(piece.data());
    if constexpr (Pairs::kBySyllables) {
      if (bytes[size_ - 1] >= 0x80 && start_by_syllables(vocab, pairs, bytes)) return asked_ != 0;
    }
    for (unsigned i = 0; i + 1 < size_; ++i) {
      ids_.data()[i] = vocab.byte(bytes[i]);
      merges_.data()[i] = merge_at(vocab.pair(bytes[i], bytes[i + 1]), i);
    }
    ids_.data()[size_ - 1] = vocab.byte(bytes[size_ - 1]);
    alive_ = ~Bits{0} >> (64U - size_);
    return false;
  }

  // Makes the next merge; false if there is none. What the new part merges to is asked for, and
  // looked up by the next call.
  bool merge(const Pairs& pairs) noexcept {
    const std::uint32_t best = lowest();
    if (best == kNever) return false;
    place_ = best & (kStackMerge - 1);
    const Rank rank = best >> kPlaceBits;
    Bits after = alive_ & ~Bits{1} << place_;
    merges_.data()[first(after)] = kNever;
    alive_ ^= after & (~after + 1);
    after &= after - 1;
    ids_.data()[place_] = rank;
    merges_.data()[place_] = kNever;
    end_ = first(after);
    after_ = first(after & (after - 1));
    if (end_ < size_) pairs.prefetch(rank, ids_.data()[end_]);
    before_ = alive_ & ((Bits{1} << place_) - 1);
    if (before_ != 0) pairs.prefetch(ids_.data()[last(before_)], rank);
    return true;
  }
  // REQUIRES: merge() or start() returned true since.
  void look_up(const Pairs& pairs) noexcept {
    if constexpr (Pairs::kBySyllables) {
      if (asked_ != 0) return look_up_all(pairs);
    }
    const Rank rank = ids_.data()[place_];
    if (end_ < size_) {
      const std::string_view joined(piece_.data() + place_, after_ - place_);
      merges_.data()[place_] = merge_at(pairs.find(rank, ids_.data()[end_], joined), place_);
    }
    if (before_ != 0) {
      const unsigned left = last(before_);
      const std::string_view joined(piece_.data() + left, end_ - left);
      merges_.data()[left] = merge_at(pairs.find(ids_.data()[left], rank, joined), left);
    }
  }

  std::size_t write(Rank* out) const noexcept {
    std::size_t count = 0;
    for (Bits rest = alive_; rest != 0; rest &= rest - 1) out[count++] = ids_.data()[first(rest)];
    return count;
  }

 private:
  // Starts from the syllables of a word of Hangul, maybe behind a space, as syllables.h says; false
  // if it is another piece. Pairs of whole ones are asked for.
  bool start_by_syllables(const Vocab& vocab, const Pairs& pairs,
                          const unsigned char* bytes) noexcept {
    const unsigned head = size_ % 3;
    if (head > 1 || size_ < 6 || (head == 1 && bytes[0] != ' ')) return false;
    const unsigned count = size_ / 3;
    std::array<std::uint16_t, kStackMerge / 3> numbers;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned number = Syllables::index_of(bytes + head + 3 * i);
      if (number == Syllables::kNone) return false;
      numbers.data()[i] = static_cast<std::uint16_t>(number);
    }
    std::fill_n(merges_.data(), size_, kNever);
    alive_ = 0;
    bool open_before = false;
    bool whole_before = false;  // the part before is a whole character, and no space alone
    for (unsigned i = 0; i < count; ++i) {
      const unsigned end = head + 3 * i + 3;
      const unsigned at = i == 0 ? 0 : end - 3;
      const bool open = end < size_ && pairs.syllables.open(bytes[end - 1], bytes[end]);
      Syllable found;
      if (!open && !open_before) {
        found = end - at == 4 ? pairs.syllables.behind_space(numbers.data()[i])
                              : pairs.syllables.alone(numbers.data()[i]);
      }
      if (found.count == 1 && whole_before) {
        const unsigned before = last(alive_);
        asked_ |= Bits{1} << before;
        pairs.prefetch(ids_.data()[before], found.ids[0]);
      }
      whole_before = found.count == 1;
      open_before = open;
      place(vocab, bytes, at, end, found);
    }
    return true;
  }
  // The parts of the bytes from `at` to `end`: those of `found`, or if it has none the bytes.
  void place(const Vocab& vocab, const unsigned char* bytes, unsigned at, unsigned end,
             const Syllable& found) noexcept {
    for (unsigned i = 0; i < found.count; at += found.sizes[i++]) {
      ids_.data()[at] = found.ids[i];
      alive_ |= Bits{1} << at;
    }
    for (; at < end; ++at) {
      ids_.data()[at] = vocab.byte(bytes[at]);
      alive_ |= Bits{1} << at;
      // Where the byte before is none by itself, no two bytes at the edge are a token.
      if (at > 0) merges_.data()[at - 1] = merge_at(vocab.pair(bytes[at - 1], bytes[at]), at - 1);
    }
  }
  void look_up_all(const Pairs& pairs) noexcept {
    for (; asked_ != 0; asked_ &= asked_ - 1) {
      const unsigned at = first(asked_);
      const unsigned next = first(alive_ & ~Bits{1} << at);
      merges_.data()[at] = merge_at(pairs.find(ids_.data()[at], ids_.data()[next], {}), at);
    }
  }

  static unsigned last(Bits parts) noexcept {
    return 63U - static_cast<unsigned>(std::countl_zero(parts));
  }
  // The first of these parts; the piece's end if there is none.
  [[nodiscard]] unsigned first(Bits parts) const noexcept {
    return parts == 0 ? size_ : static_cast<unsigned>(std::countr_zero(parts));
  }
  // Two by two, one number each: a vector would wait for the stores of the last merge.
  [[nodiscard, gnu::optimize("no-tree-vectorize")]] std::uint32_t lowest() const noexcept {
    std::uint32_t even = kNever;
    std::uint32_t odd = kNever;
    const std::uint32_t* const merges = merges_.data();
    unsigned i = 0;
    for (; i + 2 < size_; i += 2) {
      even = std::min(even, merges[i]);
      odd = std::min(odd, merges[i + 1]);
    }
    if (i + 1 < size_) even = std::min(even, merges[i]);
    return std::min(even, odd);
  }

  std::string_view piece_;
  unsigned size_;
  unsigned place_;  // of the last merge, and where its part and the next one end
  unsigned end_;
  unsigned after_;
  Bits before_;                             // parts before it
  Bits asked_;                              // parts whose merges with the next were asked for
  Bits alive_;                              // where parts start
  std::array<Rank, Most> ids_;              // of the part that starts there
  std::array<std::uint32_t, Most> merges_;  // of that part and the next
};

template <typename Pairs>
std::size_t merge_one(const Vocab& vocab, const Pairs& pairs, std::string_view piece,
                      Rank* out) noexcept {
  Parts<Pairs, kStackMerge> parts;
  if (parts.start(vocab, pairs, piece)) parts.look_up(pairs);
  while (parts.merge(pairs)) parts.look_up(pairs);
  return parts.write(out);
}

template <typename Pairs>
void merge_interleaved(const Vocab& vocab, const Pairs& pairs,
                       std::span<ShortPiece> pieces) noexcept {
  constexpr std::size_t kLanes = 16;
  std::array<Parts<Pairs, ShortPiece::kMostBytes>, kLanes> lanes;
  std::array<std::size_t, kLanes> of{};  // the piece in each lane
  std::size_t next = 0;
  std::size_t busy = 0;  // lanes [0, busy) are under way
  const auto fill = [&](std::size_t lane) {
    for (; next < pieces.size(); ++next) {
      ShortPiece& piece = pieces.data()[next];
      auto& parts = lanes.data()[lane];
      of.data()[lane] = next;
      if (parts.start(vocab, pairs, {piece.data, piece.size}) || parts.merge(pairs)) {
        ++next;
        return true;
      }
      piece.count = parts.write(piece.ids.data());
    }
    return false;
  };
  while (busy < kLanes && fill(busy)) ++busy;
  while (busy > 0) {
    for (std::size_t lane = 0; lane < busy;) {
      auto& parts = lanes.data()[lane];
      parts.look_up(pairs);
      if (parts.merge(pairs)) {
        ++lane;
        continue;
      }
      ShortPiece& piece = pieces.data()[of.data()[lane]];
      piece.count = parts.write(piece.ids.data());
      if (fill(lane)) {
        ++lane;
      } else if (--busy != lane) {
        parts = lanes.data()[busy];
        of.data()[lane] = of.data()[busy];
      }
    }
  }
}

}  // namespace

std::size_t merge_short(const Vocab& vocab, PairMemo& memo, std::string_view piece,
                        Rank* out) noexcept {
  if (const PairTable* table = vocab.ready_pairs()) {
    return merge_one(vocab, ByTable{*table, vocab.syllables()}, piece, out);
  }
  return merge_one(vocab, ByBytes{vocab, memo}, piece, out);
}

void make_table_when_worth(const Vocab& vocab, PairMemo& memo) {
  constexpr std::size_t kWorth = 200'000;     // questions by bytes
  constexpr std::size_t kWorthKnown = 5'000;  // where the pairs are known
  if (memo.learned() <= (vocab.pairs_known() ? kWorthKnown : kWorth)) return;
  memo.release();
  (void)vocab.pair_table();
}

void merge_group(const Vocab& vocab, PairMemo& memo, std::span<ShortPiece> pieces) noexcept {
  if (const PairTable* table = vocab.ready_pairs()) {
    merge_interleaved(vocab, ByTable{*table, vocab.syllables()}, pieces);
  } else {
    merge_interleaved(vocab, ByBytes{vocab, memo}, pieces);
  }
}

}  // namespace dure::tokenize
