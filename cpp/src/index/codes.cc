#include "dure/index/codes.h"

#include <algorithm>
#include <cmath>

#include "dure/index/kernels.h"

namespace dure::index {
namespace {

constexpr int kZero = 128;  // the byte of value 0
constexpr float kLargest = 127.0F;
// Single precision sums over thousands of products: relative slack of estimate() and score().
constexpr float kRounding = 1e-5F;

float largest(const float* vector, std::size_t dim) noexcept {
  float top = 0;
  for (std::size_t i = 0; i < dim; ++i) top = std::max(top, std::fabs(vector[i]));
  return top;
}

int rounded(float value) noexcept { return static_cast<int>(std::lrintf(value)); }

}  // namespace

std::optional<Metric> metric_of(std::string_view name) noexcept {
  if (name == "cosine") return Metric::kCosine;
  if (name == "ip") return Metric::kInnerProduct;
  if (name == "l2") return Metric::kL2;
  return std::nullopt;
}

std::string_view name_of(Metric metric) noexcept {
  switch (metric) {
    case Metric::kCosine:
      return "cosine";
    case Metric::kInnerProduct:
      return "ip";
    case Metric::kL2:
      return "l2";
  }
  return "cosine";
}

bool is_finite(const float* vector, std::size_t dim) noexcept {
  return std::all_of(vector, vector + dim, [](float v) { return std::isfinite(v); });
}

bool normalize(float* vector, std::size_t dim) noexcept {
  double squares = 0;
  for (std::size_t i = 0; i < dim; ++i) squares += static_cast<double>(vector[i]) * vector[i];
  if (!std::isfinite(squares) || squares <= 0) return false;
  const double scale = 1.0 / std::sqrt(squares);
  for (std::size_t i = 0; i < dim; ++i) {
    vector[i] = static_cast<float>(static_cast<double>(vector[i]) * scale);
  }
  return true;
}

CodeHead encode(const float* vector, std::size_t dim, std::uint8_t* code) noexcept {
  const float scale = largest(vector, dim) / kLargest;
  const float inverse = scale > 0 ? 1.0F / scale : 0.0F;
  double lost = 0;
  double squares = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const int value = std::clamp(rounded(vector[i] * inverse), -127, 127);
    code[i] = static_cast<std::uint8_t>(value + kZero);
    const double rest =
        static_cast<double>(vector[i]) - static_cast<double>(scale) * static_cast<double>(value);
    lost += rest * rest;
    squares += static_cast<double>(vector[i]) * vector[i];
  }
  return {scale, static_cast<float>(std::sqrt(lost)), static_cast<float>(squares)};
}

QueryVector::QueryVector(const float* vector, std::size_t dim, Metric metric)
    : metric_(metric), exact_(vector, vector + dim), code_(dim) {
  scale_ = largest(vector, dim) / kLargest;
  const float inverse = scale_ > 0 ? 1.0F / scale_ : 0.0F;
  double lost = 0;
  double squares = 0;
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const int value = std::clamp(rounded(vector[i] * inverse), -127, 127);
    code_[i] = static_cast<std::int8_t>(value);
    sum += value;
    const double rest =
        static_cast<double>(vector[i]) - static_cast<double>(scale_) * static_cast<double>(value);
    lost += rest * rest;
    squares += static_cast<double>(vector[i]) * vector[i];
  }
  shift_ = kZero * sum;
  error_ = static_cast<float>(std::sqrt(lost));
  squares_ = static_cast<float>(squares);
  length_ = static_cast<float>(std::sqrt(squares));
}

// |q.v - q'.v'| = |(q - q').v' + q.(v - v')| <= |q - q'| |v'| + |q| |v - v'|, |v'| <= |v| + |v -
// v'|
float QueryVector::bound(const CodeHead& head) const noexcept {
  const float row_length = std::sqrt(head.squares);
  const float product = error_ * (row_length + head.error) + length_ * head.error;
  const float rounding = kRounding * (length_ * row_length + head.squares + squares_);
  return (metric_ == Metric::kL2 ? 2.0F * product : product) + rounding;
}

float QueryVector::score(const float* row, const CodeHead& head) const noexcept {
  const float product = kernels().dot_f32(exact_.data(), row, exact_.size());
  return metric_ == Metric::kL2 ? 2.0F * product - head.squares - squares_ : product;
}

}  // namespace dure::index
