#include "text/byte_scan.h"

#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "dure/text/utf8.h"

namespace dure::text {
namespace {

using Mask = std::uint64_t;
using Row = std::array<std::uint8_t, 16>;

// Pairs of bytes that are a mistake (Unicode 16.0, table 3-7), each as three sets of half bytes:
// upper and lower half of the first, upper half of the second. Bit n of a set: the half is n.
struct BadPair {
  unsigned upper;
  unsigned lower;
  unsigned next;
};
constexpr unsigned kAny = 0xFFFF;
constexpr unsigned kTails = 0x0F00;  // 80..BF
constexpr std::array<BadPair, 8> kBadPairs{{
    {0xF000, kAny, kAny & ~kTails},  // a lead without a tail
    {0x00FF, kAny, kTails},          // ASCII, then a tail
    {0x1000, 0x0003, kTails},        // C0, C1: too long a form
    {0x4000, 0x0001, 0x0300},        // E0 80..9F: too long a form
    {0x4000, 0x2000, 0x0C00},        // ED A0..BF: a surrogate
    {0x8000, 0xFFE1, 0x0100},        // F0 80..8F: too long a form; F5 and up
    {0x8000, 0xFFF0, 0x0E00},        // F4 90 and up: above U+10FFFF; F5 and up
    {0x0F00, kAny, kTails},          // two tails: a mistake only where no third byte is expected
}};

// For each half byte the pairs that it may be part of.
constexpr Row pairs_by(unsigned BadPair::* half) noexcept {
  Row row{};
  for (std::size_t rule = 0; rule < kBadPairs.size(); ++rule)
    for (std::size_t n = 0; n < row.size(); ++n)
      if ((kBadPairs[rule].*half >> n & 1U) != 0)
        row[n] = static_cast<std::uint8_t>(row[n] | 1U << rule);
  return row;
}
constexpr Row kUpper = pairs_by(&BadPair::upper);
constexpr Row kLower = pairs_by(&BadPair::lower);
constexpr Row kNext = pairs_by(&BadPair::next);
constexpr Row kBits{1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

// The sets of instructions.

namespace scalar {
struct Bytes {
  static constexpr std::size_t kWidth = 8;
  struct Set {
    explicit Set(const ByteSet& of) noexcept : has(of.has) {}
    const std::array<bool, 256>& has;
  };
  const char* at;
  explicit Bytes(const char* from) noexcept : at(from) {}
  template <typename Is>
  [[nodiscard]] Mask where(Is is) const noexcept {
    Mask found = 0;
    for (std::size_t i = 0; i < kWidth; ++i)
      found |= Mask{is(static_cast<unsigned char>(at[i]))} << i;
    return found;
  }
  [[nodiscard]] Mask in(const Set& set) const noexcept {
    return where([&set](unsigned char byte) { return set.has[byte]; });
  }
  [[nodiscard]] Mask equal(unsigned char value) const noexcept {
    return where([value](unsigned char byte) { return byte == value; });
  }
  [[nodiscard]] Mask at_least(unsigned char value) const noexcept {
    return where([value](unsigned char byte) { return byte >= value; });
  }
  [[nodiscard]] Mask tails() const noexcept {
    return where([](unsigned char byte) { return (byte & 0xC0U) == 0x80U; });
  }
  [[nodiscard]] Mask mistakes_before(const Bytes& next, Mask expected) const noexcept {
    Mask wrong = 0;
    Mask two_tails = 0;
    for (std::size_t i = 0; i < kWidth; ++i) {
      const auto byte = static_cast<unsigned char>(at[i]);
      const unsigned pairs = kUpper[byte >> 4U] & kLower[byte & 15U] &
                             kNext[static_cast<unsigned char>(next.at[i]) >> 4U];
      wrong |= Mask{(pairs & 0x7FU) != 0} << i;
      two_tails |= Mask{pairs >> 7U} << i;
    }
    return wrong | (two_tails ^ expected);
  }
};
#include "text/byte_scan.inc"
}  // namespace scalar
constexpr ByteScan kScalar{
    Simd::kScalar,         "scalar",      scalar::find, scalar::find_end_mark,
    scalar::find_word_end, scalar::count, scalar::check};

#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx2 {
inline __m256i row_of(const Row& row) noexcept {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row.data())));
}
struct Bytes {
  static constexpr std::size_t kWidth = 32;
  struct Set {
    explicit Set(const ByteSet& of) noexcept : low(row_of(of.low)), high(row_of(of.high)) {}
    __m256i low;
    __m256i high;
  };
  __m256i bytes;
  explicit Bytes(const char* from) noexcept
      : bytes(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))) {}
  static Mask mask(__m256i hits) noexcept {
    return static_cast<unsigned>(_mm256_movemask_epi8(hits));
  }
  static __m256i all(unsigned value) noexcept { return _mm256_set1_epi8(static_cast<char>(value)); }
  [[nodiscard]] __m256i upper() const noexcept {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), all(0x0F));
  }
  [[nodiscard]] Mask in(const Set& set) const noexcept {
    const __m256i row =
        _mm256_or_si256(_mm256_shuffle_epi8(set.low, bytes),
                        _mm256_shuffle_epi8(set.high, _mm256_xor_si256(bytes, all(0x80))));
    const __m256i bit = _mm256_shuffle_epi8(row_of(kBits), upper());
    return mask(_mm256_cmpeq_epi8(_mm256_and_si256(row, bit), bit));
  }
  [[nodiscard]] Mask equal(unsigned char value) const noexcept {
    return mask(_mm256_cmpeq_epi8(bytes, all(value)));
  }
  [[nodiscard]] Mask at_least(unsigned char value) const noexcept {
    return mask(_mm256_cmpeq_epi8(_mm256_max_epu8(bytes, all(value)), bytes));
  }
  [[nodiscard]] Mask tails() const noexcept {
    return mask(_mm256_cmpgt_epi8(_mm256_set1_epi8(-64), bytes));
  }
  [[nodiscard]] Mask mistakes_before(const Bytes& next, Mask expected) const noexcept {
    const __m256i lower = _mm256_and_si256(bytes, all(0x0F));
    const __m256i pairs =
        _mm256_and_si256(_mm256_and_si256(_mm256_shuffle_epi8(row_of(kUpper), upper()),
                                          _mm256_shuffle_epi8(row_of(kLower), lower)),
                         _mm256_shuffle_epi8(row_of(kNext), next.upper()));
    const __m256i rules = _mm256_and_si256(pairs, all(0x7F));
    const Mask wrong = mask(_mm256_cmpgt_epi8(rules, _mm256_setzero_si256()));
    return wrong | (mask(pairs) ^ expected);
  }
};
#include "text/byte_scan.inc"
}  // namespace avx2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr ByteScan kAvx2{Simd::kAvx2,         "avx2",      avx2::find, avx2::find_end_mark,
                         avx2::find_word_end, avx2::count, avx2::check};

#ifdef __clang__
#pragma clang attribute push(                                                        \
    __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl")
#endif
// g++ 12 takes the undefined lanes of its own header for mistakes.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
namespace avx512 {
inline __m512i row_of(const Row& row) noexcept {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row.data())));
}
struct Bytes {
  static constexpr std::size_t kWidth = 64;
  struct Set {
    explicit Set(const ByteSet& of) noexcept : low(row_of(of.low)), high(row_of(of.high)) {}
    __m512i low;
    __m512i high;
  };
  __m512i bytes;
  explicit Bytes(const char* from) noexcept : bytes(_mm512_loadu_si512(from)) {}
  static __m512i all(unsigned value) noexcept { return _mm512_set1_epi8(static_cast<char>(value)); }
  [[nodiscard]] __m512i upper() const noexcept {
    return _mm512_and_si512(_mm512_srli_epi16(bytes, 4), all(0x0F));
  }
  [[nodiscard]] Mask in(const Set& set) const noexcept {
    const __m512i row =
        _mm512_or_si512(_mm512_shuffle_epi8(set.low, bytes),
                        _mm512_shuffle_epi8(set.high, _mm512_xor_si512(bytes, all(0x80))));
    return _mm512_test_epi8_mask(row, _mm512_shuffle_epi8(row_of(kBits), upper()));
  }
  [[nodiscard]] Mask equal(unsigned char value) const noexcept {
    return _mm512_cmpeq_epi8_mask(bytes, all(value));
  }
  [[nodiscard]] Mask at_least(unsigned char value) const noexcept {
    return _mm512_cmpge_epu8_mask(bytes, all(value));
  }
  [[nodiscard]] Mask tails() const noexcept {
    return _mm512_cmplt_epi8_mask(bytes, _mm512_set1_epi8(-64));
  }
  [[nodiscard]] Mask mistakes_before(const Bytes& next, Mask expected) const noexcept {
    const __m512i lower = _mm512_and_si512(bytes, all(0x0F));
    const __m512i pairs =
        _mm512_and_si512(_mm512_and_si512(_mm512_shuffle_epi8(row_of(kUpper), upper()),
                                          _mm512_shuffle_epi8(row_of(kLower), lower)),
                         _mm512_shuffle_epi8(row_of(kNext), next.upper()));
    return _mm512_test_epi8_mask(pairs, all(0x7F)) | (_mm512_movepi8_mask(pairs) ^ expected);
  }
};
#include "text/byte_scan.inc"
}  // namespace avx512
#pragma GCC diagnostic pop
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr ByteScan kAvx512{
    Simd::kAvx512,         "avx512",      avx512::find, avx512::find_end_mark,
    avx512::find_word_end, avx512::count, avx512::check};

constexpr const ByteScan* kAll[] = {&kAvx512, &kAvx2, &kScalar};  // widest first
#else
constexpr const ByteScan* kAll[] = {&kScalar};
#endif

}  // namespace

const ByteScan& byte_scan() noexcept {
  static const ByteScan& chosen = base::widest(kAll);
  return chosen;
}

std::size_t find_byte(const ByteSet& set, std::string_view text, std::size_t from,
                      std::size_t end) noexcept {
  return byte_scan().find(set, text, from, end);
}

const ByteScan* byte_scan_of(Simd simd) noexcept { return base::exactly(simd, kAll); }

}  // namespace dure::text
