#include "dure/chunk/chunks.h"

#include <type_traits>
#include <unordered_map>
#include <utility>

#include "dure/base/cancel.h"

namespace dure::chunk {
namespace {

// What a column's values count from: they move with it when rows are put behind others.
enum class Origin { kNone, kBytes, kChars, kPrefixes };

// The same column of each of `tables` to `visit`, one column after the other.
template <typename Visit, typename... Tables>
void for_each_column(const Visit& visit, Tables&... tables) {
  visit(Origin::kBytes, tables.byte_start...);
  visit(Origin::kBytes, tables.byte_end...);
  visit(Origin::kBytes, tables.body_start...);
  visit(Origin::kChars, tables.char_start...);
  visit(Origin::kChars, tables.char_end...);
  visit(Origin::kNone, tables.token_count...);
  visit(Origin::kNone, tables.page...);
  visit(Origin::kNone, tables.hash64...);
  visit(Origin::kPrefixes, tables.prefix...);
}

}  // namespace

std::string_view Chunks::span(std::string_view source, std::size_t i) const noexcept {
  const auto start = static_cast<std::size_t>(byte_start[i] - origin);
  return source.substr(start, static_cast<std::size_t>(byte_end[i] - byte_start[i]));
}

std::string Chunks::embedded(std::string_view source, std::size_t i) const {
  return std::string(prefixes[prefix[i]].text).append(span(source, i));
}

base::Result<std::vector<std::int64_t>> count_tokens(const Chunks& chunks, std::string_view source,
                                                     const CountFunction& count) {
  std::vector<std::int64_t> counts;
  counts.reserve(chunks.size());
  base::CancelTick<16> tick;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    tick();
    auto tokens = chunks.prefixes[chunks.prefix[i]].text.empty()
                      ? count(chunks.span(source, i))
                      : count(chunks.embedded(source, i));
    if (!tokens) return base::fail(std::move(tokens.error()));
    counts.push_back(static_cast<std::int64_t>(*tokens));
  }
  return counts;
}

void append(Chunks& chunks, Chunks more, std::int64_t byte_offset, std::int64_t char_offset) {
  const auto offset_of = [&](Origin origin) -> std::int64_t {
    switch (origin) {
      case Origin::kBytes:
        return byte_offset;
      case Origin::kChars:
        return char_offset;
      case Origin::kPrefixes:
        return static_cast<std::int64_t>(chunks.prefixes.size());
      case Origin::kNone:
        break;
    }
    return 0;
  };
  const auto extend = [&](Origin origin, auto& to, const auto& from) {
    using Value = typename std::decay_t<decltype(to)>::value_type;
    const auto offset = static_cast<Value>(offset_of(origin));
    for (const Value value : from) to.push_back(value + offset);
  };
  for_each_column(extend, chunks, std::as_const(more));
  for (Prefix& prefix : more.prefixes) chunks.prefixes.push_back(std::move(prefix));
}

Chunks rows(const Chunks& chunks, std::size_t first, std::size_t last) {
  Chunks out;
  const auto copy = [first, last](Origin /*origin*/, const auto& from, auto& to) {
    using Offset = typename std::decay_t<decltype(from)>::difference_type;
    if (from.empty()) return;
    to.assign(from.begin() + static_cast<Offset>(first), from.begin() + static_cast<Offset>(last));
  };
  for_each_column(copy, chunks, out);
  if (first < last) out.origin = out.byte_start.front();
  out.prefixes.emplace_back();
  std::unordered_map<std::uint32_t, std::uint32_t> kept;
  for (std::uint32_t& prefix : out.prefix) {
    const auto [one, is_new] =
        kept.try_emplace(prefix, static_cast<std::uint32_t>(out.prefixes.size()));
    if (is_new) out.prefixes.push_back(chunks.prefixes[prefix]);
    prefix = one->second;
  }
  return out;
}

Chunks select(const Chunks& chunks, const std::vector<std::size_t>& indexes) {
  Chunks out;
  out.prefixes = chunks.prefixes;
  out.origin = chunks.origin;
  const auto copy = [&indexes](Origin /*origin*/, const auto& from, auto& to) {
    if (from.empty()) return;
    to.reserve(indexes.size());
    for (const std::size_t i : indexes) to.push_back(from[i]);
  };
  for_each_column(copy, chunks, out);
  return out;
}

}  // namespace dure::chunk
