// What a format's scanner says about a text: where it may be cut, and what stays whole.
//
// Values; every list is in ascending order of position. A scanner sees a long text by windows, and
// finds in them what it would find in the whole.
#ifndef DURE_SRC_CHUNK_OUTLINE_H_
#define DURE_SRC_CHUNK_OUTLINE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/chunk/chunker.h"

namespace dure::chunk {

// How good a cut is, best last. Headings: kHeading + 6 - level.
enum Level : std::uint8_t {
  kCharacter = 1,
  kGrapheme,
  kWord,
  kClause,
  kSentence,
  kLine,
  kItem,  // entry of a list, statement
  kParagraph,
  kBlock,  // edge of a table, a fence, a definition
  kHeading = 16,
  kPageStart = 32,
};

struct Mark {
  std::size_t at;
  std::uint8_t level;
};

// Kept whole when it fits the cap; cut before `lead`, where the headings right above it start.
struct Atom {
  std::size_t start;
  std::size_t end;
  std::size_t lead;
  bool open = false;  // it goes on beyond `end`, the end of what was read
};

// A chunk that starts in [header_end, end) embeds `header` first.
struct Repeat {
  std::size_t header_start;
  std::size_t header_end;
  std::size_t end;
  std::string header;
};

struct Heading {
  std::size_t at;
  std::uint8_t level;  // 1 the highest
  std::string title;
};

struct Outline {
  std::vector<Mark> marks;
  std::vector<Atom> atoms;
  std::vector<Repeat> repeats;
  std::vector<Heading> headings;
  bool has_sentences = true;       // false: code and records are cut at lines and words
  bool has_paragraphs = true;      // false: blank lines mean nothing, or stand in `marks`
  bool keeps_indentation = false;  // trimming leaves the spaces before a first line
};

// Reads the outline of a text from its start to its end, of which it sees a window at a time.
// One thread at a time.
class OutlineScanner {
 public:
  OutlineScanner() = default;
  OutlineScanner(const OutlineScanner&) = delete;
  OutlineScanner& operator=(const OutlineScanner&) = delete;
  virtual ~OutlineScanner() = default;

  // Reads on to the end of the window, or to what only more text can tell. `final`: the text ends
  // with the window. REQUIRES: the window is longer than the last one, or was moved by move().
  virtual void read(std::string_view window, bool final) = 0;
  // The window begins `bytes` later from now on: so do all positions; what lies before it is
  // forgotten, but for the headings above. REQUIRES: bytes <= settled().
  void move(std::size_t bytes);

  [[nodiscard]] const Outline& outline() const noexcept { return out_; }
  // What is said of positions below this one holds, whatever follows.
  [[nodiscard]] std::size_t settled() const noexcept { return settled_; }

 protected:
  // Moves the scanner's own positions.
  virtual void shift(std::size_t bytes) = 0;
  static void move_back(std::size_t& position, std::size_t bytes) {
    position -= std::min(position, bytes);
  }

  Outline out_;
  std::size_t settled_ = 0;
};

// Of texts in this mode.
[[nodiscard]] std::unique_ptr<OutlineScanner> scanner_of(Mode mode, const Options& options);
// The bytes at `position` are none.
[[nodiscard]] base::Status not_utf8(std::size_t position);

[[nodiscard]] std::unique_ptr<OutlineScanner> scan_plain();
[[nodiscard]] std::unique_ptr<OutlineScanner> scan_markdown(bool keep_tables, bool keep_fences);
[[nodiscard]] std::unique_ptr<OutlineScanner> scan_html(bool keep_tables, bool keep_fences);
[[nodiscard]] std::unique_ptr<OutlineScanner> scan_code();
[[nodiscard]] std::unique_ptr<OutlineScanner> scan_csv();
[[nodiscard]] std::unique_ptr<OutlineScanner> scan_jsonl();

}  // namespace dure::chunk

#endif  // DURE_SRC_CHUNK_OUTLINE_H_
