// dure/index/codes.h - vectors in one byte a component, with one scale for each vector.
//
// Stored: code = round(v / scale) + 128, scale = max|v| / 127, so a code is 1..255 and 128 is
// zero. A query is rounded alike but signed. Then
//
//   v . q  ~  scale_v * scale_q * (sum(code * q) - 128 * sum(q))
//
// where the last sum is taken once for each query. The error of a component is at most half a
// scale: candidates found by codes are ranked again by their fp32 vectors.
//
// Thread-safe: pure functions.
#ifndef DURE_INDEX_CODES_H_
#define DURE_INDEX_CODES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dure::index {

struct CodedQuery {
  std::vector<std::int8_t> values;  // -127..127
  float scale = 0;
  std::int32_t offset = 0;  // 128 * sum(values)
};

// Writes vector.size() codes and returns the scale: 0 for the zero vector, whose codes are all 128.
// REQUIRES: every component is finite; size <= kMaxDim (kernels.h).
float encode(std::span<const float> vector, std::uint8_t* codes) noexcept;

// Reuses the memory of `query`. REQUIRES: as encode.
void encode_query(std::span<const float> vector, CodedQuery& query);

// The vector that the codes stand for.
void decode(const std::uint8_t* codes, float scale, std::span<float> vector) noexcept;

// From the integer product of Kernels::dot_codes to the approximate inner product.
[[nodiscard]] inline float coded_score(std::int32_t product, float scale,
                                       const CodedQuery& query) noexcept {
  return scale * query.scale * static_cast<float>(product - query.offset);
}

}  // namespace dure::index

#endif  // DURE_INDEX_CODES_H_
