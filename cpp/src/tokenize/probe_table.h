// tokenize/probe_table.h - token bytes -> rank in one cache line.
//
// Tokens of up to 15 bytes (98 % and more of all) lie with their bytes in buckets of three; a full
// bucket points on to the next. Longer ones: open addressing on their ranks.
//
// Immutable once filled.
#ifndef DURE_SRC_TOKENIZE_PROBE_TABLE_H_
#define DURE_SRC_TOKENIZE_PROBE_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "dure/tokenize/vocab.h"
#include "tokenize/huge_array.h"

namespace dure::tokenize {

inline constexpr std::size_t kShort = 15;  // longest piece that fits a ShortKey

// Up to 15 bytes, zero-padded; the length in the last byte. Never all zero.
struct ShortKey {
  std::uint64_t low;
  std::uint64_t high;
  friend bool operator==(const ShortKey&, const ShortKey&) = default;
};

inline constexpr ShortKey kNoKey{0, ~std::uint64_t{0}};  // of no piece

// Keeps the first n of 16 bytes.
struct KeyMask {
  std::uint64_t low;
  std::uint64_t high;
};
inline constexpr auto kKeyMasks = [] {
  std::array<KeyMask, kShort + 1> masks{};
  for (unsigned n = 0; n <= kShort; ++n) {
    masks[n].low = n >= 8 ? ~0ULL : (1ULL << (8 * n)) - 1;
    masks[n].high = n <= 8 ? 0 : (1ULL << (8 * (n - 8))) - 1;
  }
  return masks;
}();

// REQUIRES: 1 <= length <= kShort; `at` to `end` (>= length bytes) may be read.
inline ShortKey short_key(const char* at, std::size_t length, const char* end) noexcept {
  const KeyMask& mask = kKeyMasks[length];
  ShortKey key{0, 0};
  if (end - at >= 16) [[likely]] {
    std::memcpy(&key.low, at, 8);
    std::memcpy(&key.high, at + 8, 8);
  } else {
    std::memcpy(&key, at, length);
  }
  return {key.low & mask.low, (key.high & mask.high) | std::uint64_t{length} << 56U};
}

inline std::uint64_t hash_of(const ShortKey& key) noexcept {
  return (key.low * 0x9E3779B97F4A7C15ULL) ^ (key.high * 0xC2B2AE3D27D4EB4FULL);
}

// More than kShort bytes: its first and last 16, which may overlap. Up to 32 bytes they are all.
struct LongKey {
  std::array<std::uint64_t, 4> words{};
  friend bool operator==(const LongKey&, const LongKey&) = default;
};

// REQUIRES: bytes.size() > kShort.
inline LongKey long_key(std::string_view bytes) noexcept {
  LongKey key;
  std::memcpy(key.words.data(), bytes.data(), 16);
  std::memcpy(key.words.data() + 2, bytes.data() + bytes.size() - 16, 16);
  return key;
}

inline std::uint64_t hash_of(const LongKey& key, std::size_t length) noexcept {
  const std::uint64_t head = hash_of(ShortKey{key.words[0], key.words[1]});
  const std::uint64_t tail = hash_of(ShortKey{key.words[3], key.words[2]});
  return (head ^ (tail >> 29U | tail << 35U) ^ length) * 0xD6E8FEB86659FD93ULL;
}

class ProbeTable {
 public:
  // `bytes` and `offsets` (vocab.h) outlive this table and do not move. Fails with
  // kInvalidArgument if a token stands twice.
  static base::Result<std::unique_ptr<ProbeTable>> create(std::string_view bytes,
                                                          std::span<const std::uint32_t> offsets);

  static constexpr std::size_t kSlots = 3;
  // A word is a rank plus one; the last is 0, or that of kElsewhere.
  struct alignas(64) Bucket {
    ShortKey keys[kSlots];  // high == 0: the slot is free
    std::uint32_t words[kSlots + 1];
  };
  static constexpr Rank kElsewhere = kNoRank - 1;  // a key of this bucket lies in the next
  [[nodiscard]] const Bucket* home(std::uint64_t hash) const noexcept {
    return buckets_ + (hash >> shift_);
  }

  // REQUIRES: hash == hash_of(key).
  [[nodiscard]] Rank find(const ShortKey& key, std::uint64_t hash) const noexcept {
    const Bucket* bucket = home(hash);
    while (true) {
      // Chosen by arithmetic, not by branches: the slot cannot be foreseen. kNoRank is all ones.
      const Rank rank = ((bucket->words[0] - 1) | unlike(bucket->keys[0], key)) &
                        ((bucket->words[1] - 1) | unlike(bucket->keys[1], key)) &
                        ((bucket->words[2] - 1) | unlike(bucket->keys[2], key));
      // One branch, hardly ever taken: a full bucket alone says nothing.
      const bool elsewhere = (bucket->words[kSlots] != 0) & (rank == kNoRank);
      if (!elsewhere) [[likely]]
        return rank;
      bucket = bucket == last_ ? buckets_ : bucket + 1;
    }
  }
  void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(home(hash)); }
  void prefetch_long(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&long_.data()[hash >> long_shift_]);
  }
  // REQUIRES: bytes.size() > kShort.
  [[nodiscard]] Rank find_long(std::string_view bytes) const noexcept {
    return find_long(bytes, hash_of(long_key(bytes), bytes.size()));
  }
  // REQUIRES: hash == hash_of(long_key(bytes), bytes.size()).
  [[nodiscard]] Rank find_long(std::string_view bytes, std::uint64_t hash) const noexcept {
    const std::size_t mask = long_.size() - 1;
    for (std::size_t slot = hash >> long_shift_;; slot = (slot + 1) & mask) {
      const LongSlot& found = long_[slot];
      if (found.rank == kNoRank) return kNoRank;
      if (found.tag == static_cast<std::uint32_t>(hash) && token(found.rank) == bytes) {
        return found.rank;
      }
    }
  }

 private:
  // 0 if they are equal, else all ones.
  static Rank unlike(const ShortKey& a, const ShortKey& b) noexcept {
#if defined(__SSE2__)
    const auto load = [](const ShortKey& key) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(&key));
    };
    const int same = _mm_movemask_epi8(_mm_cmpeq_epi8(load(a), load(b)));  // 16 bits
    return static_cast<Rank>((same + 1) >> 16) - 1;
#else
    return Rank{a == b} - 1;
#endif
  }
  ProbeTable(std::string_view bytes, std::span<const std::uint32_t> offsets) noexcept
      : bytes_(bytes), offsets_(offsets) {}
  bool fill();
  bool insert_short(const ShortKey& key, std::uint64_t hash, Rank rank) noexcept;
  bool insert_long(std::string_view token, Rank rank) noexcept;
  [[nodiscard]] std::string_view token(Rank rank) const noexcept {
    return bytes_.substr(offsets_[rank], offsets_[rank + 1] - offsets_[rank]);
  }

  std::string_view bytes_;
  std::span<const std::uint32_t> offsets_;
  std::optional<HugeArray<Bucket>> memory_;
  Bucket* buckets_ = nullptr;
  Bucket* last_ = nullptr;
  unsigned shift_ = 0;
  struct LongSlot {
    std::uint32_t tag = 0;  // low half of the hash
    Rank rank = kNoRank;
  };
  std::vector<LongSlot> long_;  // size a power of two, half of it free at least
  unsigned long_shift_ = 0;
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_PROBE_TABLE_H_
