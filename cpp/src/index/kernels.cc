#include "dure/index/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dure::index {
namespace {

// --- scalar: what the others must equal ---------------------------------------------------------

float dot_f32_scalar(const float* a, const float* b, std::size_t n) {
  float s0 = 0;
  float s1 = 0;
  float s2 = 0;
  float s3 = 0;
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 += a[i] * b[i];
    s1 += a[i + 1] * b[i + 1];
    s2 += a[i + 2] * b[i + 2];
    s3 += a[i + 3] * b[i + 3];
  }
  for (; i < n; ++i) s0 += a[i] * b[i];
  return (s0 + s1) + (s2 + s3);
}

std::int32_t dot_u8s8_scalar(const std::uint8_t* code, const std::int8_t* query, std::size_t n) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += std::int32_t{code[i]} * std::int32_t{query[i]};
  return sum;
}

template <std::int32_t (*Dot)(const std::uint8_t*, const std::int8_t*, std::size_t)>
void four_times(const std::uint8_t* const* codes, const std::int8_t* query, std::size_t n,
                std::int32_t* sums) {
  for (int j = 0; j < 4; ++j) sums[j] = Dot(codes[j], query, n);
}

constexpr Kernels kScalar{Simd::kScalar, "scalar", dot_f32_scalar, dot_u8s8_scalar,
                          four_times<dot_u8s8_scalar>};

#if defined(__x86_64__)
#define DURE_AVX2 __attribute__((target("avx2,fma")))
#define DURE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define DURE_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

// --- AVX2 + FMA ---------------------------------------------------------------------------------

DURE_AVX2 float sum_f32(__m256 v) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
}

DURE_AVX2 std::int32_t sum_i32(__m256i v) {
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
  return _mm_cvtsi128_si32(half);
}

DURE_AVX2 float dot_f32_avx2(const float* a, const float* b, std::size_t n) {
  __m256 s0 = _mm256_setzero_ps();
  __m256 s1 = _mm256_setzero_ps();
  __m256 s2 = _mm256_setzero_ps();
  __m256 s3 = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
    s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
    s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
  }
  for (; i + 8 <= n; i += 8) {
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
  }
  float sum = sum_f32(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// 16 products, widened first: `maddubs` would saturate at 16 bits.
DURE_AVX2 inline __m256i madd_16(const std::uint8_t* code, __m256i query) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(code));
  return _mm256_madd_epi16(_mm256_cvtepu8_epi16(bytes), query);
}

DURE_AVX2 inline __m256i load_query_16(const std::int8_t* query) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(query)));
}

DURE_AVX2 std::int32_t dot_u8s8_avx2(const std::uint8_t* code, const std::int8_t* query,
                                     std::size_t n) {
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s0 = _mm256_add_epi32(s0, madd_16(code + i, load_query_16(query + i)));
    s1 = _mm256_add_epi32(s1, madd_16(code + i + 16, load_query_16(query + i + 16)));
  }
  return sum_i32(_mm256_add_epi32(s0, s1)) + dot_u8s8_scalar(code + i, query + i, n - i);
}

DURE_AVX2 void dot_u8s8_x4_avx2(const std::uint8_t* const* codes, const std::int8_t* query,
                                std::size_t n, std::int32_t* sums) {
  __m256i s0 = _mm256_setzero_si256();
  __m256i s1 = s0;
  __m256i s2 = s0;
  __m256i s3 = s0;
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i wide = load_query_16(query + i);
    s0 = _mm256_add_epi32(s0, madd_16(codes[0] + i, wide));
    s1 = _mm256_add_epi32(s1, madd_16(codes[1] + i, wide));
    s2 = _mm256_add_epi32(s2, madd_16(codes[2] + i, wide));
    s3 = _mm256_add_epi32(s3, madd_16(codes[3] + i, wide));
  }
  const std::size_t left = n - i;
  sums[0] = sum_i32(s0) + dot_u8s8_scalar(codes[0] + i, query + i, left);
  sums[1] = sum_i32(s1) + dot_u8s8_scalar(codes[1] + i, query + i, left);
  sums[2] = sum_i32(s2) + dot_u8s8_scalar(codes[2] + i, query + i, left);
  sums[3] = sum_i32(s3) + dot_u8s8_scalar(codes[3] + i, query + i, left);
}

constexpr Kernels kAvx2{Simd::kAvx2, "avx2", dot_f32_avx2, dot_u8s8_avx2, dot_u8s8_x4_avx2};

// --- AVX-512 ------------------------------------------------------------------------------------

// g++ 12 calls the undefined upper half of its own reduction "uninitialized" (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

DURE_AVX512 float dot_f32_avx512(const float* a, const float* b, std::size_t n) {
  __m512 s0 = _mm512_setzero_ps();
  __m512 s1 = _mm512_setzero_ps();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
    s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
  }
  for (; i < n; i += 16) {
    const std::size_t left = n - i;
    const auto mask = static_cast<__mmask16>(left >= 16 ? 0xFFFFU : (1U << left) - 1U);
    s0 =
        _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i), s0);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

DURE_AVX512 inline __m512i madd_32(__m256i code, __m256i query) {
  return _mm512_madd_epi16(_mm512_cvtepu8_epi16(code), _mm512_cvtepi8_epi16(query));
}

DURE_AVX512 std::int32_t dot_u8s8_avx512(const std::uint8_t* code, const std::int8_t* query,
                                         std::size_t n) {
  __m512i sum = _mm512_setzero_si512();
  for (std::size_t i = 0; i < n; i += 32) {
    const std::size_t left = n - i;
    const __mmask32 mask = left >= 32 ? 0xFFFFFFFFU : (1U << left) - 1U;
    sum = _mm512_add_epi32(sum, madd_32(_mm256_maskz_loadu_epi8(mask, code + i),
                                        _mm256_maskz_loadu_epi8(mask, query + i)));
  }
  return _mm512_reduce_add_epi32(sum);
}

constexpr Kernels kAvx512{Simd::kAvx512, "avx512", dot_f32_avx512, dot_u8s8_avx512,
                          four_times<dot_u8s8_avx512>};

// --- AVX-512 VNNI: dpbusd adds four products of 8 bits into 32 bits without saturation
// -------------

DURE_VNNI inline __mmask64 mask_of(std::size_t left) {
  return left >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1U;
}

DURE_VNNI std::int32_t dot_u8s8_vnni(const std::uint8_t* code, const std::int8_t* query,
                                     std::size_t n) {
  __m512i sum = _mm512_setzero_si512();
  for (std::size_t i = 0; i < n; i += 64) {
    const __mmask64 mask = mask_of(n - i);
    sum = _mm512_dpbusd_epi32(sum, _mm512_maskz_loadu_epi8(mask, code + i),
                              _mm512_maskz_loadu_epi8(mask, query + i));
  }
  return _mm512_reduce_add_epi32(sum);
}

// The sums of four vectors at once: halves, quarters, then pairs across the four.
DURE_VNNI inline __m256i halves(__m512i v) {
  return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}
DURE_VNNI inline void sum_four(__m512i a, __m512i b, __m512i c, __m512i d, std::int32_t* sums) {
  const __m256i ab = _mm256_hadd_epi32(halves(a), halves(b));
  const __m256i cd = _mm256_hadd_epi32(halves(c), halves(d));
  const __m256i all = _mm256_hadd_epi32(ab, cd);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(sums),
                   _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}

DURE_VNNI void dot_u8s8_x4_vnni(const std::uint8_t* const* codes, const std::int8_t* query,
                                std::size_t n, std::int32_t* sums) {
  __m512i s0 = _mm512_setzero_si512();
  __m512i s1 = s0;
  __m512i s2 = s0;
  __m512i s3 = s0;
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512i wide = _mm512_loadu_si512(query + i);
    s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(codes[0] + i), wide);
    s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(codes[1] + i), wide);
    s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(codes[2] + i), wide);
    s3 = _mm512_dpbusd_epi32(s3, _mm512_loadu_si512(codes[3] + i), wide);
  }
  if (i < n) {
    const __mmask64 mask = mask_of(n - i);
    const __m512i wide = _mm512_maskz_loadu_epi8(mask, query + i);
    s0 = _mm512_dpbusd_epi32(s0, _mm512_maskz_loadu_epi8(mask, codes[0] + i), wide);
    s1 = _mm512_dpbusd_epi32(s1, _mm512_maskz_loadu_epi8(mask, codes[1] + i), wide);
    s2 = _mm512_dpbusd_epi32(s2, _mm512_maskz_loadu_epi8(mask, codes[2] + i), wide);
    s3 = _mm512_dpbusd_epi32(s3, _mm512_maskz_loadu_epi8(mask, codes[3] + i), wide);
  }
  sum_four(s0, s1, s2, s3, sums);
}

constexpr Kernels kVnni{Simd::kVnni, "vnni", dot_f32_avx512, dot_u8s8_vnni, dot_u8s8_x4_vnni};

#pragma GCC diagnostic pop

constexpr const Kernels* kAll[] = {&kVnni, &kAvx512, &kAvx2, &kScalar};  // widest first
#else
constexpr const Kernels* kAll[] = {&kScalar};
#endif

}  // namespace

const Kernels& kernels() noexcept {
  static const Kernels& chosen = base::widest(kAll);
  return chosen;
}

const Kernels* kernels_of(Simd simd) noexcept { return base::exactly(simd, kAll); }

}  // namespace dure::index
