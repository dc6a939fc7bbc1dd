#include "text/transcode_wide.h"

#include <bit>

#include "dure/base/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dure::text {

#if defined(__x86_64__)

bool has_transcode_wide() noexcept {
  static const bool has =
      base::simd_limit() >= base::Simd::kAvx512 && __builtin_cpu_supports("avx512vbmi2") != 0;
  return has;
}

// g++ 12 takes the undefined lanes of its own header for mistakes.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// Each code point in a lane of four bytes: its form, lowest byte first, then zeros, which are
// squeezed out. The first byte of U+0000 is kept too.
__attribute__((target("avx512f,avx512bw,avx512vbmi2"))) Transcoded
transcode_wide(const std::uint16_t* at, std::size_t count, char* out) noexcept {
  constexpr std::size_t kLanes = 16;
  constexpr std::size_t kMargin = 22;  // their 66 bytes of room take a store of 64
  const __m512i low = _mm512_set1_epi32(0x3F);
  const __m512i tail = _mm512_set1_epi32(0x80);
  std::size_t read = 0;
  char* to = out;
  for (; count - read >= kMargin; read += kLanes) {
    const __m512i points =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + read)));
    const __m512i high = _mm512_and_si512(points, _mm512_set1_epi32(0xF800));
    if (_mm512_cmpeq_epi32_mask(high, _mm512_set1_epi32(0xD800)) != 0) break;
    const __m512i last = _mm512_or_si512(tail, _mm512_and_si512(points, low));
    const __m512i sixes = _mm512_srli_epi32(points, 6);
    const __m512i middle = _mm512_or_si512(tail, _mm512_and_si512(sixes, low));
    const __m512i two = _mm512_or_si512(_mm512_or_si512(_mm512_set1_epi32(0xC0), sixes),
                                        _mm512_slli_epi32(last, 8));
    const __m512i three =
        _mm512_or_si512(_mm512_or_si512(_mm512_set1_epi32(0xE0), _mm512_srli_epi32(points, 12)),
                        _mm512_or_si512(_mm512_slli_epi32(middle, 8), _mm512_slli_epi32(last, 16)));
    const __mmask16 is_two = _mm512_cmpge_epu32_mask(points, _mm512_set1_epi32(0x80));
    const __mmask16 is_three = _mm512_cmpge_epu32_mask(points, _mm512_set1_epi32(0x800));
    const __m512i forms =
        _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(points, is_two, two), is_three, three);
    const std::uint64_t keep = _mm512_test_epi8_mask(forms, forms) | 0x1111111111111111ULL;
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(keep, forms));
    to += std::popcount(keep);
  }
  return {read, static_cast<std::size_t>(to - out)};
}

#pragma GCC diagnostic pop

#else

bool has_transcode_wide() noexcept { return false; }

Transcoded transcode_wide(const std::uint16_t*, std::size_t, char*) noexcept { return {0, 0}; }

#endif

}  // namespace dure::text
