// dure/chunk/chunks.h - the pieces of one text as columns: offsets and hashes, never copies.
//
// Row i is the span [byte_start[i], byte_end[i]) of the source, overlap included. What gets
// embedded is prefixes[prefix[i]].text followed by that span; the cap holds for that whole string.
//
// A plain value: distinct objects may be used from any thread. Borrows nothing.
#ifndef DURE_CHUNK_CHUNKS_H_
#define DURE_CHUNK_CHUNKS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"

namespace dure::chunk {

// Exact size of a text in the cap's unit. May fail (a caller's own tokenizer).
using CountFunction = std::function<base::Result<std::size_t>(std::string_view)>;

// What is embedded before a span: heading path, then the header of a split table.
struct Prefix {
  std::vector<std::string> heading_path;  // outermost first
  bool shortened = false;                 // headings were left out at the top for lack of room
  std::string text;                       // as embedded; empty or ending in a newline
};

struct Chunks {
  std::vector<std::int64_t> byte_start;
  std::vector<std::int64_t> byte_end;
  std::vector<std::int64_t> char_start;  // code points
  std::vector<std::int64_t> char_end;
  std::vector<std::int64_t> body_start;   // bytes; before it the overlap
  std::vector<std::int64_t> token_count;  // of what is embedded; empty until count_tokens
  std::vector<std::int64_t> page;         // 1-based page of the body's start; 0: no pages
  std::vector<std::uint64_t> hash64;      // base::hash64 of what is embedded
  std::vector<std::uint32_t> prefix;      // index into prefixes
  std::vector<Prefix> prefixes;           // [0] is empty
  std::int64_t origin = 0;                // byte of the text with which `source` begins, below

  [[nodiscard]] std::size_t size() const noexcept { return byte_start.size(); }
  // REQUIRES: i < size() and `source` is the text that was cut, from byte `origin` on.
  [[nodiscard]] std::string_view span(std::string_view source, std::size_t i) const noexcept;
  [[nodiscard]] std::string embedded(std::string_view source, std::size_t i) const;
};

// Fills token_count, one exact count of each embedded string.
[[nodiscard]] base::Result<std::vector<std::int64_t>> count_tokens(const Chunks& chunks,
                                                                   std::string_view source,
                                                                   const CountFunction& count);

// Adds the rows of `more`, whose source begins at these offsets of that of `chunks`.
void append(Chunks& chunks, Chunks more, std::int64_t byte_offset, std::int64_t char_offset);

// Rows [first, last) with the prefixes that they use; origin is where they begin.
// REQUIRES: first <= last <= chunks.size().
[[nodiscard]] Chunks rows(const Chunks& chunks, std::size_t first, std::size_t last);

// The rows at `indexes`, in that order.
[[nodiscard]] Chunks select(const Chunks& chunks, const std::vector<std::size_t>& indexes);

}  // namespace dure::chunk

#endif  // DURE_CHUNK_CHUNKS_H_
