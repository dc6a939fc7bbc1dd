#include "tokenize/block_split.h"

#include <array>
#include <bit>
#include <cstring>
#include <string_view>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tokenize/piece_rules.h"

namespace dure::tokenize {
namespace {

using rules::At;
using rules::Byte;
using Mask = std::uint64_t;
constexpr std::size_t kBlock = 64;

// The classes of a block: all bytes of a character have its bit. What is no letter, number or
// space is other: symbols, and marks in the older grammars.
struct Classes {
  Mask upper = 0;
  Mask lower = 0;
  Mask caseless = 0;
  Mask number = 0;
  Mask space = 0;    // newlines too
  Mask newline = 0;  // LF, CR
  Mask blank = 0;    // ' '
  Mask quote = 0;    // '\''
  Mask slash = 0;    // '/'; o200k only
  Mask tail = 0;     // bytes 80..BF
  Mask hard = 0;     // from the lowest of these on, nothing here is certain
};

template <Grammar G>
At one_piece(At at, At end) noexcept {
  if constexpr (G == Grammar::kGpt2) return rules::Gpt2::piece(at, end);
  if constexpr (G == Grammar::kCl100k) return rules::Cl100k::piece(at, end);
  if constexpr (G == Grammar::kO200k) return rules::O200k::piece(at, end);
}

constexpr Mask up_to(unsigned bit) noexcept { return ~Mask{0} >> (63U - bit); }
constexpr unsigned lowest(Mask mask) noexcept {
  return static_cast<unsigned>(std::countr_zero(mask));
}
constexpr unsigned highest(Mask mask) noexcept {
  return 63U - static_cast<unsigned>(std::countl_zero(mask));
}
// The first bytes of runs of `mask`.
constexpr Mask starts_of(Mask mask) noexcept { return mask & ~(mask << 1); }
// Just past each run of `mask` that begins in `starts`. REQUIRES: these are first bytes of runs.
constexpr Mask past(Mask starts, Mask mask) noexcept { return (starts + mask) & ~mask; }

// The characters that the vectors left open, one by one; `at` is the block's first byte.
template <Grammar G>
[[gnu::noinline]] void decode_rest(Classes& c, Mask open, At at, At end) noexcept {
  while (open != 0) {
    const unsigned i = lowest(open);
    const text::CodePoint point =
        at + i < end ? text::decode(at + i, end) : text::CodePoint{text::kInvalid, 1};
    const text::CharClass kind = text::class_of(point.value);
    const Mask bytes = ((Mask{1} << point.length) - 1) << i;
    open &= ~bytes;
    const bool mark = kind == text::CharClass::kMark && G == Grammar::kO200k;
    if (point.value == text::kInvalid || mark || kind == text::CharClass::kSpace ||
        kind == text::CharClass::kNumber) {
      c.hard |= Mask{1} << i;
      return;
    }
    if (kind == text::CharClass::kUpper) c.upper |= bytes;
    if (kind == text::CharClass::kLower) c.lower |= bytes;
    if (kind == text::CharClass::kCaseless) c.caseless |= bytes;
  }
}

// Moves the starts at contractions: in gpt2 and cl100k they are pieces, in o200k ends of words.
struct Moved {
  Mask starts;
  Mask hard;
};
template <Grammar G>
[[gnu::noinline]] Moved with_contractions(Mask starts, Mask quotes, At at, At end) noexcept {
  Mask hard = 0;
  unsigned done = 0;  // where the last contraction ended
  for (; quotes != 0; quotes &= quotes - 1) {
    const unsigned i = lowest(quotes);
    if (G == Grammar::kO200k && i == done) continue;  // this quote starts a word
    const auto length =
        static_cast<unsigned>(rules::contraction<G != Grammar::kGpt2>(at + i + 1, end));
    if (length == 0) continue;
    done = i + 1 + length;
    if (G == Grammar::kGpt2) starts &= ~(Mask{1} << (i + 1));
    if (G == Grammar::kO200k)
      starts &= ~((up_to(i + length < 64 ? i + length : 63) & ~up_to(i)) | Mask{1} << i);
    if (done >= kBlock) break;
    starts |= Mask{1} << done;
    if (G == Grammar::kO200k && at + done < end && at[done] >= 0x80) hard |= Mask{1} << i;
  }
  return {starts, hard};
}

// The sets of instructions.

namespace scalar {
struct Bytes {
  static constexpr std::size_t kWidth = 8;
  std::array<Byte, kWidth> bytes;
  void load(At at) noexcept { std::memcpy(bytes.data(), at, kWidth); }
  [[nodiscard]] Mask within(Byte low, Byte high) const noexcept {
    Mask found = 0;
    for (std::size_t i = 0; i < kWidth; ++i) {
      found |= Mask{static_cast<Byte>(bytes[i] - low) <= static_cast<Byte>(high - low)} << i;
    }
    return found;
  }
  [[nodiscard]] Mask equal(Byte value) const noexcept { return within(value, value); }
};
#include "tokenize/block_split.inc"
}  // namespace scalar
constexpr Splitter kScalar{Simd::kScalar, "scalar", scalar::split};

#if defined(__x86_64__)
namespace sse2 {
struct Bytes {
  static constexpr std::size_t kWidth = 16;
  __m128i bytes;
  void load(At at) noexcept { bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }
  [[nodiscard]] Mask within(Byte low, Byte high) const noexcept {
    const __m128i moved = _mm_sub_epi8(bytes, _mm_set1_epi8(static_cast<char>(low)));
    const __m128i most = _mm_set1_epi8(static_cast<char>(high - low));
    return static_cast<unsigned>(
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(moved, most), moved)));
  }
  [[nodiscard]] Mask equal(Byte value) const noexcept {
    return static_cast<unsigned>(
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(static_cast<char>(value)))));
  }
};
#include "tokenize/block_split.inc"
}  // namespace sse2
constexpr Splitter kSse2{Simd::kSse2, "sse2", sse2::split};

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx2 {
struct Bytes {
  static constexpr std::size_t kWidth = 32;
  __m256i bytes;
  void load(At at) noexcept { bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
  [[nodiscard]] Mask within(Byte low, Byte high) const noexcept {
    const __m256i moved = _mm256_sub_epi8(bytes, _mm256_set1_epi8(static_cast<char>(low)));
    const __m256i most = _mm256_set1_epi8(static_cast<char>(high - low));
    return static_cast<unsigned>(
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(moved, most), moved)));
  }
  [[nodiscard]] Mask equal(Byte value) const noexcept {
    return static_cast<unsigned>(
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(static_cast<char>(value)))));
  }
};
#include "tokenize/block_split.inc"
}  // namespace avx2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr Splitter kAvx2{Simd::kAvx2, "avx2", avx2::split};

#ifdef __clang__
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512dq"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512dq")
#endif
namespace avx512 {
struct Bytes {
  static constexpr std::size_t kWidth = 64;
  __m512i bytes;
  void load(At at) noexcept { bytes = _mm512_loadu_si512(at); }
  [[nodiscard]] Mask within(Byte low, Byte high) const noexcept {
    const __m512i moved = _mm512_sub_epi8(bytes, _mm512_set1_epi8(static_cast<char>(low)));
    return _mm512_cmple_epu8_mask(moved, _mm512_set1_epi8(static_cast<char>(high - low)));
  }
  [[nodiscard]] Mask equal(Byte value) const noexcept {
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(static_cast<char>(value)));
  }
};
#include "tokenize/block_split.inc"
}  // namespace avx512
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr Splitter kAvx512{Simd::kAvx512, "avx512", avx512::split};

constexpr const Splitter* kAll[] = {&kAvx512, &kAvx2, &kSse2, &kScalar};  // widest first
#else
constexpr const Splitter* kAll[] = {&kScalar};
#endif

template <Grammar G>
std::size_t by_pieces(std::string_view text, std::size_t start, std::size_t* ends,
                      std::size_t room) noexcept {
  const auto* begin = reinterpret_cast<At>(text.data());
  const At end = begin + text.size();
  At at = begin + start;
  std::size_t count = 0;
  while (at < end && count < room) {
    at = one_piece<G>(at, end);
    ends[count++] = static_cast<std::size_t>(at - begin);
  }
  return count;
}

}  // namespace

const Splitter& splitter() noexcept {
  static const Splitter& chosen = base::widest(kAll);
  return chosen;
}

const Splitter* splitter_of(Simd simd) noexcept { return base::exactly(simd, kAll); }

std::size_t split_by_pieces(Grammar grammar, std::string_view text, std::size_t start,
                            std::size_t* ends, std::size_t room) noexcept {
  switch (grammar) {
    case Grammar::kGpt2:
      return by_pieces<Grammar::kGpt2>(text, start, ends, room);
    case Grammar::kCl100k:
      return by_pieces<Grammar::kCl100k>(text, start, ends, room);
    case Grammar::kO200k:
      return by_pieces<Grammar::kO200k>(text, start, ends, room);
  }
  return 0;
}

}  // namespace dure::tokenize
