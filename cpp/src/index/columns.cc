#include "index/columns.h"

#include <algorithm>
#include <utility>

#include "index/filter_parse.h"
#include "index/filter_values.h"

namespace dure::index {
namespace {

using Bits = Columns::Bits;

constexpr std::size_t kColumns = 64;         // kept; the field asked longest ago goes
constexpr std::size_t kMostUnsorted = 2048;  // entries that are looked at one by one

void set_bit(Bits& bits, RowNumber row) {
  const std::size_t word = row >> 6U;
  if (word >= bits.size()) bits.resize(word + 1, 0);
  bits[word] |= std::uint64_t{1} << (row & 63U);
}

std::uint64_t word_of(const Bits& bits, std::size_t word) noexcept {
  return word < bits.size() ? bits[word] : 0;
}

bool meet(const Bits& a, const Bits& b) noexcept {
  const std::size_t words = std::min(a.size(), b.size());
  for (std::size_t word = 0; word < words; ++word) {
    if ((a[word] & b[word]) != 0) return true;
  }
  return false;
}

void unite(Bits& into, const Bits& from) {
  if (into.size() < from.size()) into.resize(from.size(), 0);
  for (std::size_t word = 0; word < from.size(); ++word) into[word] |= from[word];
}

bool is_compared(FilterOp op) noexcept {
  switch (op) {
    case FilterOp::kEqual:
    case FilterOp::kLess:
    case FilterOp::kLessEqual:
    case FilterOp::kGreater:
    case FilterOp::kGreaterEqual:
      return true;
    default:
      return false;
  }
}

// The leaves that one value has to meet: the node itself, or all of a range.
std::vector<const FilterNode*> leaves_of(const FilterNode& node) {
  std::vector<const FilterNode*> leaves;
  for (const FilterNode& child : node.children) leaves.push_back(&child);
  if (leaves.empty()) leaves.push_back(&node);
  return leaves;
}

// -1: `value` lies under what the leaf lets through, 1: over it, 0: inside. REQUIRES: is_compared.
template <typename T>
int side_of(const FilterNode& leaf, T value) {
  const int order = order_of(FilterValue(value), leaf.values[0]);
  switch (leaf.op) {
    case FilterOp::kLess:
      return order < 0 ? 0 : 1;
    case FilterOp::kLessEqual:
      return order <= 0 ? 0 : 1;
    case FilterOp::kGreater:
      return order > 0 ? 0 : -1;
    case FilterOp::kGreaterEqual:
      return order >= 0 ? 0 : -1;
    default:
      return order;
  }
}

template <typename T, typename Take>
void each_number(const SortedRows<T>& rows, const std::vector<const FilterNode*>& leaves,
                 const Take& take) {
  const auto lies = [&leaves](T value, int side) {
    return std::any_of(leaves.begin(), leaves.end(), [value, side](const FilterNode* leaf) {
      return side_of(*leaf, value) == side;
    });
  };
  rows.each([&](T value) { return lies(value, -1); }, [&](T value) { return lies(value, 1); },
            take);
}

}  // namespace

template <typename T>
void SortedRows<T>::settle() {
  if (entries_.size() - sorted_ <= kMostUnsorted) return;
  const auto before = [](const Entry& a, const Entry& b) {
    return a.value != b.value ? a.value < b.value : a.row < b.row;
  };
  const auto middle = entries_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  std::sort(middle, entries_.end(), before);
  std::inplace_merge(entries_.begin(), middle, entries_.end(), before);
  sorted_ = entries_.size();
}

template <typename T>
template <typename Below, typename Above, typename Take>
void SortedRows<T>::each(const Below& below, const Above& above, const Take& take) const {
  const auto middle = entries_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  const auto first = std::partition_point(entries_.begin(), middle,
                                          [&](const Entry& one) { return below(one.value); });
  const auto last =
      std::partition_point(first, middle, [&](const Entry& one) { return !above(one.value); });
  for (auto at = first; at != last; ++at) take(at->row);
  for (auto at = middle; at != entries_.end(); ++at) {
    if (!below(at->value) && !above(at->value)) take(at->row);
  }
}

base::Result<std::optional<Bits>> Columns::passing(const Filter& filter,
                                                   const std::vector<std::string>& metadata,
                                                   const Bits& live) {
  if (filter.needs_document()) return std::nullopt;
  std::vector<std::string> fields;
  name_fields(filter.root(), fields);
  if (fields.size() > kColumns) return std::nullopt;
  DURE_RETURN_IF_ERROR(extend(fields, metadata, live));
  const Question question{live, (metadata.size() + 63) / 64, filter.missing_is_unknown()};
  auto truth = look(filter.root(), question);
  if (!truth) return std::nullopt;
  return std::optional<Bits>(std::move(truth->yes));
}

void Columns::name_fields(const FilterNode& node, std::vector<std::string>& fields) {
  if (!node.field.empty() || node.children.empty()) {
    if (std::find(fields.begin(), fields.end(), node.field) == fields.end()) {
      fields.push_back(node.field);
    }
    return;
  }
  for (const FilterNode& child : node.children) name_fields(child, fields);
}

Columns::Column& Columns::column_of(const std::string& field) {
  const auto at = std::find_if(columns_.begin(), columns_.end(),
                               [&field](const Column& one) { return one.field == field; });
  if (at != columns_.end()) {
    columns_.splice(columns_.begin(), columns_, at);
  } else {
    columns_.emplace_front();
    columns_.front().field = field;
    if (columns_.size() > kColumns) columns_.pop_back();
  }
  return columns_.front();
}

base::Status Columns::extend(const std::vector<std::string>& fields,
                             const std::vector<std::string>& metadata, const Bits& live) {
  std::vector<Column*> behind;
  std::size_t from = metadata.size();
  for (const std::string& field : fields) {
    Column& one = column_of(field);
    if (one.rows == metadata.size()) continue;
    behind.push_back(&one);
    from = std::min(from, one.rows);
  }
  json::Parser parser;
  for (std::size_t at = from; at < metadata.size(); ++at) {
    const auto row = static_cast<RowNumber>(at);
    if (!contains(live, row)) continue;
    const auto parsed = parser.parse(metadata[at].empty() ? "{}" : metadata[at]);
    if (!parsed || !parsed->is_object()) {
      for (Column* one : behind) one->rows = std::max(one->rows, at);
      return {base::Code::kCorrupt, "the metadata of a row is no JSON object"};
    }
    for (Column* one : behind) {
      if (one->rows <= at) add(*one, field_of(*parsed, one->field), row);
    }
  }
  for (Column* one : behind) {
    one->rows = metadata.size();
    one->wholes.settle();
    one->reals.settle();
  }
  return {};
}

void Columns::add(Column& column, const json::Value& value, RowNumber row) {
  if (value.missing()) return set_bit(column.held[kMissing], row);
  if (value.absent()) return set_bit(column.held[kNull], row);
  if (value.is_object()) return set_bit(column.held[kObject], row);
  if (!value.is_array()) return add_scalar(column, value, row, false);
  const std::vector<json::Value> items = value.items();
  set_bit(column.held[items.empty() ? kEmptyList : kList], row);
  for (const json::Value& item : items) {
    if (item.absent()) continue;
    if (item.is_array() || item.is_object()) {
      set_bit(column.held[kOtherElement], row);
    } else {
      add_scalar(column, item, row, true);
    }
  }
}

void Columns::add_scalar(Column& column, const json::Value& value, RowNumber row, bool element) {
  const auto note = [&](Held alone, Held inside) {
    set_bit(column.held[element ? inside : alone], row);
  };
  if (const auto text = value.string()) {
    note(kString, kStringElement);
    auto at = column.strings.find(*text);
    if (at == column.strings.end()) at = column.strings.try_emplace(std::string(*text)).first;
    at->second.push_back(row);
  } else if (const auto flag = value.boolean()) {
    *flag ? note(kTrue, kTrueElement) : note(kFalse, kFalseElement);
  } else if (const auto whole = value.integer()) {
    note(kNumber, kNumberElement);
    column.wholes.add(*whole, row);
  } else if (const auto real = value.number()) {
    note(kNumber, kNumberElement);
    column.reals.add(*real, row);
  }
}

std::optional<Columns::Truth> Columns::look(const FilterNode& node, const Question& question) {
  if (!node.field.empty() || node.children.empty()) return look_at_leaf(node, question);
  if (node.op != FilterOp::kNot) return look_at_children(node, question);
  auto truth = look(node.children[0], question);
  if (!truth) return std::nullopt;
  for (std::size_t word = 0; word < question.words; ++word) {
    truth->yes[word] = ~(truth->yes[word] | truth->unknown[word]);
  }
  return truth;
}

std::optional<Columns::Truth> Columns::look_at_children(const FilterNode& node,
                                                        const Question& question) {
  if (node.op != FilterOp::kAnd && node.op != FilterOp::kOr) return std::nullopt;  // kAtLeast
  std::optional<Truth> all;
  for (const FilterNode& child : node.children) {
    auto truth = look(child, question);
    if (!truth) return std::nullopt;
    if (!all) {
      all = std::move(truth);
      continue;
    }
    for (std::size_t word = 0; word < question.words; ++word) {
      std::uint64_t& yes = all->yes[word];
      std::uint64_t& unknown = all->unknown[word];
      if (node.op == FilterOp::kAnd) {
        const std::uint64_t maybe = (yes | unknown) & (truth->yes[word] | truth->unknown[word]);
        yes &= truth->yes[word];
        unknown = maybe & ~yes;
      } else {
        yes |= truth->yes[word];
        unknown = (unknown | truth->unknown[word]) & ~yes;
      }
    }
  }
  return all;
}

// Whether a live row holds something that the leaf cannot be held against, or that takes a look at
// the row to tell.
bool Columns::clashes(const Column& column, const FilterNode& node, const Question& question) {
  const FilterNode& leaf = *leaves_of(node).front();
  std::array<bool, kHeldKinds> fits{};
  fits[kMissing] = fits[kNull] = true;
  const bool elements = node.op == FilterOp::kHasElement || node.any_element;
  const auto fit = [&](Held alone, Held inside) {
    fits[alone] = node.op != FilterOp::kHasElement;
    fits[inside] = elements;
  };
  if (std::holds_alternative<bool>(leaf.values[0])) {
    fit(kFalse, kFalseElement);
    fit(kTrue, kTrueElement);
  } else if (std::holds_alternative<std::string>(leaf.values[0])) {
    fit(kString, kStringElement);
  } else {
    fit(kNumber, kNumberElement);
  }
  fits[kEmptyList] = elements;
  fits[kList] = elements && node.op != FilterOp::kNotIn;  // "one that is not among them"
  for (std::size_t kind = 0; kind < kHeldKinds; ++kind) {
    if (!fits[kind] && meet(column.held[kind], question.live)) return true;
  }
  return false;
}

// REQUIRES: no clash.
Bits Columns::rows_of(const Column& column, const FilterNode& node, const Question& question) {
  Bits yes(question.words, 0);
  const auto take = [&yes](RowNumber row) { yes[row >> 6U] |= std::uint64_t{1} << (row & 63U); };
  const auto take_equal = [&](const FilterValue& value) {
    if (const auto* text = std::get_if<std::string>(&value)) {
      const auto at = column.strings.find(*text);
      if (at != column.strings.end()) std::for_each(at->second.begin(), at->second.end(), take);
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      unite(yes, column.held[*flag ? kTrue : kFalse]);
      unite(yes, column.held[*flag ? kTrueElement : kFalseElement]);
    } else {
      const FilterNode equal = leaf(FilterOp::kEqual, 0, node.field, {value});
      each_number(column.wholes, {&equal}, take);
      each_number(column.reals, {&equal}, take);
    }
  };
  const std::vector<const FilterNode*> leaves = leaves_of(node);
  const FilterNode& first = *leaves.front();
  if (leaves.size() == 1 && first.op == FilterOp::kEqual) {
    take_equal(first.values[0]);
  } else if (first.op == FilterOp::kIn || first.op == FilterOp::kNotIn ||
             first.op == FilterOp::kHasElement) {
    for (const FilterValue& value : first.values) take_equal(value);
  } else if (std::holds_alternative<std::string>(first.values[0])) {
    for (const auto& [text, rows] : column.strings) {
      const FilterValue value(text);
      if (std::all_of(leaves.begin(), leaves.end(),
                      [&value](const FilterNode* one) { return holds(*one, value); })) {
        std::for_each(rows.begin(), rows.end(), take);
      }
    }
  } else {
    each_number(column.wholes, leaves, take);
    each_number(column.reals, leaves, take);
  }
  if (first.op == FilterOp::kNotIn) {
    for (std::size_t word = 0; word < question.words; ++word) {
      std::uint64_t there = 0;
      for (const Held kind : {kFalse, kTrue, kNumber, kString}) {
        there |= word_of(column.held[kind], word);
      }
      yes[word] = there & ~yes[word];
    }
  }
  return yes;
}

std::optional<Columns::Truth> Columns::look_at_leaf(const FilterNode& node,
                                                    const Question& question) {
  const Column& column = column_of(node.field);
  Truth truth{Bits(question.words, 0), Bits(question.words, 0)};
  const auto take = [&](Bits& into, Held kind) { unite(into, column.held[kind]); };
  if (node.op == FilterOp::kIsNull || node.op == FilterOp::kIsEmpty ||
      node.op == FilterOp::kHoldsNull) {
    take(truth.yes, kNull);
    if (node.op != FilterOp::kHoldsNull) take(truth.yes, kMissing);
    if (node.op == FilterOp::kIsEmpty) take(truth.yes, kEmptyList);
    return truth;
  }
  for (const FilterNode* leaf : leaves_of(node)) {
    const bool sound = !leaf->values.empty() && leaf->children.empty() &&
                       (node.children.empty() || is_compared(leaf->op)) &&
                       kind_of(leaf->values[0]) == kind_of(leaves_of(node).front()->values[0]);
    if (!sound) return std::nullopt;
  }
  if (clashes(column, node, question)) return std::nullopt;
  truth.yes = rows_of(column, node, question);
  if (question.missing_is_unknown) {
    take(truth.unknown, kNull);
    take(truth.unknown, kMissing);
  }
  return truth;
}

}  // namespace dure::index
