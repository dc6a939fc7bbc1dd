// Chroma's `where` and `where_document` (docs.trychroma.com, "Metadata Filtering", "Full Text
// Search"). Two liberties: several keys in one object, and several operators of one field, mean
// all of them.
#include <array>
#include <utility>

#include "index/filter_parse.h"

namespace dure::index {
namespace {

struct Operator {
  std::string_view name;
  FilterOp op;
  bool negated;
};

constexpr std::array<Operator, 10> kOperators = {{{"$eq", FilterOp::kEqual, false},
                                                  {"$ne", FilterOp::kEqual, true},
                                                  {"$gt", FilterOp::kGreater, false},
                                                  {"$gte", FilterOp::kGreaterEqual, false},
                                                  {"$lt", FilterOp::kLess, false},
                                                  {"$lte", FilterOp::kLessEqual, false},
                                                  {"$in", FilterOp::kIn, false},
                                                  {"$nin", FilterOp::kIn, true},
                                                  {"$contains", FilterOp::kHasElement, false},
                                                  {"$not_contains", FilterOp::kHasElement, true}}};

std::string joined(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : std::string(path) + "." + std::string(key);
}

class ChromaReader {
 public:
  explicit ChromaReader(bool of_document) : of_document_(of_document) {}

  Node read(const json::Value& where, std::string_view path, std::size_t depth) {
    DURE_RETURN_IF_ERROR(reader_.enter(depth, place(path)));
    if (!where.is_object()) {
      return reader_.fail("expected an object, got " + std::string(kind_of(where)), place(path));
    }
    std::vector<FilterNode> all;
    for (const auto& [key, value] : where.members()) {
      Node node = member(key, value, joined(path, key), depth);
      if (!node) return node;
      all.push_back(*std::move(node));
    }
    if (all.empty()) {
      return reader_.fail("an empty filter; leave `where` out to mean every row", place(path));
    }
    return group(FilterOp::kAnd, std::move(all));
  }

 private:
  static std::string_view place(std::string_view path) { return path.empty() ? "where" : path; }

  Node member(std::string_view key, const json::Value& value, const std::string& path,
              std::size_t depth) {
    if (key == "$and") return several(FilterOp::kAnd, value, path, depth);
    if (key == "$or") return several(FilterOp::kOr, value, path, depth);
    if (of_document_) return document(key, value, path);
    if (key.starts_with('$')) {
      return reader_.fail("unknown operator " + std::string(key) + "; use $and, $or or a field",
                          path);
    }
    if (value.is_object()) return conditions(key, value, path, depth);
    if (value.is_array()) return reader_.fail("a list needs an operator: $in or $nin", path);
    return condition(key, kOperators[0], value, path);
  }

  Node several(FilterOp op, const json::Value& list, const std::string& path, std::size_t depth) {
    if (!list.is_array() || list.size() == 0) {
      return reader_.fail("expected a list of conditions", path);
    }
    std::vector<FilterNode> children;
    for (const json::Value& item : list.items()) {
      Node node = read(item, path + "[" + std::to_string(children.size()) + "]", depth + 1);
      if (!node) return node;
      children.push_back(*std::move(node));
    }
    return group(op, std::move(children));
  }

  // {"field": {"$gte": 1, "$lt": 5}}
  Node conditions(std::string_view field, const json::Value& operators, const std::string& path,
                  std::size_t depth) {
    std::vector<FilterNode> all;
    for (const auto& [name, value] : operators.members()) {
      const std::string where = joined(path, name);
      if (!all.empty()) DURE_RETURN_IF_ERROR(reader_.enter(depth, where));
      const Operator* known = nullptr;
      for (const Operator& one : kOperators) {
        if (one.name == name) known = &one;
      }
      if (known == nullptr) {
        return reader_.fail("unknown operator " + std::string(name) +
                                "; use $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $contains or "
                                "$not_contains",
                            where);
      }
      Node node = condition(field, *known, value, where);
      if (!node) return node;
      all.push_back(*std::move(node));
    }
    if (all.empty()) return reader_.fail("expected an operator", path);
    return group(FilterOp::kAnd, std::move(all));
  }

  Node condition(std::string_view field, const Operator& how, const json::Value& value,
                 const std::string& path) {
    std::vector<FilterValue> values;
    if (how.op == FilterOp::kIn) {
      auto list = reader_.scalars(value, path);
      if (!list) return base::fail(std::move(list).error());
      values = *std::move(list);
    } else if (auto one = scalar(value)) {
      values.push_back(*std::move(one));
    } else {
      return reader_.fail(
          "expected a string, a number or a boolean, got " + std::string(kind_of(value)), path);
    }
    Node node = reader_.checked_leaf(how.op, field, std::move(values), path);
    if (node && how.negated) return negation(*std::move(node));
    return node;
  }

  Node document(std::string_view key, const json::Value& value, const std::string& path) {
    if (key != "$contains" && key != "$not_contains") {
      return reader_.fail(
          "unknown operator " + std::string(key) + "; use $contains, $not_contains, $and or $or",
          path);
    }
    const auto text = value.string();
    if (!text) return reader_.fail("expected a string, got " + std::string(kind_of(value)), path);
    Node node =
        reader_.checked_leaf(FilterOp::kHasText, kDocumentField, {std::string(*text)}, path);
    if (node && key == "$not_contains") return negation(*std::move(node));
    return node;
  }

  const bool of_document_;
  DictReader reader_;
};

}  // namespace

Node read_chroma(const json::Value& where) { return ChromaReader(false).read(where, {}, 0); }

Node read_chroma_document(const json::Value& where) {
  return ChromaReader(true).read(where, {}, 0);
}

}  // namespace dure::index
