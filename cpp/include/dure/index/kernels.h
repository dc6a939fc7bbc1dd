// dure/index/kernels.h - the inner products behind every distance, fitted to the machine's CPU.
//
// One table of functions for each instruction set; the best one that the CPU (and the operating
// system) offers is chosen once, at first use. The integer products are exact and the same in
// every table, tails included. The float ones differ in the order of their sums only.
//
// l2 of stored vectors comes from products too: |a - b|^2 = |a|^2 + |b|^2 - 2 a.b.
//
// Thread-safe: constants and pure functions.
#ifndef DURE_INDEX_KERNELS_H_
#define DURE_INDEX_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dure/base/result.h"

namespace dure::index {

enum class Simd : std::uint8_t { kScalar, kAvx2, kAvx512, kVnni };

// The longest vector whose integer product fits 32 bits: 255 * 128 * n < 2^31.
inline constexpr std::size_t kMaxDim = 65'536;

// Pointers need no alignment; n = 0 gives 0. REQUIRES: n <= kMaxDim for the integer products.
struct Kernels {
  Simd simd;
  std::string_view name;  // as DURE_SIMD spells it
  float (*dot)(const float* a, const float* b, std::size_t n) noexcept;
  // Four rows against one query, which is loaded once.
  void (*dot4)(const float* const rows[4], const float* query, std::size_t n,
               float out[4]) noexcept;
  float (*squared_l2)(const float* a, const float* b, std::size_t n) noexcept;
  // Unsigned codes by a signed query (codes.h).
  std::int32_t (*dot_codes)(const std::uint8_t* codes, const std::int8_t* query,
                            std::size_t n) noexcept;
  void (*dot_codes4)(const std::uint8_t* const codes[4], const std::int8_t* query, std::size_t n,
                     std::int32_t out[4]) noexcept;
};

// The table for `simd`, or nullptr if this CPU cannot run it.
[[nodiscard]] const Kernels* kernels_for(Simd simd) noexcept;

// The table that DURE_SIMD = `name` asks for; the best one for an empty name. Fails with
// kInvalidArgument unless `name` is scalar, avx2, avx512 or vnni and this CPU can run it.
[[nodiscard]] base::Result<const Kernels*> choose_kernels(std::string_view name);

// The table in use: choose_kernels of the environment variable DURE_SIMD as it stood at the first
// call; the best one if that fails.
[[nodiscard]] const Kernels& kernels() noexcept;

}  // namespace dure::index

#endif  // DURE_INDEX_KERNELS_H_
