// dure/base/simd.h - which sets of instructions this process may use: asked once, for all rooms.
//
// What the CPU has, or less if the environment says DURE_SIMD=scalar|sse2|avx2|avx512|vnni (tests;
// another word, or a set that the CPU lacks, changes nothing). Results never depend on it.
//
// Thread-safe: pure functions, a constant.
#ifndef DURE_BASE_SIMD_H_
#define DURE_BASE_SIMD_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dure::base {

// Each with all before it.
enum class Simd : std::uint8_t {
  kScalar,
  kSse2,    // every x86-64
  kAvx2,    // with BMI1, BMI2, FMA and POPCNT
  kAvx512,  // F, BW, DQ and VL
  kVnni,
};

// "scalar", "sse2", ...
[[nodiscard]] std::string_view name_of(Simd simd) noexcept;
// Can this machine run it, whatever DURE_SIMD says?
[[nodiscard]] bool machine_has(Simd simd) noexcept;
// The widest set to use.
[[nodiscard]] Simd simd_limit() noexcept;

// The widest of `all` within simd_limit(), by their member `simd`. REQUIRES: the widest comes
// first, kScalar last.
template <typename Set, std::size_t kCount>
[[nodiscard]] const Set& widest(const Set* const (&all)[kCount]) noexcept {
  for (const Set* one : all) {
    if (one->simd <= simd_limit()) return *one;
  }
  return *all[kCount - 1];
}
// The one of `simd`, or null if this machine cannot run it or there is none.
template <typename Set, std::size_t kCount>
[[nodiscard]] const Set* exactly(Simd simd, const Set* const (&all)[kCount]) noexcept {
  for (const Set* one : all) {
    if (one->simd == simd && machine_has(simd)) return one;
  }
  return nullptr;
}

}  // namespace dure::base

#endif  // DURE_BASE_SIMD_H_
