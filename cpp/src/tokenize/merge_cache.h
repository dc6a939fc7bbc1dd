// tokenize/merge_cache.h - the ids of pieces that were merged lately.
//
// A slot per hash, the newcomer replaces: what is found is always right, so answers never depend
// on the cache. Pieces of up to 15 bytes and 6 ids, and of up to 31 bytes and 12 ids;
// vocabularies with a serial below 16. With the memo of pairs 6 MB.
//
// One thread at a time: each thread has its own.
#ifndef DURE_SRC_TOKENIZE_MERGE_CACHE_H_
#define DURE_SRC_TOKENIZE_MERGE_CACHE_H_

#include <cstddef>
#include <cstdint>

#include "tokenize/huge_array.h"
#include "tokenize/pair_memo.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {

class MergeCache {
 public:
  static constexpr std::size_t kMostIds = 6;

  // This thread's; made on first use, freed when the thread ends.
  static MergeCache& of_thread();
  // Every thread's, when it asks for it next: so that a measurement meets no text that is known.
  static void forget_all() noexcept;

  // Ids of the piece copied into `out` (room for kMostIds); returns their number, 0: not known.
  std::size_t find(const ShortKey& key, std::uint64_t hash, std::uint32_t serial,
                   Rank* out) const noexcept {
    const Slot& slot = slots_.data()[hash >> kShift];
    if (slot.key != key || (slot.first & 15U) == 0 || (slot.second & 15U) != serial) return 0;
    const std::size_t count = slot.first & 15U;
    for (std::size_t i = 0; i < 3; ++i) {
      out[i] = static_cast<Rank>(slot.first >> (4 + 20 * i) & kIdMask);
      out[i + 3] = static_cast<Rank>(slot.second >> (4 + 20 * i) & kIdMask);
    }
    return count;
  }

  // The same, only the number.
  [[nodiscard]] std::uint32_t count(const ShortKey& key, std::uint64_t hash,
                                    std::uint32_t serial) const noexcept {
    const Slot& slot = slots_.data()[hash >> kShift];
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
    slots_.data()[hash >> kShift] = {key, words[0], words[1]};
  }

  // The same for pieces of 16 to 31 bytes; `out` has room for kMostLongIds.
  static constexpr std::size_t kMostLongIds = 12;
  static constexpr std::size_t kLongest = 31;
  std::size_t find_long(const LongKey& key, std::uint64_t hash, std::size_t length,
                        std::uint32_t serial, Rank* out) const noexcept {
    const LongSlot& slot = long_slots_.data()[hash >> kLongShift];
    const std::size_t count = slot.ids[0] & 15U;
    if (slot.key != key || count == 0 || (slot.ids[1] & 15U) != serial ||
        (slot.ids[2] & 15U) != length - 16) {
      return 0;
    }
    for (std::size_t i = 0; i < count; ++i) {
      out[i] = static_cast<Rank>(slot.ids[i / 3] >> (4 + 20 * (i % 3)) & kIdMask);
    }
    return count;
  }
  [[nodiscard]] std::uint32_t count_long(const LongKey& key, std::uint64_t hash, std::size_t length,
                                         std::uint32_t serial) const noexcept {
    const LongSlot& slot = long_slots_.data()[hash >> kLongShift];
    if (slot.key != key || (slot.ids[1] & 15U) != serial || (slot.ids[2] & 15U) != length - 16) {
      return 0;
    }
    return slot.ids[0] & 15U;
  }
  void prefetch_long(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&long_slots_.data()[hash >> kLongShift]);
  }
  void store_long(const LongKey& key, std::uint64_t hash, std::size_t length, std::uint32_t serial,
                  const Rank* ids, std::size_t count) noexcept {
    if (count > kMostLongIds || serial > 15) return;
    LongSlot slot{key, {count, serial, length - 16, 0}};
    for (std::size_t i = 0; i < count; ++i) {
      if (ids[i] > kIdMask) return;
      slot.ids[i / 3] |= std::uint64_t{ids[i]} << (4 + 20 * (i % 3));
    }
    long_slots_.data()[hash >> kLongShift] = slot;
  }

  [[nodiscard]] PairMemo& pairs() noexcept { return pairs_; }

  void prefetch(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&slots_.data()[hash >> kShift]);
  }

  // Forgets everything; answers stay the same.
  void clear() noexcept;

 private:
  struct alignas(32) Slot {
    ShortKey key;
    std::uint64_t first;   // number of ids, then three ids of 20 bits
    std::uint64_t second;  // serial of the vocabulary, then three ids
  };
  static constexpr unsigned kBits = 17;  // 4 MB
  static constexpr unsigned kShift = 64 - kBits;
  static constexpr std::uint64_t kIdMask = (1U << 20U) - 1;

  struct alignas(64) LongSlot {
    LongKey key;
    std::array<std::uint64_t, 4> ids;  // 4 bits of number, serial, length; three ids in each
  };
  static constexpr unsigned kLongBits = 14;  // 1 MB
  static constexpr unsigned kLongShift = 64 - kLongBits;

  MergeCache() : slots_(std::size_t{1} << kBits), long_slots_(std::size_t{1} << kLongBits) {}

  HugeArray<Slot> slots_;
  HugeArray<LongSlot> long_slots_;
  PairMemo pairs_;
  std::uint32_t generation_ = 0;  // of forget_all()
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_MERGE_CACHE_H_
