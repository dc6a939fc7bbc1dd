// What a format's scanner says about a text: where it may be cut, and what stays whole.
//
// Values; every list is in ascending order of position.
#ifndef DURE_SRC_CHUNK_OUTLINE_H_
#define DURE_SRC_CHUNK_OUTLINE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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
};

// A chunk that starts in [header_end, end) embeds [header_start, header_end) first.
struct Repeat {
  std::size_t header_start;
  std::size_t header_end;
  std::size_t end;
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

[[nodiscard]] Outline outline_text();
[[nodiscard]] Outline outline_markdown(std::string_view text, bool keep_tables, bool keep_fences);
[[nodiscard]] Outline outline_html(std::string_view text);
[[nodiscard]] Outline outline_code(std::string_view text);
[[nodiscard]] Outline outline_csv(std::string_view text);
[[nodiscard]] Outline outline_jsonl(std::string_view text);

}  // namespace dure::chunk

#endif  // DURE_SRC_CHUNK_OUTLINE_H_
