// Outlines of the plainer formats: code by indentation, CSV and JSON lines by record.
#include <algorithm>

#include "chunk/lines.h"
#include "chunk/outline.h"

namespace dure::chunk {
namespace {

// Whether a line at the left edge begins something, and does not end or continue it.
bool begins_statement(std::string_view body) {
  const char c = body.front();
  return c != '}' && c != ')' && c != ']' && c != ':' && !body.starts_with("else") &&
         !body.starts_with("except") && !body.starts_with("finally") && !body.starts_with("elif") &&
         !body.starts_with("catch");
}

}  // namespace

Outline outline_text() { return {}; }

Outline outline_code(std::string_view text) {
  Outline out;
  out.has_sentences = out.has_paragraphs = false;
  out.keeps_indentation = true;
  Lines lines(text);
  bool blank = false;
  for (Line line; lines.next(line);) {
    if (!line.blank && line.start > 0) {
      const bool outermost = line.indent == 0 && begins_statement(line.body);
      if (outermost && blank) {
        out.marks.push_back({line.start, kBlock});
      } else if (blank && line.indent <= 8) {
        out.marks.push_back({line.start, kParagraph});
      } else if (outermost) {
        out.marks.push_back({line.start, kItem});
      }
    }
    blank = line.blank;
  }
  return out;
}

// RFC 4180: a quote doubles itself, and a quoted field may hold line ends. The first record is
// the header.
Outline outline_csv(std::string_view text) {
  Outline out;
  out.has_sentences = out.has_paragraphs = false;
  std::size_t start = 0;
  bool quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '"') quoted = !quoted;
    if (text[at] != '\n' || quoted) continue;
    if (start > 0) out.marks.push_back({start, kItem});
    out.atoms.push_back({start, at + 1, start});
    start = at + 1;
  }
  if (start > 0 && start < text.size()) {
    out.marks.push_back({start, kItem});
    out.atoms.push_back({start, text.size(), start});
  }
  if (out.atoms.size() > 1) out.repeats.push_back({0, out.atoms.front().end, text.size()});
  return out;
}

Outline outline_jsonl(std::string_view text) {
  Outline out;
  out.has_sentences = out.has_paragraphs = false;
  Lines lines(text);
  for (Line line; lines.next(line);) {
    if (line.start > 0) out.marks.push_back({line.start, kItem});
    out.atoms.push_back({line.start, line.next, line.start});
  }
  return out;
}

}  // namespace dure::chunk
