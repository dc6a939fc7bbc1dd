#include "index/filter_parse.h"

#include <algorithm>
#include <utility>

namespace dure::index {

base::Status filter_error(std::int64_t position, std::string reason, std::string_view path) {
  std::string message = "filter: " + reason;
  message += path.empty() ? " (at character " + std::to_string(position) + ")"
                          : " (at " + std::string(path) + ")";
  auto status = base::Status(base::Code::kInvalidArgument, std::move(message))
                    .as("FilterError")
                    .with("position", position)
                    .with("reason", std::move(reason));
  return path.empty() ? status : std::move(status).with("path", std::string(path));
}

std::string_view kind_of(const FilterValue& value) noexcept {
  if (std::holds_alternative<bool>(value)) return "a boolean";
  return std::holds_alternative<std::string>(value) ? "a string" : "a number";
}

std::string_view kind_of(const json::Value& value) noexcept {
  switch (value.kind()) {
    case json::Kind::kBool:
      return "a boolean";
    case json::Kind::kInteger:
    case json::Kind::kReal:
      return "a number";
    case json::Kind::kString:
      return "a string";
    case json::Kind::kArray:
      return "a list";
    case json::Kind::kObject:
      return "an object";
    case json::Kind::kNull:
    case json::Kind::kMissing:
      break;
  }
  return "null";
}

std::optional<FilterValue> scalar(const json::Value& value) {
  if (const auto text = value.string()) return FilterValue(std::string(*text));
  if (const auto flag = value.boolean()) return FilterValue(*flag);
  if (const auto whole = value.integer()) return FilterValue(*whole);
  if (const auto number = value.number()) return FilterValue(*number);
  return std::nullopt;
}

std::string fault_of(FilterOp op, const std::vector<FilterValue>& values) {
  const std::string_view kind = values.empty() ? "nothing" : kind_of(values[0]);
  switch (op) {
    case FilterOp::kLess:
    case FilterOp::kLessEqual:
    case FilterOp::kGreater:
    case FilterOp::kGreaterEqual:
      if (kind == "a boolean") return "a boolean has no order; compare with a number or a string";
      return {};
    case FilterOp::kLike:
    case FilterOp::kHasText:
      if (kind != "a string") return "expected a string, got " + std::string(kind);
      if (std::get<std::string>(values[0]).empty()) return "an empty string is in every text";
      return {};
    case FilterOp::kIn:
    case FilterOp::kNotIn:
      if (values.empty()) return "an empty list would match nothing; leave the condition out";
      for (const FilterValue& value : values) {
        if (kind_of(value) == kind) continue;
        return "the list holds " + std::string(kind) + " and " + std::string(kind_of(value)) +
               "; its values must be of one kind";
      }
      return {};
    default:
      return {};
  }
}

FilterNode leaf(FilterOp op, std::int64_t position, std::string_view field,
                std::vector<FilterValue> values) {
  FilterNode node;
  node.op = op;
  node.position = position;
  node.field = field;
  node.values = std::move(values);
  return node;
}

FilterNode negation(FilterNode node) {
  FilterNode out;
  out.op = FilterOp::kNot;
  out.position = node.position;
  out.children.push_back(std::move(node));
  return out;
}

FilterNode group(FilterOp op, std::vector<FilterNode> children) {
  if (children.size() == 1) {
    FilterNode only = std::move(children[0]);
    return only;
  }
  FilterNode out;
  out.op = op;
  out.position = children[0].position;
  out.children = std::move(children);
  return out;
}

base::Status DictReader::enter(std::size_t depth, std::string_view path) {
  ++position_;
  if (depth > Filter::kMaxDepth) return filter_error(position_, "nested too deep", path);
  if (position_ >= static_cast<std::int64_t>(Filter::kMaxNodes)) {
    return filter_error(position_, "too many conditions", path);
  }
  return {};
}

Node DictReader::checked_leaf(FilterOp op, std::string_view field, std::vector<FilterValue> values,
                              std::string_view path) const {
  if (field == kDocumentField && op != FilterOp::kHasText) return fail(kReservedField, path);
  if (std::string fault = fault_of(op, values); !fault.empty()) return fail(std::move(fault), path);
  return leaf(op, position_, field, std::move(values));
}

base::Result<std::vector<FilterValue>> DictReader::scalars(const json::Value& list,
                                                           std::string_view path) const {
  if (!list.is_array()) return fail("expected a list, got " + std::string(kind_of(list)), path);
  std::vector<FilterValue> values;
  for (const json::Value& item : list.items()) {
    auto value = scalar(item);
    if (!value) return fail("the list holds " + std::string(kind_of(item)), path);
    values.push_back(*std::move(value));
  }
  if (values.size() > Filter::kMaxNodes) return fail("the list is too long", path);
  return values;
}

}  // namespace dure::index
