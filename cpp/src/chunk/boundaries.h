// Where a text may be cut, by what stands there: found in a window, nothing kept.
//
// Every answer depends on the text in and near the window alone, so an edit elsewhere changes
// nothing. One thread at a time.
#ifndef DURE_SRC_CHUNK_BOUNDARIES_H_
#define DURE_SRC_CHUNK_BOUNDARIES_H_

#include <cstddef>
#include <string_view>

#include "chunk/outline.h"
#include "dure/chunk/chunker.h"

namespace dure::chunk {

// A window of cuts: (low, high]; paragraphs and what is above them also in (wide, low]. Of
// paragraphs those up to `near` come first: where they are short, a chunk of fewer is more to one
// point. `from` starts the chunk and is a grapheme boundary.
struct Window {
  std::size_t from;
  std::size_t wide;
  std::size_t low;
  std::size_t near;
  std::size_t high;
};

class Boundaries {
 public:
  // All borrowed.
  Boundaries(std::string_view text, const Outline& outline, const Options& options);

  // The best cut in the window: of the highest level there, the one whose preceding text hashes
  // smallest (the last one if not stable). Never inside a grapheme, unless that alone reaches
  // beyond the window. REQUIRES: from <= wide <= low <= near <= high, low < high.
  [[nodiscard]] std::size_t pick(const Window& window) const;
  // The same among the outline's marks alone; 0 without one.
  [[nodiscard]] std::size_t pick_mark(const Window& window) const;
  // The last cut after a delimiter in (from, high]; without one, the last grapheme's end.
  [[nodiscard]] std::size_t pick_delimiter(const Window& window) const;
  // The first start of a sentence in [low, high), else of a word, else `high`.
  [[nodiscard]] std::size_t first_start(std::size_t low, std::size_t high) const;

 private:
  class Best;

  [[nodiscard]] static int rank_of(int level, bool near);
  [[nodiscard]] std::size_t pick_separator(const Window& window) const;
  [[nodiscard]] std::size_t pick_line(const Window& window) const;
  [[nodiscard]] std::size_t pick_paragraph(std::size_t low, std::size_t high) const;
  [[nodiscard]] std::size_t after_feed(std::size_t at, std::size_t high) const;
  [[nodiscard]] std::size_t pick_escaped_line(const Window& window) const;
  [[nodiscard]] std::size_t look_back(std::size_t low, std::size_t least, std::size_t end) const;
  [[nodiscard]] std::size_t pick_sentence(const Window& window) const;
  [[nodiscard]] std::size_t past_space(std::size_t at, std::size_t high) const;
  [[nodiscard]] std::size_t pick_clause(const Window& window) const;
  [[nodiscard]] std::size_t pick_word(const Window& window) const;
  [[nodiscard]] std::size_t pick_grapheme(const Window& window) const;
  [[nodiscard]] bool starts_paragraph(std::size_t at) const;

  std::string_view text_;
  const Outline& outline_;
  const Options& options_;
  bool delimiter_bytes_[256] = {};  // last bytes of delimiters
};

}  // namespace dure::chunk

#endif  // DURE_SRC_CHUNK_BOUNDARIES_H_
