#include "dure/chunk/chunks.h"

namespace dure::chunk {

std::string_view Chunks::span(std::string_view source, std::size_t i) const noexcept {
  const auto start = static_cast<std::size_t>(byte_start[i]);
  return source.substr(start, static_cast<std::size_t>(byte_end[i]) - start);
}

std::string Chunks::embedded(std::string_view source, std::size_t i) const {
  return std::string(prefixes[prefix[i]].text).append(span(source, i));
}

base::Status count_tokens(Chunks& chunks, std::string_view source, const CountFunction& count) {
  std::vector<std::int64_t> counts;
  counts.reserve(chunks.size());
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    auto tokens =
        chunks.prefix[i] == 0 ? count(chunks.span(source, i)) : count(chunks.embedded(source, i));
    if (!tokens) return std::move(tokens.error());
    counts.push_back(static_cast<std::int64_t>(*tokens));
  }
  chunks.token_count = std::move(counts);
  return {};
}

Chunks select(const Chunks& chunks, const std::vector<std::size_t>& indexes) {
  Chunks out;
  out.prefixes = chunks.prefixes;
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
