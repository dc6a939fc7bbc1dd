#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "tokenize/merge.h"

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
  const PairTable& table;
  Rank operator()(Rank left, Rank right, std::string_view /*joined*/) const noexcept {
    return table.find(left, right);
  }
};
struct ByBytes {
  const Vocab& vocab;
  PairMemo& memo;
  Rank operator()(Rank left, Rank right, std::string_view joined) const noexcept {
    return memo.find(vocab, left, right, joined);
  }
};

// The parts of a piece. Each stands at its first byte; no array is ever moved.
template <typename Pairs>
class Parts {
 public:
  Parts(const Vocab& vocab, Pairs pairs, std::string_view piece) noexcept
      : pairs_(pairs), piece_(piece), size_(static_cast<unsigned>(piece.size())) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(piece.data());
    for (unsigned i = 0; i + 1 < size_; ++i) {
      ids_[i] = vocab.byte(bytes[i]);
      merges_[i] = merge_at(vocab.pair(bytes[i], bytes[i + 1]), i);
    }
    ids_[size_ - 1] = vocab.byte(bytes[size_ - 1]);
    alive_ = ~Bits{0} >> (64U - size_);
  }

  // Does the next merge; false if there is none.
  bool merge() noexcept {
    const std::uint32_t best = lowest();
    if (best == kNever) return false;
    const unsigned place = best & (kStackMerge - 1);
    const Rank rank = best >> kPlaceBits;
    Bits after = alive_ & ~Bits{1} << place;
    merges_[first(after)] = kNever;
    alive_ ^= after & (~after + 1);
    after &= after - 1;
    ids_[place] = rank;
    const unsigned end = first(after);  // of the new part
    merges_[place] = kNever;
    if (after != 0) {
      const std::string_view joined(piece_.data() + place, first(after & (after - 1)) - place);
      merges_[place] = merge_at(pairs_(rank, ids_[end], joined), place);
    }
    const Bits before = alive_ & ((Bits{1} << place) - 1);
    if (before != 0) {
      const auto left = 63U - static_cast<unsigned>(std::countl_zero(before));
      const std::string_view joined(piece_.data() + left, end - left);
      merges_[left] = merge_at(pairs_(ids_[left], rank, joined), left);
    }
    return true;
  }

  std::size_t write(Rank* out) const noexcept {
    std::size_t count = 0;
    for (Bits rest = alive_; rest != 0; rest &= rest - 1) out[count++] = ids_[first(rest)];
    return count;
  }

 private:
  // The first of these parts; the piece's end if there is none.
  [[nodiscard]] unsigned first(Bits parts) const noexcept {
    return parts == 0 ? size_ : static_cast<unsigned>(std::countr_zero(parts));
  }
  // Two by two, one number each: a vector would wait for the stores of the last merge.
  [[nodiscard, gnu::optimize("no-tree-vectorize")]] std::uint32_t lowest() const noexcept {
    std::uint32_t even = kNever;
    std::uint32_t odd = kNever;
    unsigned i = 0;
    for (; i + 2 < size_; i += 2) {
      even = std::min(even, merges_[i]);
      odd = std::min(odd, merges_[i + 1]);
    }
    if (i + 1 < size_) even = std::min(even, merges_[i]);
    return std::min(even, odd);
  }

  Pairs pairs_;
  std::string_view piece_;
  unsigned size_;
  Bits alive_;                                     // where parts start
  std::array<Rank, kStackMerge> ids_;              // of the part that starts there
  std::array<std::uint32_t, kStackMerge> merges_;  // of that part and the next
};

template <typename Pairs>
std::size_t merge_by(const Vocab& vocab, Pairs pairs, std::string_view piece, Rank* out) noexcept {
  Parts<Pairs> parts(vocab, pairs, piece);
  while (parts.merge()) {
  }
  return parts.write(out);
}

}  // namespace

std::size_t merge_short(const Vocab& vocab, PairMemo& memo, std::string_view piece,
                        Rank* out) noexcept {
  if (const PairTable* table = vocab.ready_pairs())
    return merge_by(vocab, ByTable{*table}, piece, out);
  return merge_by(vocab, ByBytes{vocab, memo}, piece, out);
}

}  // namespace dure::tokenize
