// tokenize/syllables.h - what Hangul syllables are merged to, where nothing beside them can change
// that: so that merging a Korean word starts from syllables and not from bytes.
//
// Merging goes by rank, and a token's parts have lower ranks than it; so merges that touch no
// common byte may be made in any order. The merges within a character touch no other's unless a
// token begins or ends within a character and goes on over its edge. Few tokens do: an edge is
// open if its two bytes stand side by side in one of them. A character between edges that are not
// open is merged as it is alone. So is one behind a space, which has such tokens in most
// vocabularies, if it never stands by itself on the way: then no other merge could take it.
//
// Thread-safe: filled as it is asked, the same whoever asks.
#ifndef DURE_SRC_TOKENIZE_SYLLABLES_H_
#define DURE_SRC_TOKENIZE_SYLLABLES_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dure/tokenize/vocab.h"

namespace dure::tokenize {

class PairTable;

// The tokens of one syllable.
struct Syllable {
  static constexpr std::size_t kMost = 3;
  unsigned count = 0;  // 0: it must be merged with what is beside it
  std::array<Rank, kMost> ids{};
  std::array<unsigned char, kMost> sizes{};  // in bytes
};

class Syllables {
 public:
  static constexpr unsigned kNone = 0xFFFF;
  static constexpr unsigned kNumber = 11'172;

  // `vocab` and `table`, which is its own, outlive this object. Some 2 ms for 200,000 tokens.
  Syllables(const Vocab& vocab, const PairTable& table);

  // The number of the syllable in three bytes, or kNone.
  static unsigned index_of(const unsigned char* at) noexcept {
    const unsigned value = (at[0] & 0x0FU) << 12U | (at[1] & 0x3FU) << 6U | (at[2] & 0x3FU);
    const bool whole = (at[0] & 0xF0U) == 0xE0U && (at[1] & 0xC0U) == 0x80U &&
                       (at[2] & 0xC0U) == 0x80U && value - kFirst < kNumber;
    return whole ? value - kFirst : kNone;
  }
  // Is the edge between a character that ends in `left` and one that begins with `right` open?
  [[nodiscard]] bool open(unsigned char left, unsigned char right) const noexcept {
    return (open_[left] >> (right & 0x0FU) & 1U) != 0;
  }
  // REQUIRES for both: index < kNumber; the edges of the syllable are not open, or those of the
  // text.
  [[nodiscard]] Syllable alone(unsigned index) const noexcept { return at(index, false); }
  [[nodiscard]] Syllable behind_space(unsigned index) const noexcept {
    return at(index + kNumber, true);
  }

 private:
  static constexpr unsigned kFirst = 0xAC00;

  void note_edges(std::string_view token) noexcept;
  [[nodiscard]] Syllable at(unsigned slot, bool space) const noexcept {
    std::uint64_t packed = slots_[slot].load(std::memory_order_relaxed);
    if (packed == 0) [[unlikely]] {
      packed = merge(slot, space);
      slots_[slot].store(packed, std::memory_order_relaxed);
    }
    return unpack(packed, space);
  }
  [[nodiscard]] std::uint64_t merge(unsigned slot, bool space) const noexcept;
  static Syllable unpack(std::uint64_t packed, bool space) noexcept;

  const Vocab& vocab_;
  const PairTable& table_;
  std::array<std::uint16_t, 256> open_{};  // by the left byte: a bit for each E0..EF on the right
  mutable std::vector<std::atomic<std::uint64_t>> slots_;  // alone, then those behind a space
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_SYLLABLES_H_
