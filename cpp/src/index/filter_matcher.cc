#include <algorithm>
#include <utility>

#include "index/filter_parse.h"
#include "index/filter_values.h"

namespace dure::index {
namespace {

enum class Truth : std::uint8_t { kFalse, kUnknown, kTrue };

Truth truth_of(bool value) noexcept { return value ? Truth::kTrue : Truth::kFalse; }

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
