// Picks the cuts of one text under the cap, from its start to its end.
//
// One use: construct, run. One thread at a time.
#ifndef DURE_SRC_CHUNK_PLANNER_H_
#define DURE_SRC_CHUNK_PLANNER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chunk/boundaries.h"
#include "chunk/outline.h"
#include "chunk/ruler.h"
#include "dure/base/result.h"
#include "dure/chunk/chunker.h"
#include "dure/chunk/chunks.h"
#include "dure/text/utf8.h"

namespace dure::chunk {

class Planner {
 public:
  // What lies before the text where that is a window of a longer one.
  struct Before {
    std::size_t chars = 0;   // code points, for errors
    std::int64_t pages = 0;  // pages that began
  };
  // Where to begin and to stop.
  struct Stretch {
    std::size_t start = 0;     // of a body
    std::size_t previous = 0;  // where the body before it began
    bool final = true;         // false: stop where what lies beyond the text may matter ...
    std::size_t settled = static_cast<std::size_t>(-1);  // ... or the outline from here on
    std::size_t rows = static_cast<std::size_t>(-1);     // or after so many
  };

  // All borrowed. `page_starts` in bytes, ascending; in mode page no chunk crosses one.
  Planner(const Options& options, Mode mode, std::string_view text, const Outline& outline,
          std::span<const std::size_t> page_starts, Before before = {0, 0});

  // The next body then starts at next(), that before it at previous().
  [[nodiscard]] base::Result<Chunks> run(const Stretch& stretch);
  [[nodiscard]] std::size_t next() const noexcept { return next_; }
  [[nodiscard]] std::size_t previous() const noexcept { return previous_; }

 private:
  struct Run {
    std::size_t start;
    std::size_t end;
  };
  // One chunk: text[span, end) with its body from `body`, embedded after prefix number `prefix`.
  struct Piece {
    std::size_t span;
    std::size_t body;
    std::size_t end;   // where the next body starts
    std::size_t stop;  // end without the space that is trimmed
    std::size_t size;  // of what is embedded
    std::uint32_t prefix;
  };

  [[nodiscard]] base::Result<Piece> next_piece(std::size_t body, std::size_t previous_body);
  // Fills span (given) to size; end == body if not even one code point fits.
  [[nodiscard]] base::Result<Piece> fill(Piece piece);
  [[nodiscard]] base::Result<Piece> finish_grapheme(Piece piece);
  [[nodiscard]] base::Result<std::size_t> cut(const Piece& piece, std::size_t reach,
                                              std::size_t high);
  [[nodiscard]] base::Result<std::size_t> overlap_start(std::size_t body,
                                                        std::size_t previous_body);
  [[nodiscard]] base::Status too_large(std::size_t body);
  // Pulls `high` back out of an atom that fits the cap and starts after `body`.
  [[nodiscard]] base::Result<std::size_t> spare_atom(std::size_t body, std::size_t high);
  [[nodiscard]] base::Result<bool> atom_fits(const Atom& atom);
  [[nodiscard]] std::size_t most_bytes() const;
  [[nodiscard]] base::Result<std::uint32_t> prefix_at(std::size_t position);
  [[nodiscard]] base::Result<Prefix> make_prefix(std::size_t heading, const Repeat* repeat);
  void append(const Piece& piece);

  [[nodiscard]] std::size_t skip_space(std::size_t at);
  [[nodiscard]] std::size_t trim_start(std::size_t at, bool final);
  [[nodiscard]] std::size_t trim_end(std::size_t from, std::size_t at);
  [[nodiscard]] std::size_t next_page(std::size_t body) const;
  [[nodiscard]] const Heading* heading_before(std::size_t position) const;
  [[nodiscard]] const Repeat* repeat_at(std::size_t position) const;

  const Options& options_;
  const Mode mode_;
  const std::string_view text_;
  const Outline& outline_;
  const std::span<const std::size_t> page_starts_;
  const Before before_;
  const text::CharOffsets offsets_;
  const std::unique_ptr<Ruler> ruler_;
  const Boundaries boundaries_;
  Chunks out_;
  std::size_t next_ = 0;
  std::size_t previous_ = 0;
  std::size_t furthest_ = 0;  // where the window of the last cut ended
  bool undecided_ = false;    // whether an atom fits depends on what lies beyond the text
  std::map<std::pair<std::size_t, std::size_t>, std::uint32_t> prefix_of_;
  std::string joined_;                               // what is hashed: kept for its room
  std::vector<std::size_t> parents_;                 // of outline_.headings
  Run skipped_{};                                    // space, looked at last from its start ...
  Run trimmed_{};                                    // ... and from its end
  std::size_t atom_ = static_cast<std::size_t>(-1);  // measured last
  bool atom_fits_ = false;
};

}  // namespace dure::chunk

#endif  // DURE_SRC_CHUNK_PLANNER_H_
