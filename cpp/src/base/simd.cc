#include "dure/base/simd.h"

#include <array>
#include <cstdlib>

namespace dure::base {
namespace {

constexpr std::array<std::string_view, 5> kNames{"scalar", "sse2", "avx2", "avx512", "vnni"};

Simd choose() noexcept {
  const char* wanted = std::getenv("DURE_SIMD");  // NOLINT(concurrency-mt-unsafe): read once
  Simd widest = Simd::kScalar;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const auto simd = static_cast<Simd>(i);
    if (!machine_has(simd)) break;
    widest = simd;
    if (wanted != nullptr && kNames[i] == wanted) break;
  }
  return widest;
}

}  // namespace

std::string_view name_of(Simd simd) noexcept { return kNames[static_cast<std::size_t>(simd)]; }

bool machine_has(Simd simd) noexcept {
#if defined(__x86_64__)
  const auto avx2 = [] {
    return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
           __builtin_cpu_supports("bmi") != 0 && __builtin_cpu_supports("bmi2") != 0 &&
           __builtin_cpu_supports("popcnt") != 0;
  };
  const auto avx512 = [&] {
    return avx2() && __builtin_cpu_supports("avx512f") != 0 &&
           __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
           __builtin_cpu_supports("avx512dq") != 0;
  };
  switch (simd) {
    case Simd::kScalar:
    case Simd::kSse2:
      return true;
    case Simd::kAvx2:
      return avx2();
    case Simd::kAvx512:
      return avx512();
    case Simd::kVnni:
      return avx512() && __builtin_cpu_supports("avx512vnni") != 0;
  }
  return false;
#else
  return simd == Simd::kScalar;
#endif
}

Simd simd_limit() noexcept {
  static const Simd limit = choose();
  return limit;
}

}  // namespace dure::base
