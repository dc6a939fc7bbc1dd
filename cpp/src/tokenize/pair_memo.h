// tokenize/pair_memo.h - what two tokens side by side merge to, as asked for lately.
//
// A slot per hash, the newcomer replaces: what is found is always right, so answers never depend
// on the memo. One load of eight bytes instead of a key, its hash and a line of the vocabulary.
// It serves until the table of all pairs is worth its making. 1 MB.
//
// One thread at a time: each thread has its own.
#ifndef DURE_SRC_TOKENIZE_PAIR_MEMO_H_
#define DURE_SRC_TOKENIZE_PAIR_MEMO_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dure/tokenize/vocab.h"
#include "tokenize/huge_array.h"
#include "tokenize/pair_table.h"

namespace dure::tokenize {

class PairMemo {
 public:
  static bool fits(const Vocab& vocab) noexcept { return vocab.size() < kNoPair; }

  PairMemo() : slots_(std::size_t{1} << kBits) {}

  // The rank of tokens `left` and `right` joined, whose bytes are `joined`; kNoPair: no token.
  // REQUIRES: fits(vocab).
  Rank find(const Vocab& vocab, Rank left, Rank right, std::string_view joined) noexcept {
    const std::uint64_t pair = std::uint64_t{left} << kIdBits | right;
    const std::uint64_t key = pair << kSerialBits | (vocab.serial() & kSerialMask);
    std::uint64_t& slot = slots_.data()[pair * 0x9E3779B97F4A7C15ULL >> (64 - kBits)];
    if (slot >> kIdBits == key && vocab.serial() <= kSerialMask) [[likely]] {
      return static_cast<Rank>(slot) & kNoPair;
    }
    return learn(vocab, key, joined, slot);
  }
  void prefetch(Rank left, Rank right) const noexcept {
    const std::uint64_t pair = std::uint64_t{left} << kIdBits | right;
    __builtin_prefetch(&slots_.data()[pair * 0x9E3779B97F4A7C15ULL >> (64 - kBits)]);
  }
  // How often the vocabulary had to be asked since release().
  [[nodiscard]] std::size_t learned() const noexcept { return learned_; }
  // Forgets everything; answers stay the same.
  void clear() noexcept { slots_.clear(); }
  // The same where it is not needed any more: its memory goes too.
  void release() noexcept {
    learned_ = 0;
    slots_.release();
  }

 private:
  static constexpr unsigned kBits = 17;
  static constexpr unsigned kSerialBits =
      4;  // a serial is never 0, so no key is that of a free slot
  static constexpr std::uint32_t kSerialMask = (1U << kSerialBits) - 1;

  [[gnu::noinline]] Rank learn(const Vocab& vocab, std::uint64_t key, std::string_view joined,
                               std::uint64_t& slot) noexcept {
    const Rank rank = std::min(vocab.find(joined), kNoPair);
    ++learned_;
    slot = key << kIdBits | rank;
    if (vocab.serial() > kSerialMask) slot = 0;
    return rank;
  }

  std::size_t learned_ = 0;
  HugeArray<std::uint64_t> slots_;  // left, right: kIdBits each; serial; what they merge to
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_PAIR_MEMO_H_
