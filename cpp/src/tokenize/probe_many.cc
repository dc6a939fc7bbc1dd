#include "tokenize/probe_many.h"

#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dure::tokenize {
namespace {

void find_each(const ProbeTable& table, const ShortKey* keys, const std::uint64_t* hashes,
               std::size_t count, Rank* ranks) noexcept {
  for (std::size_t i = 0; i < count; ++i) ranks[i] = table.find(keys[i], hashes[i]);
}
constexpr Prober kScalar{base::Simd::kScalar, find_each};

#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx2 {
struct Key {
  __m256i twice;
  explicit Key(const ShortKey& key) noexcept
      : twice(
            _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(&key)))) {}
  [[nodiscard]] unsigned in(const ProbeTable::Bucket& bucket) const noexcept {
    const auto* line = reinterpret_cast<const __m256i*>(&bucket);
    return half(line) | half(line + 1) << 4U;
  }
  [[nodiscard]] unsigned half(const __m256i* line) const noexcept {
    return static_cast<unsigned>(_mm256_movemask_pd(
        _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_load_si256(line), twice))));
  }
};
#include "tokenize/probe_many.inc"
}  // namespace avx2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr Prober kAvx2{base::Simd::kAvx2, avx2::find};

#ifdef __clang__
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512dq"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512dq")
#endif
namespace avx512 {
struct Key {
  __m512i four;
  explicit Key(const ShortKey& key) noexcept
      : four(_mm512_maskz_broadcast_i64x2(
            0xFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(&key)))) {}
  [[nodiscard]] unsigned in(const ProbeTable::Bucket& bucket) const noexcept {
    return _mm512_cmpeq_epi64_mask(_mm512_load_si512(&bucket), four);
  }
};
#include "tokenize/probe_many.inc"
}  // namespace avx512
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
constexpr Prober kAvx512{base::Simd::kAvx512, avx512::find};

constexpr const Prober* kAll[] = {&kAvx512, &kAvx2, &kScalar};  // widest first
#else
constexpr const Prober* kAll[] = {&kScalar};
#endif

}  // namespace

const Prober& prober() noexcept {
  static const Prober& chosen = base::widest(kAll);
  return chosen;
}

const Prober* prober_of(base::Simd simd) noexcept { return base::exactly(simd, kAll); }

}  // namespace dure::tokenize
