// dure/tokenize/vocab.h - byte strings <-> ranks of one vocabulary.
//
// A rank is both the token's id and its merge priority (the lower merges first).
//
// Immutable.
#ifndef DURE_TOKENIZE_VOCAB_H_
#define DURE_TOKENIZE_VOCAB_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/base/page_allocator.h"
#include "dure/base/result.h"

namespace dure::tokenize {

using Rank = std::uint32_t;
inline constexpr Rank kNoRank = 0xFFFFFFFF;

class PairTable;
class ProbeTable;
class Syllables;

// The two tokens that a token is merged of.
struct TokenPair {
  Rank left;
  Rank right;
};
using TokenPairs = std::vector<TokenPair, base::PageAllocator<TokenPair>>;

class Vocab {
 public:
  // bytes[offsets[r]:offsets[r + 1]) is the token of rank r; empty: no such rank. `pairs`, if they
  // are known: what the token of rank r is merged of (single bytes have no pair; see canonical()).
  // Fails with kInvalidArgument if a token stands twice, or one of the 256 single bytes is missing
  // (then some text could not be encoded). REQUIRES: offsets ascend from 0 to bytes.size().
  [[nodiscard]] static base::Result<std::unique_ptr<Vocab>> create(
      std::vector<std::uint32_t> offsets, std::string bytes, TokenPairs pairs = {});
  // The same from tokens in any order. Ranks may have gaps, up to four times their number; a token
  // has at most 65,535 bytes.
  [[nodiscard]] static base::Result<std::unique_ptr<Vocab>> create(
      std::vector<std::pair<std::string, Rank>> tokens);
  ~Vocab();
  Vocab(const Vocab&) = delete;
  Vocab& operator=(const Vocab&) = delete;

  // Highest rank + 1, gaps included.
  [[nodiscard]] std::size_t size() const noexcept { return offsets_.size() - 1; }
  // Empty for a rank that does not exist.
  [[nodiscard]] std::string_view token(Rank rank) const noexcept {
    if (rank >= size()) return {};
    return {bytes_.data() + offsets_[rank], offsets_[rank + 1] - offsets_[rank]};
  }
  // kNoRank if `bytes` is no token.
  [[nodiscard]] Rank find(std::string_view bytes) const noexcept;
  // kNoRank if the two bytes are no token.
  [[nodiscard]] Rank pair(unsigned char first, unsigned char second) const noexcept {
    return pairs_[static_cast<std::size_t>(first) << 8 | second];
  }
  [[nodiscard]] Rank byte(unsigned char value) const noexcept { return singles_[value]; }
  [[nodiscard]] std::size_t longest() const noexcept { return longest_; }
  // Different for each vocabulary of this process; never reused.
  [[nodiscard]] std::uint32_t serial() const noexcept { return serial_; }
  [[nodiscard]] const ProbeTable& table() const noexcept { return *table_; }
  // Does merging the bytes of each token make that token, of two of lower rank? Long pieces ask;
  // found out on first use if it was not known.
  [[nodiscard]] bool canonical() const { return pairs_known_ || pair_table() != nullptr; }
  // All pairs that merge, made on first use: some 3 ms if they are known, else 30 ms. Null if this
  // vocabulary is not canonical.
  [[nodiscard]] const PairTable* pair_table() const;
  [[nodiscard]] bool pairs_known() const noexcept { return pairs_known_; }
  // The same if it is there already, else null.
  [[nodiscard]] const PairTable* ready_pairs() const noexcept {
    return ready_pairs_.load(std::memory_order_acquire);
  }
  // REQUIRES: ready_pairs() is there.
  [[nodiscard]] const Syllables& syllables() const noexcept { return *syllables_; }

 private:
  Vocab(std::vector<std::uint32_t> offsets, std::string bytes, TokenPairs pairs);
  base::Status index();

  std::vector<std::uint32_t> offsets_;
  std::string bytes_;
  std::unique_ptr<ProbeTable> table_;
  std::vector<Rank> pairs_;
  std::vector<Rank> singles_;
  std::size_t longest_ = 0;
  std::uint32_t serial_ = 0;
  bool pairs_known_ = false;
  mutable std::once_flag pairs_once_;  // guards the making of pair_table_ and syllables_
  mutable TokenPairs known_pairs_;     // until then
  mutable std::unique_ptr<const PairTable> pair_table_;
  mutable std::unique_ptr<const Syllables> syllables_;
  mutable std::atomic<const PairTable*> ready_pairs_{nullptr};
};

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_VOCAB_H_
