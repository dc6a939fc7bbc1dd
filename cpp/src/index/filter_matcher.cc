#include <algorithm>
#include <cmath>
#include <utility>

#include "dure/text/utf8.h"
#include "index/filter_parse.h"

namespace dure::index {
namespace {

enum class Truth : std::uint8_t { kFalse, kUnknown, kTrue };

Truth truth_of(bool value) noexcept { return value ? Truth::kTrue : Truth::kFalse; }

int order_of(std::int64_t a, std::int64_t b) noexcept { return a < b ? -1 : a > b ? 1 : 0; }
int order_of(double a, double b) noexcept { return a < b ? -1 : a > b ? 1 : 0; }

// By exact value: 2^53 + 1 is above 2^53 though their doubles are equal.
int order_of(std::int64_t a, double b) noexcept {
  if (b >= 0x1.0p63) return -1;
  if (b < -0x1.0p63) return 1;
  const double whole = std::trunc(b);
  if (const int order = order_of(a, static_cast<std::int64_t>(whole)); order != 0) return order;
  return order_of(whole, b);
}

// -1, 0, 1. REQUIRES: values of one kind.
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

std::size_t next_character(std::string_view text, std::size_t at) {
  return at + text::decode_at(text, at).length;
}

// % any characters, _ one. Goes back to the last % only, so at most quadratic.
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

}  // namespace

struct FilterMatcher::Impl {
  const Filter& filter;
  json::Parser parser;
  json::Value row;
  std::string_view document;
  base::Status clash;  // the first

  explicit Impl(const Filter& its_filter) : filter(its_filter) {}

  Truth look(const FilterNode& node);
  Truth look_at_children(const FilterNode& node);
  Truth look_at_leaf(const FilterNode& node);
  Truth look_at_value(const FilterNode& node, const json::Value& value);
  bool holds(const FilterNode& node, const FilterValue& value);
  Truth note_clash(const FilterNode& node, std::string_view found);
};

Truth FilterMatcher::Impl::note_clash(const FilterNode& node, std::string_view found) {
  if (clash.ok()) {
    const std::string_view wanted = node.values.empty() ? "a value" : kind_of(node.values[0]);
    clash = filter_error(
        node.position,
        "field '" + node.field + "' holds " + std::string(found) + " in a row, but the filter " +
            (node.op == FilterOp::kHasElement ? "looks into a list"
                                              : "compares it with " + std::string(wanted)));
  }
  return Truth::kFalse;
}

// REQUIRES: value is of the kind of node.values.
bool FilterMatcher::Impl::holds(const FilterNode& node, const FilterValue& value) {
  const auto equals = [&](const FilterValue& other) { return order_of(value, other) == 0; };
  switch (node.op) {
    case FilterOp::kEqual:
      return equals(node.values[0]);
    case FilterOp::kLess:
      return order_of(value, node.values[0]) < 0;
    case FilterOp::kLessEqual:
      return order_of(value, node.values[0]) <= 0;
    case FilterOp::kGreater:
      return order_of(value, node.values[0]) > 0;
    case FilterOp::kGreaterEqual:
      return order_of(value, node.values[0]) >= 0;
    case FilterOp::kIn:
      return std::any_of(node.values.begin(), node.values.end(), equals);
    case FilterOp::kNotIn:
      return std::none_of(node.values.begin(), node.values.end(), equals);
    case FilterOp::kLike:
      return is_like(std::get<std::string>(value), std::get<std::string>(node.values[0]));
    case FilterOp::kHasText:
      return std::get<std::string>(value).find(std::get<std::string>(node.values[0])) !=
             std::string::npos;
    default:
      return false;
  }
}

// A value that is there and not null, against a leaf or against all leaves of a range.
Truth FilterMatcher::Impl::look_at_value(const FilterNode& node, const json::Value& value) {
  if (!node.children.empty()) {
    Truth all = Truth::kTrue;
    for (const FilterNode& child : node.children) all = std::min(all, look_at_value(child, value));
    return all;
  }
  const auto found = scalar(value);
  if (!found || kind_of(*found) != kind_of(node.values[0])) return note_clash(node, kind_of(value));
  return truth_of(holds(node, *found));
}

Truth FilterMatcher::Impl::look_at_leaf(const FilterNode& node) {
  if (node.field == kDocumentField) {
    return truth_of(document.find(std::get<std::string>(node.values[0])) != std::string_view::npos);
  }
  const json::Value value = field_of(row, node.field);
  if (node.op == FilterOp::kHoldsNull) return truth_of(!value.missing() && value.absent());
  if (node.op == FilterOp::kIsNull) return truth_of(value.absent());
  if (node.op == FilterOp::kIsEmpty) {
    return truth_of(value.absent() || (value.is_array() && value.size() == 0));
  }
  if (value.absent()) return filter.missing_is_unknown() ? Truth::kUnknown : Truth::kFalse;
  if (node.op == FilterOp::kHasElement) {
    if (!value.is_array()) return note_clash(node, kind_of(value));
  } else if (!node.any_element || !value.is_array()) {
    return look_at_value(node, value);
  }
  FilterNode equal;  // what each element is held against
  if (node.op == FilterOp::kHasElement) {
    equal = leaf(FilterOp::kEqual, node.position, node.field, node.values);
  }
  const FilterNode& each = node.op == FilterOp::kHasElement ? equal : node;
  Truth any = Truth::kFalse;
  for (const json::Value& item : value.items()) {
    if (!item.absent()) any = std::max(any, look_at_value(each, item));
  }
  return any;
}

Truth FilterMatcher::Impl::look_at_children(const FilterNode& node) {
  Truth least = Truth::kTrue;
  Truth most = Truth::kFalse;
  std::size_t held = 0;
  for (const FilterNode& child : node.children) {
    const Truth truth = look(child);
    least = std::min(least, truth);
    most = std::max(most, truth);
    held += truth == Truth::kTrue ? 1 : 0;
  }
  if (node.op == FilterOp::kAnd) return least;
  return node.op == FilterOp::kOr ? most : truth_of(held >= node.count);
}

Truth FilterMatcher::Impl::look(const FilterNode& node) {
  if (!node.field.empty() || node.children.empty()) return look_at_leaf(node);
  if (node.op != FilterOp::kNot) return look_at_children(node);
  switch (look(node.children[0])) {
    case Truth::kFalse:
      return Truth::kTrue;
    case Truth::kTrue:
      return Truth::kFalse;
    case Truth::kUnknown:
      break;
  }
  return Truth::kUnknown;
}

FilterMatcher::FilterMatcher(const Filter& filter) : impl_(std::make_unique<Impl>(filter)) {}
FilterMatcher::~FilterMatcher() = default;
FilterMatcher::FilterMatcher(FilterMatcher&&) noexcept = default;
FilterMatcher& FilterMatcher::operator=(FilterMatcher&&) noexcept = default;

base::Result<bool> FilterMatcher::matches(std::string_view metadata_json,
                                          std::string_view document) {
  Impl& impl = *impl_;
  auto row = impl.parser.parse(metadata_json.empty() ? "{}" : metadata_json);
  if (!row || !row->is_object()) {
    return base::fail(base::Code::kCorrupt, "the metadata of a row is no JSON object");
  }
  impl.row = *row;
  impl.document = document;
  impl.clash = {};
  const Truth truth = impl.look(impl.filter.root());
  if (!impl.clash.ok()) return base::fail(std::move(impl.clash));
  return truth == Truth::kTrue;
}

}  // namespace dure::index
