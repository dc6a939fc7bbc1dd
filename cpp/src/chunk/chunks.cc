#include "dure/chunk/chunks.h"

#include <type_traits>
#include <unordered_map>

#include "dure/base/cancel.h"

namespace dure::chunk {

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
  const auto extend = [](auto& to, const auto& from, auto offset) {
    for (const auto value : from) to.push_back(value + offset);
  };
  extend(chunks.byte_start, more.byte_start, byte_offset);
  extend(chunks.byte_end, more.byte_end, byte_offset);
  extend(chunks.body_start, more.body_start, byte_offset);
  extend(chunks.char_start, more.char_start, char_offset);
  extend(chunks.char_end, more.char_end, char_offset);
  extend(chunks.token_count, more.token_count, std::int64_t{0});
  extend(chunks.page, more.page, std::int64_t{0});
  extend(chunks.hash64, more.hash64, std::uint64_t{0});
  extend(chunks.prefix, more.prefix, static_cast<std::uint32_t>(chunks.prefixes.size()));
  for (Prefix& prefix : more.prefixes) chunks.prefixes.push_back(std::move(prefix));
}

Chunks rows(const Chunks& chunks, std::size_t first, std::size_t last) {
  Chunks out;
  const auto copy = [first, last](const auto& from, auto& to) {
    using Offset = typename std::decay_t<decltype(from)>::difference_type;
    if (from.empty()) return;
    to.assign(from.begin() + static_cast<Offset>(first), from.begin() + static_cast<Offset>(last));
  };
  copy(chunks.byte_start, out.byte_start);
  copy(chunks.byte_end, out.byte_end);
  copy(chunks.char_start, out.char_start);
  copy(chunks.char_end, out.char_end);
  copy(chunks.body_start, out.body_start);
  copy(chunks.token_count, out.token_count);
  copy(chunks.page, out.page);
  copy(chunks.hash64, out.hash64);
  copy(chunks.prefix, out.prefix);
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
  const auto copy = [&indexes](const auto& from, auto& to) {
    if (from.empty()) return;
    to.reserve(indexes.size());
    for (const std::size_t i : indexes) to.push_back(from[i]);
  };
  copy(chunks.byte_start, out.byte_start);
  copy(chunks.byte_end, out.byte_end);
  copy(chunks.char_start, out.char_start);
  copy(chunks.char_end, out.char_end);
  copy(chunks.body_start, out.body_start);
  copy(chunks.token_count, out.token_count);
  copy(chunks.page, out.page);
  copy(chunks.hash64, out.hash64);
  copy(chunks.prefix, out.prefix);
  return out;
}

}  // namespace dure::chunk
