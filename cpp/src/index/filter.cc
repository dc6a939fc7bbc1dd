#include "dure/index/filter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "index/filter_parse.h"

namespace dure::index {
namespace {

bool asks_for_document(const FilterNode& node) {
  return node.field == kDocumentField ||
         std::any_of(node.children.begin(), node.children.end(), asks_for_document);
}

template <typename T>
void append_bytes(T value, std::string& out) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

void append_text(std::string_view text, std::string& out) {
  append_bytes(text.size(), out);
  out += text;
}

void append_key(const FilterNode& node, std::string& out) {
  append_bytes(node.op, out);
  append_bytes(node.any_element, out);
  append_bytes(node.count, out);
  append_text(node.field, out);
  append_bytes(node.values.size(), out);
  for (const FilterValue& value : node.values) {
    append_bytes(value.index(), out);
    if (const auto* flag = std::get_if<bool>(&value)) append_bytes(*flag, out);
    if (const auto* whole = std::get_if<std::int64_t>(&value)) append_bytes(*whole, out);
    if (const auto* real = std::get_if<double>(&value)) append_bytes(*real, out);
    if (const auto* text = std::get_if<std::string>(&value)) append_text(*text, out);
  }
  append_bytes(node.children.size(), out);
  for (const FilterNode& child : node.children) append_key(child, out);
}

base::Result<json::Value> read_json(json::Parser& parser, std::string_view json) {
  auto value = parser.parse(json);
  if (value) return value;
  return base::fail(filter_error(0, "not JSON: " + value.error().message()));
}

}  // namespace

Filter::Filter(FilterNode root, bool missing_is_unknown)
    : root_(std::move(root)),
      missing_is_unknown_(missing_is_unknown),
      needs_document_(asks_for_document(root_)) {}

base::Result<Filter> Filter::parse(std::string_view where_json) {
  json::Parser parser;
  const auto where = read_json(parser, where_json);
  if (!where) return base::fail(where.error());
  if (const auto sql = where->string()) return parse_sql(*sql);
  Node root = looks_like_qdrant(*where) ? read_qdrant(*where) : read_chroma(*where);
  if (!root) return base::fail(std::move(root).error());
  return Filter(*std::move(root), false);
}

base::Result<Filter> Filter::parse_chroma(std::string_view json) {
  json::Parser parser;
  const auto where = read_json(parser, json);
  if (!where) return base::fail(where.error());
  Node root = read_chroma(*where);
  if (!root) return base::fail(std::move(root).error());
  return Filter(*std::move(root), false);
}

base::Result<Filter> Filter::parse_chroma_document(std::string_view json) {
  json::Parser parser;
  const auto where = read_json(parser, json);
  if (!where) return base::fail(where.error());
  Node root = read_chroma_document(*where);
  if (!root) return base::fail(std::move(root).error());
  return Filter(*std::move(root), false);
}

base::Result<Filter> Filter::parse_qdrant(std::string_view json) {
  json::Parser parser;
  const auto where = read_json(parser, json);
  if (!where) return base::fail(where.error());
  Node root = read_qdrant(*where);
  if (!root) return base::fail(std::move(root).error());
  return Filter(*std::move(root), false);
}

base::Result<Filter> Filter::parse_sql(std::string_view text) {
  Node root = read_sql(text);
  if (!root) return base::fail(std::move(root).error());
  return Filter(*std::move(root), true);
}

std::string Filter::key() const {
  std::string out(1, missing_is_unknown_ ? '1' : '0');
  append_key(root_, out);
  return out;
}

}  // namespace dure::index
