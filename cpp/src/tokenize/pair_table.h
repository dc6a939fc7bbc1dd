// tokenize/pair_table.h - which two tokens merge, and to what: all pairs of one vocabulary.
//
// Each token is made of one pair of tokens, for merging the bytes of a token by the ranks below
// its own leaves two; no other pair ever meets with it as what they join to. So a table of as many
// pairs as tokens answers what a search by bytes would. Half of it is free: to most pairs that
// merge to nothing the first or second slot says so.
//
// Immutable.
#ifndef DURE_SRC_TOKENIZE_PAIR_TABLE_H_
#define DURE_SRC_TOKENIZE_PAIR_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
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
  // The same where they are known, by rank; the first 256 ranks and those whose parts are not
  // lower have none. REQUIRES: fewer than kNoPair.
  [[nodiscard]] static std::unique_ptr<const PairTable> of(std::span<const TokenPair> pairs);

  // What the two merge to, or kNoPair.
  [[nodiscard]] Rank find(Rank left, Rank right) const noexcept {
    const std::uint64_t pair = pair_of(left, right);
    const std::uint64_t hash = hash_of(pair);
    for (std::size_t slot = home(hash);; slot = next(slot)) {
      const std::uint64_t found = slots_.data()[slot];
      if (found >> kIdBits == pair) return static_cast<Rank>(found) & kNoPair;
      if (found == kFree) return kNoPair;
    }
  }

  // Calls see(left, right, merged) for every pair, in no order.
  template <typename See>
  void each(See see) const {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const std::uint64_t slot = slots_.data()[i];
      if (slot == kFree) continue;
      see(static_cast<Rank>(slot >> (2 * kIdBits)) & kNoPair,
          static_cast<Rank>(slot >> kIdBits) & kNoPair, static_cast<Rank>(slot) & kNoPair);
    }
  }

  void prefetch(Rank left, Rank right) const noexcept {
    const std::uint64_t hash = hash_of(pair_of(left, right));
    __builtin_prefetch(&slots_.data()[home(hash)]);
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
  [[nodiscard]] std::size_t home(std::uint64_t hash) const noexcept {
    return (hash >> 32U) * slots_.size() >> 32U;
  }
  [[nodiscard]] std::size_t next(std::size_t slot) const noexcept {
    return slot + 1 == slots_.size() ? 0 : slot + 1;
  }
  explicit PairTable(std::size_t tokens) : slots_(2 * tokens + 2) {}
  void insert(Rank left, Rank right, Rank merged) noexcept;
  // Merges the bytes of `token` by the pairs so far and adds the last two; false if more are left.
  bool add(const Vocab& vocab, std::string_view token, Rank rank);

  HugeArray<std::uint64_t> slots_;  // left, right, what they merge to: kIdBits each; top bit set
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_PAIR_TABLE_H_
