// index/filter_values.h - how values of filters and of rows compare: the one meaning that the
// matcher of rows and the columns share.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_INDEX_FILTER_VALUES_H_
#define DURE_SRC_INDEX_FILTER_VALUES_H_

#include <cstdint>
#include <string_view>

#include "dure/index/filter.h"
#include "json/reader.h"

namespace dure::index {

// -1, 0, 1. By exact value: 2^53 + 1 is above 2^53 though their doubles are equal.
[[nodiscard]] int order_of(std::int64_t a, std::int64_t b) noexcept;
[[nodiscard]] int order_of(double a, double b) noexcept;
[[nodiscard]] int order_of(std::int64_t a, double b) noexcept;
// REQUIRES: values of one kind.
[[nodiscard]] int order_of(const FilterValue& a, const FilterValue& b);

// % any characters, _ one. Goes back to the last % only, so at most quadratic.
[[nodiscard]] bool is_like(std::string_view text, std::string_view pattern);

// The member `name`, else the member b of the member a for a name "a.b"; missing if there is none.
[[nodiscard]] json::Value field_of(const json::Value& object, std::string_view name);

// Whether `value` meets a leaf with values. REQUIRES: it is of their kind.
[[nodiscard]] bool holds(const FilterNode& leaf, const FilterValue& value);

}  // namespace dure::index

#endif  // DURE_SRC_INDEX_FILTER_VALUES_H_
