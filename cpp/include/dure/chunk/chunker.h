// dure/chunk/chunker.h - cuts a text into pieces of a proven size.
//
// Structure first (headings, blocks, paragraphs, lines, sentences, clauses, words, graphemes);
// among equals the boundary is chosen by what stands just before it, so an edit moves few others.
// The cap holds for what is embedded: heading path, repeated table header, overlap and body,
// counted as one string. Linear in the text for every text.
//
// Immutable; so thread-safe, unless Options.count is not.
#ifndef DURE_CHUNK_CHUNKER_H_
#define DURE_CHUNK_CHUNKER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/chunk/chunks.h"
#include "dure/text/sentences.h"

namespace dure::tokenize {
class Encoding;
}

namespace dure::chunk {

enum class Unit : std::uint8_t { kTokens, kChars, kBytes };
enum class Mode : std::uint8_t {
  kText,
  kMarkdown,
  kHtml,
  kCode,
  kCsv,
  kJsonl,
  kPage,
  kDelimiter,
};

struct Options {
  Unit unit = Unit::kTokens;
  std::size_t max = 512;     // of what is embedded, in `unit`
  std::size_t overlap = 0;   // at most so much of the text before a body; < max
  std::optional<Mode> mode;  // none: detected in each text
  text::SentenceRules sentences = text::SentenceRules::kKorean;
  bool heading_path = true;             // embed the headings above a chunk
  std::vector<std::string> separators;  // highest first; instead of all structure below headings
  std::vector<std::string> delimiters;  // of mode delimiter; empty: line feed and full stops
  bool keep_tables = true;              // whole when they fit
  bool keep_fences = true;
  bool stable = true;  // false: the last boundary of the highest level
  bool trim = true;    // no space at the ends; false: the bodies join to the text
  const tokenize::Encoding* encoding = nullptr;  // of unit kTokens; outlives the chunker
  CountFunction count;                           // of unit kTokens without an encoding
};

// "text", "markdown", ... Fails with kInvalidArgument, naming all.
[[nodiscard]] base::Result<Mode> mode_of(std::string_view name);
// What the text looks like: reads at most its first 64 KB.
[[nodiscard]] Mode detect_mode(std::string_view text);

// Where code may be cut, by whoever has parsed it.
struct Cut {
  std::size_t at;      // byte
  std::uint8_t level;  // 7: item, statement; 8: inner definition; 9: outer definition
};

class Chunker {
 public:
  // Fails with kInvalidArgument: max is 0, overlap is not below max, tokens without a tokenizer,
  // an empty separator or delimiter.
  [[nodiscard]] static base::Result<Chunker> create(Options options);

  // `page_starts`: bytes at which pages begin, ascending; may be empty. `cuts`: of mode code,
  // ascending; empty: found by indentation. Fails with kInvalidArgument for bytes that are not
  // UTF-8 (detail "position") and for a code point that is larger than the cap.
  // REQUIRES: `cuts` lie between characters, above 0 and below text.size().
  [[nodiscard]] base::Result<Chunks> chunk(std::string_view text,
                                           std::span<const std::size_t> page_starts = {},
                                           std::span<const Cut> cuts = {}) const;

  [[nodiscard]] const Options& options() const noexcept { return options_; }

 private:
  explicit Chunker(Options options) : options_(std::move(options)) {}
  Options options_;
};

}  // namespace dure::chunk

#endif  // DURE_CHUNK_CHUNKER_H_
