// dure/index/kernels.h - inner products, in the widest instructions this machine has.
//
// The set of instructions is chosen once (dure/base/simd.h). The integer kernels of all sets give
// equal sums, to the bit; the float kernel differs in the order of its additions.
//
// Thread-safe: pure functions, constant tables.
#ifndef DURE_INDEX_KERNELS_H_
#define DURE_INDEX_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "dure/base/simd.h"

namespace dure::index {

using base::Simd;

struct Kernels {
  Simd simd;
  const char* name;
  // Sum of a[i] * b[i].
  float (*dot_f32)(const float* a, const float* b, std::size_t n);
  // Sum of code[i] * query[i]. Exact: n <= 66,311 keeps it within 32 bits.
  std::int32_t (*dot_u8s8)(const std::uint8_t* code, const std::int8_t* query, std::size_t n);
  // Four codes against one query: sums[j] = dot_u8s8(codes[j], query, n).
  void (*dot_u8s8_x4)(const std::uint8_t* const* codes, const std::int8_t* query, std::size_t n,
                      std::int32_t* sums);
};

// The set in use.
[[nodiscard]] const Kernels& kernels() noexcept;
// The given set, or null if this machine cannot run it.
[[nodiscard]] const Kernels* kernels_of(Simd simd) noexcept;

}  // namespace dure::index

#endif  // DURE_INDEX_KERNELS_H_
