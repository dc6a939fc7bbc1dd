// index/columns.h - the metadata of a collection by field, typed and sorted, so that a filter with
// a value never asked before costs what it finds, not a reading of every row.
//
// A column is made when a filter first names its field, and grows with the rows. It answers what
// FilterMatcher answers, or nothing at all: then the caller reads the rows, which also names the
// clash if there is one.
//
// One thread at a time.
#ifndef DURE_INDEX_COLUMNS_H_
#define DURE_INDEX_COLUMNS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/filter.h"
#include "dure/index/scored_row.h"
#include "json/reader.h"

namespace dure::index {

// Numbers with the rows that hold them, by rising value; the latest may still wait unsorted.
template <typename T>
class SortedRows {
 public:
  void add(T value, RowNumber row) { entries_.push_back({value, row}); }
  // Sorts what is new, if it is much.
  void settle();
  // Calls take(row) for each entry within the bounds. `below(value)`: it lies under the lower
  // bound; `above(value)`: over the upper one.
  template <typename Below, typename Above, typename Take>
  void each(const Below& below, const Above& above, const Take& take) const;

 private:
  struct Entry {
    T value;
    RowNumber row;
  };
  std::vector<Entry> entries_;
  std::size_t sorted_ = 0;  // of them, from the front
};

class Columns {
 public:
  using Bits = std::vector<std::uint64_t>;

  // A bit for each row of `metadata` that passes; those of rows that are not in `live` mean
  // nothing. Nothing if columns cannot tell: a live row clashes with the filter, or the filter is
  // of a kind that only rows answer. kCorrupt if a live row's metadata is no JSON object.
  // `metadata` is the same vector each time, only longer.
  [[nodiscard]] base::Result<std::optional<Bits>> passing(const Filter& filter,
                                                          const std::vector<std::string>& metadata,
                                                          const Bits& live);
  void clear() { columns_.clear(); }

 private:
  // What a field is in a row; the last five: what elements its list has.
  enum Held : std::size_t {
    kMissing,
    kNull,
    kFalse,
    kTrue,
    kNumber,
    kString,
    kEmptyList,
    kList,
    kObject,
    kFalseElement,
    kTrueElement,
    kNumberElement,
    kStringElement,
    kOtherElement,
    kHeldKinds
  };
  struct Column {
    std::string field;
    std::size_t rows = 0;  // looked at so far
    std::array<Bits, kHeldKinds> held;
    SortedRows<std::int64_t> wholes;
    SortedRows<double> reals;
    std::map<std::string, std::vector<RowNumber>, std::less<>> strings;
  };
  // The rows of which a condition is true; and unknown, in SQL's logic.
  struct Truth {
    Bits yes;
    Bits unknown;
  };
  struct Question {
    const Bits& live;
    std::size_t words;
    bool missing_is_unknown;
  };

  static void name_fields(const FilterNode& node, std::vector<std::string>& fields);
  [[nodiscard]] Column& column_of(const std::string& field);
  [[nodiscard]] base::Status extend(const std::vector<std::string>& fields,
                                    const std::vector<std::string>& metadata, const Bits& live);
  static void add(Column& column, const json::Value& value, RowNumber row);
  static void add_scalar(Column& column, const json::Value& value, RowNumber row, bool element);

  [[nodiscard]] std::optional<Truth> look(const FilterNode& node, const Question& question);
  [[nodiscard]] std::optional<Truth> look_at_children(const FilterNode& node,
                                                      const Question& question);
  [[nodiscard]] std::optional<Truth> look_at_leaf(const FilterNode& node, const Question& question);
  [[nodiscard]] static bool clashes(const Column& column, const FilterNode& node,
                                    const Question& question);
  [[nodiscard]] static Bits rows_of(const Column& column, const FilterNode& node,
                                    const Question& question);

  std::list<Column> columns_;  // latest first
};

}  // namespace dure::index

#endif  // DURE_INDEX_COLUMNS_H_
