#include "index/filter_values.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <variant>

#include "dure/text/utf8.h"

namespace dure::index {
namespace {

std::size_t next_character(std::string_view text, std::size_t at) {
  return at + text::decode_at(text, at).length;
}

}  // namespace

int order_of(std::int64_t a, std::int64_t b) noexcept { return a < b ? -1 : a > b ? 1 : 0; }
int order_of(double a, double b) noexcept { return a < b ? -1 : a > b ? 1 : 0; }

int order_of(std::int64_t a, double b) noexcept {
  if (b >= 0x1.0p63) return -1;
  if (b < -0x1.0p63) return 1;
  const double whole = std::trunc(b);
  if (const int order = order_of(a, static_cast<std::int64_t>(whole)); order != 0) return order;
  return order_of(whole, b);
}

int order_of(const FilterValue& a, const FilterValue& b) {
  if (const auto* flag = std::get_if<bool>(&a)) {
    return static_cast<int>(*flag) - static_cast<int>(std::get<bool>(b));
  }
  if (const auto* text = std::get_if<std::string>(&a)) {
    return order_of(std::int64_t{text->compare(std::get<std::string>(b))}, std::int64_t{0});
  }
  const auto* a_whole = std::get_if<std::int64_t>(&a);
  const auto* b_whole = std::get_if<std::int64_t>(&b);
  if (a_whole != nullptr && b_whole != nullptr) return order_of(*a_whole, *b_whole);
  if (a_whole != nullptr) return order_of(*a_whole, std::get<double>(b));
  if (b_whole != nullptr) return -order_of(*b_whole, std::get<double>(a));
  return order_of(std::get<double>(a), std::get<double>(b));
}

bool is_like(std::string_view text, std::string_view pattern) {
  std::size_t at = 0;
  std::size_t in_pattern = 0;
  std::size_t retry_at = 0;
  std::size_t retry_pattern = std::string_view::npos;
  while (at < text.size()) {
    const char wanted = in_pattern < pattern.size() ? pattern[in_pattern] : '\0';
    if (in_pattern < pattern.size() && wanted == '%') {
      retry_pattern = ++in_pattern;
      retry_at = at;
    } else if (in_pattern < pattern.size() && wanted == '_') {
      at = next_character(text, at);
      ++in_pattern;
    } else if (in_pattern < pattern.size() && wanted == text[at]) {
      ++at;
      ++in_pattern;
    } else if (retry_pattern != std::string_view::npos) {
      in_pattern = retry_pattern;
      at = retry_at = next_character(text, retry_at);
    } else {
      return false;
    }
  }
  while (in_pattern < pattern.size() && pattern[in_pattern] == '%') ++in_pattern;
  return in_pattern == pattern.size();
}

json::Value field_of(const json::Value& object, std::string_view name) {
  const json::Value whole = object[name];
  if (!whole.missing()) return whole;
  for (auto dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    const json::Value inner = object[name.substr(0, dot)];
    if (!inner.is_object()) continue;
    const json::Value found = field_of(inner, name.substr(dot + 1));
    if (!found.missing()) return found;
  }
  return {};
}

bool holds(const FilterNode& leaf, const FilterValue& value) {
  const auto equals = [&](const FilterValue& other) { return order_of(value, other) == 0; };
  switch (leaf.op) {
    case FilterOp::kEqual:
      return equals(leaf.values[0]);
    case FilterOp::kLess:
      return order_of(value, leaf.values[0]) < 0;
    case FilterOp::kLessEqual:
      return order_of(value, leaf.values[0]) <= 0;
    case FilterOp::kGreater:
      return order_of(value, leaf.values[0]) > 0;
    case FilterOp::kGreaterEqual:
      return order_of(value, leaf.values[0]) >= 0;
    case FilterOp::kIn:
      return std::any_of(leaf.values.begin(), leaf.values.end(), equals);
    case FilterOp::kNotIn:
      return std::none_of(leaf.values.begin(), leaf.values.end(), equals);
    case FilterOp::kLike:
      return is_like(std::get<std::string>(value), std::get<std::string>(leaf.values[0]));
    case FilterOp::kHasText:
      return std::get<std::string>(value).find(std::get<std::string>(leaf.values[0])) !=
             std::string::npos;
    default:
      return false;
  }
}

}  // namespace dure::index
