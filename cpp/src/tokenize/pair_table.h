// tokenize/pair_table.h - which two tokens merge, and to what: all pairs of one vocabulary.
//
// Each token is made of one pair of tokens, for merging the bytes of a token by the ranks below
// its own leaves two; no other pair ever meets with it as what they join to. So a table of as many
// pairs as tokens answers what a search by bytes would. A filter says no to most that do not.
//
// Immutable.
#ifndef DURE_SRC_TOKENIZE_PAIR_TABLE_H_
#define DURE_SRC_TOKENIZE_PAIR_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "dure/tokenize/vocab.h"
#include "tokenize/huge_array.h"

namespace dure::tokenize {

// Ids in the tables of pairs; only vocabularies of fewer than kNoPair ranks fit.
inline constexpr unsigned kIdBits = 20;
inline constexpr Rank kNoPair = (1U << kIdBits) - 1;  // the two merge to nothing

class PairTable {
 public:
  // Null if merging does not make each token of two of lower rank, or there are too many.
  // Some 30 ms for 200,000 tokens.
  [[nodiscard]] static std::unique_ptr<const PairTable> create(const Vocab& vocab);

  // What the two merge to, or kNoPair.
  [[nodiscard]] Rank find(Rank left, Rank right) const noexcept {
    const std::uint64_t pair = pair_of(left, right);
    const std::uint64_t hash = hash_of(pair);
    if ((filter_.data()[hash >> 20U & filter_mask_] >> (hash & 63U) & 1U) == 0) return kNoPair;
    for (std::size_t slot = hash >> shift_;; slot = (slot + 1) & mask_) {
      const std::uint64_t found = slots_.data()[slot];
      if (found >> kIdBits == pair) return static_cast<Rank>(found) & kNoPair;
      if (found == kFree) return kNoPair;
    }
  }

  void prefetch(Rank left, Rank right) const noexcept {
    const std::uint64_t hash = hash_of(pair_of(left, right));
    __builtin_prefetch(&filter_.data()[hash >> 20U & filter_mask_]);
    __builtin_prefetch(&slots_.data()[hash >> shift_]);
  }

 private:
  static constexpr std::uint64_t kFree = 0;
  // Never 0.
  static std::uint64_t pair_of(Rank left, Rank right) noexcept {
    return std::uint64_t{1} << (2 * kIdBits) | std::uint64_t{left} << kIdBits | right;
  }
  static std::uint64_t hash_of(std::uint64_t pair) noexcept {
    const std::uint64_t mixed = pair * 0x9E3779B97F4A7C15ULL;
    return mixed ^ mixed >> 32U;
  }
  explicit PairTable(std::size_t tokens);
  void insert(Rank left, Rank right, Rank merged) noexcept;
  // Merges the bytes of `token` by the pairs so far and adds the last two; false if more are left.
  bool add(const Vocab& vocab, std::string_view token, Rank rank);

  unsigned shift_;
  std::size_t mask_;
  std::size_t filter_mask_;
  HugeArray<std::uint64_t> slots_;     // left, right, what they merge to: kIdBits each; top bit set
  std::vector<std::uint64_t> filter_;  // one bit a pair
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_PAIR_TABLE_H_
