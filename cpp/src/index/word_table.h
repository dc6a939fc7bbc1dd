// index/word_table.h - gives each distinct 64-bit word a number: 0, 1, 2 ... by first sight.
//
// Open addressing with linear steps, at most half full. 16 B a word or less.
//
// One thread at a time; reading is const.
#ifndef DURE_SRC_INDEX_WORD_TABLE_H_
#define DURE_SRC_INDEX_WORD_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace dure::index {

class WordTable {
 public:
  [[nodiscard]] std::optional<std::uint32_t> find(std::uint64_t word) const noexcept {
    if (slots_.empty()) return std::nullopt;
    const std::uint32_t slot = slots_[slot_of(word)];
    return slot == 0 ? std::nullopt : std::optional(slot - 1);
  }
  // The number of `word`, a new one if it has none.
  std::uint32_t number_of(std::uint64_t word) {
    if (2 * (words_.size() + 1) > slots_.size()) grow();
    std::uint32_t& slot = slots_[slot_of(word)];
    if (slot == 0) {
      words_.push_back(word);
      slot = static_cast<std::uint32_t>(words_.size());
    }
    return slot - 1;
  }
  // REQUIRES: a number given out.
  [[nodiscard]] std::uint64_t word(std::size_t number) const noexcept { return words_[number]; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return words_.capacity() * sizeof(std::uint64_t) + slots_.capacity() * sizeof(std::uint32_t);
  }

 private:
  // Where `word` is or would be.
  [[nodiscard]] std::size_t slot_of(std::uint64_t word) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = (word * 0x9E3779B97F4A7C15U >> 32) & mask;
    while (slots_[at] != 0 && words_[slots_[at] - 1] != word) at = (at + 1) & mask;
    return at;
  }
  void grow() {
    slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, 0);
    for (std::size_t i = 0; i < words_.size(); ++i) {
      slots_[slot_of(words_[i])] = static_cast<std::uint32_t>(i + 1);
    }
  }

  std::vector<std::uint64_t> words_;
  std::vector<std::uint32_t> slots_;  // number + 1; 0: free
};

}  // namespace dure::index

#endif  // DURE_SRC_INDEX_WORD_TABLE_H_
