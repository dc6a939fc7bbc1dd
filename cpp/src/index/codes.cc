#include "dure/index/codes.h"

#include <algorithm>
#include <cmath>

namespace dure::index {
namespace {

constexpr float kLevels = 127.0F;

float scale_of(std::span<const float> vector) noexcept {
  float largest = 0;
  for (const float value : vector) largest = std::max(largest, std::fabs(value));
  return largest / kLevels;  // 0 too if the largest is too small for a float to hold a 127th
}

// Rounds to nearest, ties to even; never outside -127..127.
int level(float value, float scale) noexcept {
  return static_cast<int>(std::clamp(std::nearbyint(value / scale), -kLevels, kLevels));
}

}  // namespace

float encode(std::span<const float> vector, std::uint8_t* codes) noexcept {
  const float scale = scale_of(vector);
  if (scale == 0) {
    std::fill_n(codes, vector.size(), std::uint8_t{128});
    return 0;
  }
  for (const float value : vector) {
    *codes++ = static_cast<std::uint8_t>(level(value, scale) + 128);
  }
  return scale;
}

void encode_query(std::span<const float> vector, CodedQuery& query) {
  query.values.assign(vector.size(), 0);
  query.scale = scale_of(vector);
  query.offset = 0;
  if (query.scale == 0) return;
  for (std::size_t i = 0; i < vector.size(); ++i) {
    const int value = level(vector[i], query.scale);
    query.values[i] = static_cast<std::int8_t>(value);
    query.offset += 128 * value;
  }
}

void decode(const std::uint8_t* codes, float scale, std::span<float> vector) noexcept {
  for (float& value : vector) value = scale * static_cast<float>(int{*codes++} - 128);
}

}  // namespace dure::index
