// index/filter_parse.h - what the three spellings of a filter share.
//
// Thread-safe: pure functions; a FilterBuilder is used by one thread at a time.
#ifndef DURE_SRC_INDEX_FILTER_PARSE_H_
#define DURE_SRC_INDEX_FILTER_PARSE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/filter.h"
#include "json/reader.h"

namespace dure::index {

using Node = base::Result<FilterNode>;

inline constexpr const char* kReservedField = "the name #document is reserved for the row's text";

// A FilterError. `path`: the way to the place in a dict form.
[[nodiscard]] base::Status filter_error(std::int64_t position, std::string reason,
                                        std::string_view path = {});

// "a boolean", "a number", "a string".
[[nodiscard]] std::string_view kind_of(const FilterValue& value) noexcept;
// "a list", "an object", ... too.
[[nodiscard]] std::string_view kind_of(const json::Value& value) noexcept;
// Nothing for null, lists and objects.
[[nodiscard]] std::optional<FilterValue> scalar(const json::Value& value);

// What is wrong with `values` for `op`; empty if nothing.
[[nodiscard]] std::string fault_of(FilterOp op, const std::vector<FilterValue>& values);

[[nodiscard]] FilterNode leaf(FilterOp op, std::int64_t position, std::string_view field,
                              std::vector<FilterValue> values = {});
[[nodiscard]] FilterNode negation(FilterNode node);
// The only child itself. REQUIRES: not empty.
[[nodiscard]] FilterNode group(FilterOp op, std::vector<FilterNode> children);

// Numbers the conditions of a dict form and keeps it within Filter's bounds.
class DictReader {
 public:
  [[nodiscard]] tl::unexpected<base::Status> fail(std::string reason, std::string_view path) const {
    return base::fail(filter_error(position_, std::move(reason), path));
  }
  // A new condition at `path`.
  [[nodiscard]] base::Status enter(std::size_t depth, std::string_view path);
  // leaf() at the current position, after fault_of().
  [[nodiscard]] Node checked_leaf(FilterOp op, std::string_view field,
                                  std::vector<FilterValue> values, std::string_view path) const;
  // The scalars of a list that is not empty.
  [[nodiscard]] base::Result<std::vector<FilterValue>> scalars(const json::Value& list,
                                                               std::string_view path) const;

 private:
  std::int64_t position_ = -1;
};

[[nodiscard]] Node read_chroma(const json::Value& where);
[[nodiscard]] Node read_chroma_document(const json::Value& where);
[[nodiscard]] bool looks_like_qdrant(const json::Value& where);
[[nodiscard]] Node read_qdrant(const json::Value& where);
[[nodiscard]] Node read_sql(std::string_view text);

}  // namespace dure::index

#endif  // DURE_SRC_INDEX_FILTER_PARSE_H_
