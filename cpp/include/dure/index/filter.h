// dure/index/filter.h - conditions on a row's metadata: three spellings, one tree.
//
//   Chroma   {"year": {"$gte": 2024}, "$or": [{"lang": "ko"}, {"lang": "en"}]}
//   Qdrant   {"must": [{"key": "year", "range": {"gte": 2024}}], "must_not": [...]}
//   SQL-like year >= 2024 AND (lang = 'ko' OR lang IN ('en', 'de')) AND title LIKE 'A%'
//
// A filter never quietly matches nothing: an unknown operator or key, a value of the wrong kind,
// and a row whose field is of another kind than the value it is compared with, are FilterErrors
// with `.position` and `.reason` (in SQL the offset in characters; in the dict forms the number of
// the condition in reading order from 0, and `.path` spells the way to it).
//
// A missing or null field is no clash. Chroma and Qdrant: it equals nothing, so $ne, $nin and
// must_not hold. SQL: it is unknown, so neither `f = 1` nor `NOT f = 1` nor `f != 1` holds; use IS
// NULL. Whole and broken numbers compare by their exact value; booleans are no numbers; strings
// compare by their bytes (which is the order of code points). A field that is a list holds a
// Qdrant condition if one of its elements does, and Chroma's $contains; other operators clash.
// The field "a.b" is the member "a.b", else the member b of the member a.
//
// Filter: immutable. FilterMatcher: one thread at a time.
#ifndef DURE_INDEX_FILTER_H_
#define DURE_INDEX_FILTER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dure/base/result.h"

namespace dure::index {

using FilterValue = std::variant<bool, std::int64_t, double, std::string>;

enum class FilterOp : std::uint8_t {
  kAnd,      // all of children
  kOr,       // one of children
  kAtLeast,  // `count` of children
  kNot,      // not children[0]
  kEqual,    // field = values[0]
  kLess,     // field < values[0]; strings or numbers
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,          // field is one of values, which are all of one kind
  kNotIn,       // field is there and none of values
  kLike,        // field LIKE values[0]: % any characters, _ one character
  kHasText,     // field holds the string values[0] as a part
  kHasElement,  // field is a list with values[0] among its elements
  kIsNull,      // field is null or missing
  kHoldsNull,   // field is there and null
  kIsEmpty,     // field is null, missing or an empty list
};

struct FilterNode {
  FilterOp op = FilterOp::kAnd;
  std::int64_t position = 0;  // as in the errors
  // Of a leaf; kDocumentField: the row's text. A kAnd with a field asks all of its children of one
  // value: of the field, or of one element of it.
  std::string field;
  std::vector<FilterValue> values;
  std::vector<FilterNode> children;
  std::size_t count = 0;     // kAtLeast
  bool any_element = false;  // a list holds if one element does (Qdrant)
};

// The name by which a leaf means the row's text instead of its metadata.
inline constexpr std::string_view kDocumentField = "#document";

class Filter {
 public:
  static constexpr std::size_t kMaxDepth = 64;
  static constexpr std::size_t kMaxNodes = 10'000;

  // `where` as JSON: a string is the SQL-like form; an object with only must, should, must_not,
  // min_should is Qdrant's; other objects are Chroma's. Fails with FilterError.
  [[nodiscard]] static base::Result<Filter> parse(std::string_view where_json);
  [[nodiscard]] static base::Result<Filter> parse_chroma(std::string_view json);
  // Chroma's where_document: $contains, $not_contains, $and, $or.
  [[nodiscard]] static base::Result<Filter> parse_chroma_document(std::string_view json);
  [[nodiscard]] static base::Result<Filter> parse_qdrant(std::string_view json);
  [[nodiscard]] static base::Result<Filter> parse_sql(std::string_view text);

  [[nodiscard]] const FilterNode& root() const noexcept { return root_; }
  // SQL's logic of three values: a missing field is neither true nor false.
  [[nodiscard]] bool missing_is_unknown() const noexcept { return missing_is_unknown_; }
  // Whether a leaf asks for the row's text.
  [[nodiscard]] bool needs_document() const noexcept { return needs_document_; }
  // The same for filters of the same build, of no others: a key for caches.
  [[nodiscard]] std::string key() const;

 private:
  Filter(FilterNode root, bool missing_is_unknown);

  FilterNode root_;
  bool missing_is_unknown_;
  bool needs_document_;
};

// Reads rows by a filter.
class FilterMatcher {
 public:
  // Borrows `filter`, which outlives the matcher.
  explicit FilterMatcher(const Filter& filter);
  ~FilterMatcher();
  FilterMatcher(FilterMatcher&&) noexcept;
  FilterMatcher& operator=(FilterMatcher&&) noexcept;

  // Whether a row with this metadata (a JSON object; empty: none) and text passes. Every condition
  // is looked at, so a clash shows whatever stands before it. Fails with FilterError for a clash,
  // with kCorrupt if `metadata_json` is no JSON object.
  [[nodiscard]] base::Result<bool> matches(std::string_view metadata_json,
                                           std::string_view document = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_FILTER_H_
