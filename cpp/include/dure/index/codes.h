// dure/index/codes.h - vectors in one byte a component, with a bound of what that loses.
//
// A row is stored as code[i] = round(v[i] / scale) + 128 with a scale of its own. The inner product
// of two rows is then scale * scale * (an integer), off by at most the bound that score_bound
// gives: searches that must be exact look at every row whose bound reaches the k best (exact.h).
//
// A score is what ranks: higher is better. cosine and ip: the inner product (rows of cosine are
// stored at length one); l2: minus the squared distance.
//
// Immutable values and pure functions.
#ifndef DURE_INDEX_CODES_H_
#define DURE_INDEX_CODES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace dure::index {

enum class Metric : std::uint8_t { kCosine, kInnerProduct, kL2 };

[[nodiscard]] std::optional<Metric> metric_of(std::string_view name) noexcept;  // cosine|ip|l2
[[nodiscard]] std::string_view name_of(Metric metric) noexcept;

struct CodeHead {
  float scale;    // of the code
  float error;    // length of what the code lost
  float squares;  // squared length of the row
};

// Scales `vector` to length one. False if it has no length or is not finite.
[[nodiscard]] bool normalize(float* vector, std::size_t dim) noexcept;
// False if a component is NaN or infinite.
[[nodiscard]] bool is_finite(const float* vector, std::size_t dim) noexcept;

// Writes `dim` bytes.
CodeHead encode(const float* vector, std::size_t dim, std::uint8_t* code) noexcept;

// A question: the vector itself and its code.
class QueryVector {
 public:
  // `vector` is prepared already (of length one under cosine).
  QueryVector(const float* vector, std::size_t dim, Metric metric);

  [[nodiscard]] std::size_t dim() const noexcept { return exact_.size(); }
  [[nodiscard]] const float* exact() const noexcept { return exact_.data(); }
  [[nodiscard]] const std::int8_t* code() const noexcept { return code_.data(); }

  // The score of a row from `sum` = dot_u8s8(row's code, code()).
  [[nodiscard]] float estimate(std::int32_t sum, const CodeHead& head) const noexcept {
    const auto centred = static_cast<float>(sum - shift_);
    const float product = scale_ * head.scale * centred;
    return metric_ == Metric::kL2 ? 2.0F * product - head.squares - squares_ : product;
  }
  // How far estimate() can be from the score.
  [[nodiscard]] float bound(const CodeHead& head) const noexcept;
  // The score from the row itself, in single precision.
  [[nodiscard]] float score(const float* row, const CodeHead& head) const noexcept;

 private:
  Metric metric_;
  std::vector<float> exact_;
  std::vector<std::int8_t> code_;
  float scale_ = 0;
  float error_ = 0;
  float length_ = 0;
  float squares_ = 0;
  std::int32_t shift_ = 0;  // 128 * sum of code_
};

}  // namespace dure::index

#endif  // DURE_INDEX_CODES_H_
