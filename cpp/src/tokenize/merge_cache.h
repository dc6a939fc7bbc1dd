// tokenize/merge_cache.h - the ids of pieces that were merged lately.
//
// A slot per hash, the newcomer replaces: what is found is always right, so answers never depend
// on the cache. Pieces of up to 15 bytes and 6 ids; vocabularies with a serial below 16.
//
// One thread at a time: each thread has its own.
#ifndef DURE_SRC_TOKENIZE_MERGE_CACHE_H_
#define DURE_SRC_TOKENIZE_MERGE_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenize/probe_table.h"

namespace dure::tokenize {

class MergeCache {
 public:
  static constexpr std::size_t kMostIds = 6;

  // This thread's; made on first use, freed when the thread ends.
  static MergeCache& of_thread();

  // Ids of the piece copied into `out` (room for kMostIds); returns their number, 0: not known.
  std::size_t find(const ShortKey& key, std::uint64_t hash, std::uint32_t serial,
                   Rank* out) const noexcept {
    const Slot& slot = slots_[hash >> kShift];
    if (slot.key != key || (slot.first & 15U) == 0 || (slot.second & 15U) != serial) return 0;
    const std::size_t count = slot.first & 15U;
    for (std::size_t i = 0; i < 3; ++i) {
      out[i] = static_cast<Rank>(slot.first >> (4 + 20 * i) & kIdMask);
      out[i + 3] = static_cast<Rank>(slot.second >> (4 + 20 * i) & kIdMask);
    }
    return count;
  }

  // The same, only the number.
  [[nodiscard]] std::size_t count(const ShortKey& key, std::uint64_t hash,
                                  std::uint32_t serial) const noexcept {
    const Slot& slot = slots_[hash >> kShift];
    if (slot.key != key || (slot.second & 15U) != serial) return 0;
    return slot.first & 15U;
  }

  void store(const ShortKey& key, std::uint64_t hash, std::uint32_t serial, const Rank* ids,
             std::size_t count) noexcept {
    if (count > kMostIds || serial > 15) return;
    std::uint64_t words[2] = {count, serial};
    for (std::size_t i = 0; i < count; ++i) {
      if (ids[i] > kIdMask) return;
      words[i / 3] |= std::uint64_t{ids[i]} << (4 + 20 * (i % 3));
    }
    slots_[hash >> kShift] = {key, words[0], words[1]};
  }

  // Forgets everything; answers stay the same.
  void clear() noexcept;

 private:
  struct alignas(32) Slot {
    ShortKey key;
    std::uint64_t first = 0;   // number of ids, then three ids of 20 bits
    std::uint64_t second = 0;  // serial of the vocabulary, then three ids
  };
  static constexpr unsigned kBits = 17;  // 4 MB
  static constexpr unsigned kShift = 64 - kBits;
  static constexpr std::uint64_t kIdMask = (1U << 20U) - 1;

  MergeCache() : slots_(std::size_t{1} << kBits) {}

  std::vector<Slot> slots_;
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_MERGE_CACHE_H_
