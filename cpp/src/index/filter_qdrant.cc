// Qdrant's filter (qdrant.tech/documentation/concepts/filtering): must, should, must_not and
// min_should over match, range, is_empty, is_null and nested filters.
#include <array>
#include <utility>

#include "index/filter_parse.h"

namespace dure::index {
namespace {

bool is_clause(std::string_view key) {
  return key == "must" || key == "should" || key == "must_not" || key == "min_should";
}

FilterNode one_element(FilterNode node) {
  node.any_element = true;
  return node;
}

class QdrantReader {
 public:
  Node filter(const json::Value& value, const std::string& path, std::size_t depth) {
    DURE_RETURN_IF_ERROR(reader_.enter(depth, path));
    std::vector<FilterNode> all;
    for (const auto& [key, clause] : value.members()) {
      if (!is_clause(key)) return reader_.fail("unknown clause " + std::string(key), path);
      if (clause.absent()) continue;
      if (auto status = add_clause(key, clause, path + "." + std::string(key), depth, all);
          !status.ok()) {
        return base::fail(std::move(status));
      }
    }
    if (all.empty()) {
      return reader_.fail("an empty filter; leave `where` out to mean every row", path);
    }
    return group(FilterOp::kAnd, std::move(all));
  }

 private:
  base::Status add_clause(std::string_view key, const json::Value& clause, const std::string& path,
                          std::size_t depth, std::vector<FilterNode>& all) {
    const bool counted = key == "min_should";
    auto read = conditions(counted ? clause["conditions"] : clause, path, depth);
    if (!read) return std::move(read).error();
    std::vector<FilterNode> nodes = *std::move(read);
    if (counted) {
      const auto count = clause["min_count"].integer();
      if (!count || *count < 1 || *count > static_cast<std::int64_t>(nodes.size())) {
        return reader_.fail("min_count must be between 1 and the number of conditions", path)
            .value();
      }
      FilterNode some;
      some.op = FilterOp::kAtLeast;
      some.position = nodes[0].position;
      some.count = static_cast<std::size_t>(*count);
      some.children = std::move(nodes);
      all.push_back(std::move(some));
    } else if (!nodes.empty()) {
      const FilterOp op = key == "must" ? FilterOp::kAnd : FilterOp::kOr;
      FilterNode node = group(op, std::move(nodes));
      all.push_back(key == "must_not" ? negation(std::move(node)) : std::move(node));
    }
    return {};
  }

  // A list of conditions, or one alone.
  base::Result<std::vector<FilterNode>> conditions(const json::Value& clause,
                                                   const std::string& path, std::size_t depth) {
    std::vector<FilterNode> nodes;
    if (clause.is_object()) {
      Node node = condition(clause, path, depth + 1);
      if (!node) return base::fail(std::move(node).error());
      nodes.push_back(*std::move(node));
      return nodes;
    }
    if (!clause.is_array()) {
      return reader_.fail("expected a list of conditions, got " + std::string(kind_of(clause)),
                          path);
    }
    for (const json::Value& item : clause.items()) {
      Node node = condition(item, path + "[" + std::to_string(nodes.size()) + "]", depth + 1);
      if (!node) return base::fail(std::move(node).error());
      nodes.push_back(*std::move(node));
    }
    return nodes;
  }

  Node condition(const json::Value& value, const std::string& path, std::size_t depth) {
    const auto members = value.members();
    if (members.empty()) return reader_.fail("expected a condition", path);
    if (is_clause(members[0].first)) return filter(value, path, depth);
    DURE_RETURN_IF_ERROR(reader_.enter(depth, path));
    for (const auto& [name, op] :
         {std::pair("is_empty", FilterOp::kIsEmpty), std::pair("is_null", FilterOp::kHoldsNull)}) {
      const auto key = value[name]["key"].string();
      if (members.size() == 1 && key) return reader_.checked_leaf(op, *key, {}, path);
    }
    const auto field = value["key"].string();
    std::vector<FilterNode> all;
    for (const auto& [name, part] : members) {
      if (name == "key" || part.absent()) continue;
      if ((name != "match" && name != "range") || !field) {
        return reader_.fail("unknown or unsupported condition " + std::string(name) +
                                "; use key with match or range, is_empty, is_null or a filter",
                            path);
      }
      Node node = name == "match" ? match(*field, part, path + ".match")
                                  : range(*field, part, path + ".range");
      if (!node) return node;
      all.push_back(*std::move(node));
    }
    if (all.empty()) return reader_.fail("expected match or range", path);
    return group(FilterOp::kAnd, std::move(all));
  }

  Node match(std::string_view field, const json::Value& how, const std::string& path) {
    const auto members = how.members();
    if (members.size() != 1) return reader_.fail("expected one of value, any, except, text", path);
    const auto& [name, value] = members[0];
    FilterOp op = FilterOp::kEqual;
    std::vector<FilterValue> values;
    if (name == "any" || name == "except") {
      op = name == "any" ? FilterOp::kIn : FilterOp::kNotIn;
      auto list = reader_.scalars(value, path);
      if (!list) return base::fail(std::move(list).error());
      values = *std::move(list);
    } else if (name == "value" || name == "text") {
      if (name == "text") op = FilterOp::kHasText;
      auto one = scalar(value);
      if (!one) return reader_.fail("cannot match " + std::string(kind_of(value)), path);
      values.push_back(*std::move(one));
    } else {
      return reader_.fail("unknown match " + std::string(name) + "; use value, any, except or text",
                          path);
    }
    return reader_.checked_leaf(op, field, std::move(values), path).map(one_element);
  }

  Node range(std::string_view field, const json::Value& bounds, const std::string& path) {
    constexpr std::array<std::pair<std::string_view, FilterOp>, 4> kBounds = {
        {{"gt", FilterOp::kGreater},
         {"gte", FilterOp::kGreaterEqual},
         {"lt", FilterOp::kLess},
         {"lte", FilterOp::kLessEqual}}};
    std::vector<FilterNode> all;
    for (const auto& [name, value] : bounds.members()) {
      std::optional<FilterOp> op;
      for (const auto& [known, its] : kBounds) {
        if (known == name) op = its;
      }
      if (!op) return reader_.fail("unknown bound " + std::string(name), path);
      if (value.absent()) continue;
      auto number = scalar(value);
      if (!number || kind_of(*number) != "a number") {
        return reader_.fail("a range needs numbers, got " + std::string(kind_of(value)), path);
      }
      Node node = reader_.checked_leaf(*op, field, {*std::move(number)}, path);
      if (!node) return node;
      all.push_back(*std::move(node));
    }
    if (all.empty()) return reader_.fail("a range needs gt, gte, lt or lte", path);
    FilterNode node = group(FilterOp::kAnd, std::move(all));
    node.field = field;
    return one_element(std::move(node));
  }

  DictReader reader_;
};

}  // namespace

bool looks_like_qdrant(const json::Value& where) {
  const auto members = where.members();
  for (const auto& [key, value] : members) {
    if (!is_clause(key)) return false;
    const auto inner = value.members();
    if (!inner.empty() && inner[0].first.starts_with('$')) return false;  // Chroma: a field "must"
    if (!value.is_array() && !value.is_object() && !value.absent()) return false;
  }
  return !members.empty();
}

Node read_qdrant(const json::Value& where) {
  if (!where.is_object()) {
    return base::fail(
        filter_error(0, "expected an object, got " + std::string(kind_of(where)), "filter"));
  }
  return QdrantReader().filter(where, "filter", 0);
}

}  // namespace dure::index
