#include "dure/index/kernels.h"

#include <array>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#pragma GCC diagnostic push  // g++ 12: its own header leaves "undefined" registers uninitialised
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace dure::index {
namespace {

// A table's dot_codes4 where one row after the other is as good.
template <std::int32_t (*kDot)(const std::uint8_t*, const std::int8_t*, std::size_t) noexcept>
void one_by_one(const std::uint8_t* const codes[4], const std::int8_t* query, std::size_t n,
                std::int32_t out[4]) noexcept {
  for (std::size_t row = 0; row < 4; ++row) out[row] = kDot(codes[row], query, n);
}

template <float (*kDot)(const float*, const float*, std::size_t) noexcept>
void one_by_one(const float* const rows[4], const float* query, std::size_t n,
                float out[4]) noexcept {
  for (std::size_t row = 0; row < 4; ++row) out[row] = kDot(rows[row], query, n);
}

float dot_tail(const float* a, const float* b, std::size_t from, std::size_t n) noexcept {
  float sum = 0;
  for (std::size_t i = from; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

float squared_l2_tail(const float* a, const float* b, std::size_t from, std::size_t n) noexcept {
  float sum = 0;
  for (std::size_t i = from; i < n; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

std::int32_t dot_codes_tail(const std::uint8_t* codes, const std::int8_t* query, std::size_t from,
                            std::size_t n) noexcept {
  std::int32_t sum = 0;
  for (std::size_t i = from; i < n; ++i) sum += std::int32_t{codes[i]} * std::int32_t{query[i]};
  return sum;
}

#if !defined(__x86_64__)

float dot_scalar(const float* a, const float* b, std::size_t n) noexcept {
  return dot_tail(a, b, 0, n);
}
float squared_l2_scalar(const float* a, const float* b, std::size_t n) noexcept {
  return squared_l2_tail(a, b, 0, n);
}
std::int32_t dot_codes_scalar(const std::uint8_t* codes, const std::int8_t* query,
                              std::size_t n) noexcept {
  return dot_codes_tail(codes, query, 0, n);
}

#else

// ---- SSE2: what every x86-64 has; called scalar, as it is the table without a choice ----

float sum_of(__m128 v) noexcept {
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
}

std::int32_t sum_of(__m128i v) noexcept {
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xB1)));
}

float dot_scalar(const float* a, const float* b, std::size_t n) noexcept {
  __m128 sums[4] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      const __m128 product = _mm_mul_ps(_mm_loadu_ps(a + i + j * 4), _mm_loadu_ps(b + i + j * 4));
      sums[j] = _mm_add_ps(sums[j], product);
    }
  }
  return sum_of(_mm_add_ps(_mm_add_ps(sums[0], sums[1]), _mm_add_ps(sums[2], sums[3]))) +
         dot_tail(a, b, i, n);
}

float squared_l2_scalar(const float* a, const float* b, std::size_t n) noexcept {
  __m128 sums[4] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      const __m128 gap = _mm_sub_ps(_mm_loadu_ps(a + i + j * 4), _mm_loadu_ps(b + i + j * 4));
      sums[j] = _mm_add_ps(sums[j], _mm_mul_ps(gap, gap));
    }
  }
  return sum_of(_mm_add_ps(_mm_add_ps(sums[0], sums[1]), _mm_add_ps(sums[2], sums[3]))) +
         squared_l2_tail(a, b, i, n);
}

// Every integer kernel but VNNI's widens to 16 bits and multiplies with madd, whose pairs fit 32
// bits; maddubs would saturate (2 * 255 * 127 > 32,767).
std::int32_t dot_codes_scalar(const std::uint8_t* codes, const std::int8_t* query,
                              std::size_t n) noexcept {
  const __m128i zero = _mm_setzero_si128();
  __m128i sum = zero;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i));
    const __m128i q = _mm_loadu_si128(reinterpret_cast<const __m128i*>(query + i));
    const __m128i sign = _mm_cmpgt_epi8(zero, q);
    sum =
        _mm_add_epi32(sum, _mm_madd_epi16(_mm_unpacklo_epi8(c, zero), _mm_unpacklo_epi8(q, sign)));
    sum =
        _mm_add_epi32(sum, _mm_madd_epi16(_mm_unpackhi_epi8(c, zero), _mm_unpackhi_epi8(q, sign)));
  }
  return sum_of(sum) + dot_codes_tail(codes, query, i, n);
}

// ---- AVX2 + FMA ----

#define DURE_AVX2 __attribute__((target("avx2,fma")))

DURE_AVX2 float sum_of_avx2(__m256 v) noexcept {
  return sum_of(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

DURE_AVX2 std::int32_t sum_of_avx2(__m256i v) noexcept {
  return sum_of(_mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

DURE_AVX2 float dot_avx2(const float* a, const float* b, std::size_t n) noexcept {
  __m256 sums[4] = {};
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      sums[j] =
          _mm256_fmadd_ps(_mm256_loadu_ps(a + i + j * 8), _mm256_loadu_ps(b + i + j * 8), sums[j]);
    }
  }
  for (; i + 8 <= n; i += 8) {
    sums[0] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sums[0]);
  }
  return sum_of_avx2(
             _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))) +
         dot_tail(a, b, i, n);
}

DURE_AVX2 void dot4_avx2(const float* const rows[4], const float* query, std::size_t n,
                         float out[4]) noexcept {
  __m256 sums[8] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256 low = _mm256_loadu_ps(query + i);
    const __m256 high = _mm256_loadu_ps(query + i + 8);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      sums[row] = _mm256_fmadd_ps(_mm256_loadu_ps(rows[row] + i), low, sums[row]);
      sums[row + 4] = _mm256_fmadd_ps(_mm256_loadu_ps(rows[row] + i + 8), high, sums[row + 4]);
    }
  }
#pragma GCC unroll 4
  for (std::size_t row = 0; row < 4; ++row) {
    out[row] =
        sum_of_avx2(_mm256_add_ps(sums[row], sums[row + 4])) + dot_tail(rows[row], query, i, n);
  }
}

DURE_AVX2 float squared_l2_avx2(const float* a, const float* b, std::size_t n) noexcept {
  __m256 sums[4] = {};
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      const __m256 gap =
          _mm256_sub_ps(_mm256_loadu_ps(a + i + j * 8), _mm256_loadu_ps(b + i + j * 8));
      sums[j] = _mm256_fmadd_ps(gap, gap, sums[j]);
    }
  }
  return sum_of_avx2(
             _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))) +
         squared_l2_tail(a, b, i, n);
}

DURE_AVX2 __m256i widened_codes(const std::uint8_t* at) noexcept {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

DURE_AVX2 __m256i widened_query(const std::int8_t* at) noexcept {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

DURE_AVX2 std::int32_t dot_codes_avx2(const std::uint8_t* codes, const std::int8_t* query,
                                      std::size_t n) noexcept {
  __m256i sums[2] = {};
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 2
    for (std::size_t j = 0; j < 2; ++j) {
      const __m256i product =
          _mm256_madd_epi16(widened_codes(codes + i + j * 16), widened_query(query + i + j * 16));
      sums[j] = _mm256_add_epi32(sums[j], product);
    }
  }
  return sum_of_avx2(_mm256_add_epi32(sums[0], sums[1])) + dot_codes_tail(codes, query, i, n);
}

DURE_AVX2 void dot_codes4_avx2(const std::uint8_t* const codes[4], const std::int8_t* query,
                               std::size_t n, std::int32_t out[4]) noexcept {
  __m256i sums[4] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i q = widened_query(query + i);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      const __m256i product = _mm256_madd_epi16(widened_codes(codes[row] + i), q);
      sums[row] = _mm256_add_epi32(sums[row], product);
    }
  }
#pragma GCC unroll 4
  for (std::size_t row = 0; row < 4; ++row) {
    out[row] = sum_of_avx2(sums[row]) + dot_codes_tail(codes[row], query, i, n);
  }
}

// ---- AVX-512; masked loads read the tails and nothing beyond them ----

#define DURE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))

DURE_AVX512 float sum_of_avx512(__m512 v) noexcept {
  return sum_of_avx2(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

DURE_AVX512 std::int32_t sum_of_avx512(__m512i v) noexcept {
  return sum_of_avx2(_mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti32x8_epi32(v, 1)));
}

DURE_AVX512 __mmask16 float_tail(std::size_t left) noexcept {
  return static_cast<__mmask16>((1U << left) - 1U);  // left < 16
}

DURE_AVX512 float dot_avx512(const float* a, const float* b, std::size_t n) noexcept {
  __m512 sums[4] = {};
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      sums[j] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + j * 16), _mm512_loadu_ps(b + i + j * 16),
                                sums[j]);
    }
  }
  for (; i + 16 <= n; i += 16) {
    sums[0] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), sums[0]);
  }
  const __mmask16 tail = float_tail(n - i);
  sums[1] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(tail, a + i), _mm512_maskz_loadu_ps(tail, b + i),
                            sums[1]);
  return sum_of_avx512(
      _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

DURE_AVX512 void dot4_avx512(const float* const rows[4], const float* query, std::size_t n,
                             float out[4]) noexcept {
  __m512 sums[4] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 q = _mm512_loadu_ps(query + i);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      sums[row] = _mm512_fmadd_ps(_mm512_loadu_ps(rows[row] + i), q, sums[row]);
    }
  }
  const __mmask16 tail = float_tail(n - i);
  const __m512 q = _mm512_maskz_loadu_ps(tail, query + i);
#pragma GCC unroll 4
  for (std::size_t row = 0; row < 4; ++row) {
    const __m512 last = _mm512_maskz_loadu_ps(tail, rows[row] + i);
    out[row] = sum_of_avx512(_mm512_fmadd_ps(last, q, sums[row]));
  }
}

DURE_AVX512 float squared_l2_avx512(const float* a, const float* b, std::size_t n) noexcept {
  __m512 sums[2] = {};
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 2
    for (std::size_t j = 0; j < 2; ++j) {
      const __m512 gap =
          _mm512_sub_ps(_mm512_loadu_ps(a + i + j * 16), _mm512_loadu_ps(b + i + j * 16));
      sums[j] = _mm512_fmadd_ps(gap, gap, sums[j]);
    }
  }
  return sum_of_avx512(_mm512_add_ps(sums[0], sums[1])) + squared_l2_tail(a, b, i, n);
}

DURE_AVX512 __mmask32 half_tail(std::size_t left) noexcept {
  return static_cast<__mmask32>((std::uint64_t{1} << left) - 1U);  // left <= 32
}

DURE_AVX512 __m512i widened_codes(__mmask32 mask, const std::uint8_t* at) noexcept {
  return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, at));
}

DURE_AVX512 __m512i widened_query(__mmask32 mask, const std::int8_t* at) noexcept {
  return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, at));
}

DURE_AVX512 std::int32_t dot_codes_avx512(const std::uint8_t* codes, const std::int8_t* query,
                                          std::size_t n) noexcept {
  constexpr __mmask32 kWhole = 0xFFFFFFFF;
  __m512i even = _mm512_setzero_si512();
  __m512i odd = even;
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    even = _mm512_add_epi32(even, _mm512_madd_epi16(widened_codes(kWhole, codes + i),
                                                    widened_query(kWhole, query + i)));
    odd = _mm512_add_epi32(odd, _mm512_madd_epi16(widened_codes(kWhole, codes + i + 32),
                                                  widened_query(kWhole, query + i + 32)));
  }
  for (; i < n; i += 32) {
    const __mmask32 mask = half_tail(n - i < 32 ? n - i : 32);
    even = _mm512_add_epi32(
        even, _mm512_madd_epi16(widened_codes(mask, codes + i), widened_query(mask, query + i)));
  }
  return sum_of_avx512(_mm512_add_epi32(even, odd));
}

DURE_AVX512 void dot_codes4_avx512(const std::uint8_t* const codes[4], const std::int8_t* query,
                                   std::size_t n, std::int32_t out[4]) noexcept {
  __m512i sums[4] = {};
  for (std::size_t i = 0; i < n; i += 32) {
    const __mmask32 mask = half_tail(n - i < 32 ? n - i : 32);
    const __m512i q = widened_query(mask, query + i);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      const __m512i c = widened_codes(mask, codes[row] + i);
      sums[row] = _mm512_add_epi32(sums[row], _mm512_madd_epi16(c, q));
    }
  }
#pragma GCC unroll 4
  for (std::size_t row = 0; row < 4; ++row) out[row] = sum_of_avx512(sums[row]);
}

// ---- AVX-512 VNNI: dpbusd adds four products at once, without saturating ----

#define DURE_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))

DURE_VNNI __mmask64 code_tail(std::size_t left) noexcept {
  return (__mmask64{1} << left) - 1U;  // left < 64
}

DURE_VNNI std::int32_t dot_codes_vnni(const std::uint8_t* codes, const std::int8_t* query,
                                      std::size_t n) noexcept {
  __m512i sums[2] = {};
  std::size_t i = 0;
  for (; i + 128 <= n; i += 128) {
#pragma GCC unroll 2
    for (std::size_t j = 0; j < 2; ++j) {
      sums[j] = _mm512_dpbusd_epi32(sums[j], _mm512_loadu_si512(codes + i + j * 64),
                                    _mm512_loadu_si512(query + i + j * 64));
    }
  }
  if (i + 64 <= n) {
    sums[0] =
        _mm512_dpbusd_epi32(sums[0], _mm512_loadu_si512(codes + i), _mm512_loadu_si512(query + i));
    i += 64;
  }
  const __mmask64 tail = code_tail(n - i);
  sums[1] = _mm512_dpbusd_epi32(sums[1], _mm512_maskz_loadu_epi8(tail, codes + i),
                                _mm512_maskz_loadu_epi8(tail, query + i));
  return sum_of_avx512(_mm512_add_epi32(sums[0], sums[1]));
}

DURE_VNNI void dot_codes4_vnni(const std::uint8_t* const codes[4], const std::int8_t* query,
                               std::size_t n, std::int32_t out[4]) noexcept {
  __m512i sums[4] = {};
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512i q = _mm512_loadu_si512(query + i);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      sums[row] = _mm512_dpbusd_epi32(sums[row], _mm512_loadu_si512(codes[row] + i), q);
    }
  }
  if (i < n) {
    const __mmask64 tail = code_tail(n - i);
    const __m512i q = _mm512_maskz_loadu_epi8(tail, query + i);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      const __m512i c = _mm512_maskz_loadu_epi8(tail, codes[row] + i);
      sums[row] = _mm512_dpbusd_epi32(sums[row], c, q);
    }
  }
#pragma GCC unroll 4
  for (std::size_t row = 0; row < 4; ++row) out[row] = sum_of_avx512(sums[row]);
}

#endif

constexpr Kernels kScalarTable = {Simd::kScalar,
                                  "scalar",
                                  dot_scalar,
                                  one_by_one<dot_scalar>,
                                  squared_l2_scalar,
                                  dot_codes_scalar,
                                  one_by_one<dot_codes_scalar>};
#if defined(__x86_64__)
constexpr Kernels kAvx2Table = {Simd::kAvx2,     "avx2",         dot_avx2,       dot4_avx2,
                                squared_l2_avx2, dot_codes_avx2, dot_codes4_avx2};
constexpr Kernels kAvx512Table = {Simd::kAvx512,    "avx512",          dot_avx512,
                                  dot4_avx512,      squared_l2_avx512, dot_codes_avx512,
                                  dot_codes4_avx512};
constexpr Kernels kVnniTable = {Simd::kVnni,       "vnni",         dot_avx512,     dot4_avx512,
                                squared_l2_avx512, dot_codes_vnni, dot_codes4_vnni};
#endif

// The one probe of the CPU; the builtin also asks whether the system saves the wide registers.
Simd best_simd() noexcept {
#if defined(__x86_64__)
  static const Simd best = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Simd::kScalar;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
      return Simd::kAvx2;
    }
    return __builtin_cpu_supports("avx512vnni") ? Simd::kVnni : Simd::kAvx512;
  }();
  return best;
#else
  return Simd::kScalar;
#endif
}

constexpr std::array kAll = {Simd::kVnni, Simd::kAvx512, Simd::kAvx2, Simd::kScalar};
constexpr std::array<std::string_view, 4> kNames = {"vnni", "avx512", "avx2", "scalar"};

}  // namespace

const Kernels* kernels_for(Simd simd) noexcept {
  if (simd > best_simd()) return nullptr;
  switch (simd) {
#if defined(__x86_64__)
    case Simd::kVnni:
      return &kVnniTable;
    case Simd::kAvx512:
      return &kAvx512Table;
    case Simd::kAvx2:
      return &kAvx2Table;
#endif
    default:
      return &kScalarTable;
  }
}

base::Result<const Kernels*> choose_kernels(std::string_view name) {
  if (name.empty()) return kernels_for(best_simd());
  for (std::size_t i = 0; i < kAll.size(); ++i) {
    if (kNames[i] != name) continue;
    if (const Kernels* table = kernels_for(kAll[i])) return table;
    return base::fail(base::invalid_argument(
        "DURE_SIMD", "this CPU has no " + std::string(name) + ": unset DURE_SIMD"));
  }
  return base::fail(
      base::invalid_argument("DURE_SIMD", "unknown DURE_SIMD '" + std::string(name) +
                                              "': use scalar, avx2, avx512 or vnni, or unset it"));
}

const Kernels& kernels() noexcept {
  static const Kernels& chosen = []() noexcept -> const Kernels& {
    const char* name = std::getenv("DURE_SIMD");
    const auto table = choose_kernels(name == nullptr ? "" : name);
    return table ? **table : *kernels_for(best_simd());
  }();
  return chosen;
}

}  // namespace dure::index
