// Blocks of CommonMark with tables (GFM 0.29), by lines: enough to know where a document may be
// cut and what hangs together. No inline parsing.
#include <string>

#include "chunk/lines.h"
#include "chunk/outline.h"

namespace dure::chunk {
namespace {

constexpr std::size_t kLongestIndent = 3;                // more is indented code
constexpr std::size_t kLongestTitle = 4096;              // bytes of a paragraph that may be a title
constexpr std::size_t kLongestFrontMatter = 64U * 1024;  // bytes

struct Fence {
  char mark = 0;  // 0: none open
  std::size_t length = 0;
  std::size_t start = 0;
  std::size_t lead = 0;
};

std::size_t run_of(std::string_view line, std::size_t at, char mark) {
  std::size_t end = at;
  while (end < line.size() && line[end] == mark) ++end;
  return end - at;
}

// 1-6 for "## Title", else 0.
std::uint8_t atx_level(std::string_view line, std::size_t indent) {
  if (indent > kLongestIndent) return 0;
  const std::size_t level = run_of(line, indent, '#');
  const std::size_t after = indent + level;
  if (level == 0 || level > 6) return 0;
  if (after < line.size() && line[after] != ' ' && line[after] != '\t') return 0;
  return static_cast<std::uint8_t>(level);
}

std::string atx_title(std::string_view line, std::size_t from) {
  std::string_view title = strip(line.substr(from));
  std::size_t end = title.size();
  while (end > 0 && title[end - 1] == '#') --end;
  if (end == 0 || title[end - 1] == ' ' || title[end - 1] == '\t') title = title.substr(0, end);
  return std::string(strip(title));
}

// 1 for a line of "=", 2 for a line of "-" under a paragraph, else 0.
std::uint8_t setext_level(std::string_view line, std::size_t indent) {
  if (indent > kLongestIndent || indent >= line.size()) return 0;
  const char mark = line[indent];
  if (mark != '=' && mark != '-') return 0;
  if (!strip(line.substr(indent + run_of(line, indent, mark))).empty()) return 0;
  return mark == '=' ? 1 : 2;
}

bool is_rule(std::string_view line, std::size_t indent) {
  if (indent > kLongestIndent || indent >= line.size()) return false;
  const char mark = line[indent];
  if (mark != '-' && mark != '*' && mark != '_') return false;
  std::size_t marks = 0;
  for (const char c : line.substr(indent)) {
    if (c == mark)
      ++marks;
    else if (c != ' ' && c != '\t')
      return false;
  }
  return marks >= 3;
}

bool is_list_item(std::string_view line, std::size_t indent) {
  std::size_t at = indent;
  if (at >= line.size()) return false;
  if (line[at] == '-' || line[at] == '*' || line[at] == '+') {
    ++at;
  } else {
    while (at < line.size() && at < indent + 9 && line[at] >= '0' && line[at] <= '9') ++at;
    if (at == indent || at >= line.size() || (line[at] != '.' && line[at] != ')')) return false;
    ++at;
  }
  return at >= line.size() || line[at] == ' ' || line[at] == '\t';
}

// "|---|:--:|": the line under a table's header.
bool is_delimiter_row(std::string_view line) {
  bool dash = false;
  bool bar = false;
  for (const char c : strip(line)) {
    dash = dash || c == '-';
    bar = bar || c == '|';
    if (c != '-' && c != '|' && c != ':' && c != ' ' && c != '\t') return false;
  }
  return dash && bar;
}

class Scanner final : public OutlineScanner {
 public:
  Scanner(bool keep_tables, bool keep_fences)
      : keep_tables_(keep_tables), keep_fences_(keep_fences) {
    out_.has_paragraphs = false;
    out_.keeps_indentation = true;
  }

  void read(std::string_view window, bool final) override {
    if (first_ && !final && window.size() < 2 * kLongestFrontMatter) return;  // not yet
    text_ = window;
    lines_.see(window, final);
    take_back_open();
    for (Line line; lines_.next(line); first_ = false) {
      if (line.is_long) {
        take_long(line);
      } else if (!front_matter(line)) {
        take(line);
      }
      previous_ = line.start;
      after_long_ = line.is_long;
    }
    show_open(final);
    settled_ = final ? window.size() : until_settled();
  }

 protected:
  void shift(std::size_t bytes) override {
    lines_.shift(bytes);
    for (std::size_t* at : {&previous_, &paragraph_, &heading_, &table_start_, &table_lead_,
                            &header_end_, &fence_.start, &fence_.lead})
      move_back(*at, bytes);
  }

 private:
  // A fence or a table that is not at its end is shown as far as it was read.
  void show_open(bool final) {
    const std::size_t end = final ? text_.size() : lines_.at();
    shows_atom_ = (fence_.mark != 0 && keep_fences_) || (in_table_ && keep_tables_);
    shows_repeat_ = in_table_;
    if (shows_atom_ && in_table_) out_.atoms.push_back({table_start_, end, table_lead_, !final});
    if (shows_atom_ && !in_table_) out_.atoms.push_back({fence_.start, end, fence_.lead, !final});
    if (in_table_) out_.repeats.push_back({table_start_, header_end_, end, table_header_});
  }

  void take_back_open() {
    if (shows_atom_) out_.atoms.pop_back();
    if (shows_repeat_) out_.repeats.pop_back();
    shows_atom_ = shows_repeat_ = false;
  }

  // A paragraph may yet turn out to be a title, its last line the header of a table.
  [[nodiscard]] std::size_t until_settled() const {
    const std::size_t at = lines_.at();
    if (!in_paragraph_ || in_list_) return at;
    if (at - paragraph_ <= kLongestTitle) return std::min(paragraph_, previous_);
    return after_long_ ? at : previous_;
  }

  bool front_matter(const Line& line) {
    if (first_ && strip(line.body) == "---" && line.indent == 0)
      return in_front_matter_ = closes_nearby(line.next);
    if (!in_front_matter_) return false;
    if (strip(line.body) == "---") {
      in_front_matter_ = false;
      block_ends_ = true;
    }
    return true;
  }

  // Whether a line of "---" ends what begins at `from`.
  [[nodiscard]] bool closes_nearby(std::size_t from) const {
    Lines lines(text_.substr(from, kLongestFrontMatter));
    for (Line line; lines.next(line);)
      if (strip(line.body) == "---") return true;
    return false;
  }

  [[nodiscard]] bool has_bar_before(const Line& line) const {
    return !after_long_ &&
           text_.substr(previous_, line.start - previous_).find('|') != std::string_view::npos;
  }

  // Whatever it begins with.
  void take_long(const Line& line) {
    blank_ = false;
    if (fence_.mark != 0 || in_front_matter_) return;
    end_table(line.start);
    paragraph_line(line);
  }

  void take(const Line& line) {
    if (fence_.mark != 0) {
      inside_fence(line);
    } else if (line.blank) {
      end_table(line.start);
      in_paragraph_ = false;
      blank_ = true;
      return;
    } else {
      outside_fence(line);
    }
    blank_ = false;
  }

  void inside_fence(const Line& line) {
    const std::size_t length = run_of(line.body, line.indent, fence_.mark);
    if (length >= fence_.length && strip(line.body.substr(line.indent + length)).empty())
      end_fence(line.next);
  }

  void end_fence(std::size_t end) {
    if (keep_fences_) out_.atoms.push_back({fence_.start, end, fence_.lead});
    fence_.mark = 0;
    block_ends_ = true;
  }

  bool open_fence(const Line& line) {
    if (line.indent > kLongestIndent && !in_list_) return false;
    if (line.indent >= line.body.size()) return false;
    const char mark = line.body[line.indent];
    if (mark != '`' && mark != '~') return false;
    const std::size_t length = run_of(line.body, line.indent, mark);
    if (length < 3) return false;
    if (mark == '`' && line.body.find('`', line.indent + length) != std::string_view::npos)
      return false;
    fence_ = {mark, length, line.start, after_heading_ ? heading_ : line.start};
    mark_block(line.start, kBlock);
    in_paragraph_ = false;
    return true;
  }

  void outside_fence(const Line& line) {
    if (in_table_ && line.body.find('|') != std::string_view::npos) return;
    end_table(line.start);
    if (open_fence(line)) return;
    if (const std::uint8_t level = atx_level(line.body, line.indent); level != 0)
      return heading(line.start, level, atx_title(line.body, line.indent + level));
    if (in_paragraph_ && !in_list_) {
      const std::uint8_t level = setext_level(line.body, line.indent);
      if (level != 0 && line.start - paragraph_ <= kLongestTitle) return setext(line, level);
      if (is_delimiter_row(line.body) && has_bar_before(line)) return table(line);
    }
    if (is_rule(line.body, line.indent)) {
      mark_block(line.start, kBlock);
      in_paragraph_ = in_list_ = false;
      block_ends_ = true;
    } else if (is_list_item(line.body, line.indent)) {
      item(line);
    } else {
      paragraph_line(line);
    }
  }

  void heading(std::size_t at, std::uint8_t level, std::string title) {
    out_.marks.push_back({at, static_cast<std::uint8_t>(kHeading + 6 - level)});
    out_.headings.push_back({at, level, std::move(title)});
    in_paragraph_ = in_list_ = block_ends_ = false;
    if (!after_heading_) heading_ = at;
    after_heading_ = true;
  }

  // The paragraph just read was a heading.
  void setext(const Line& line, std::uint8_t level) {
    while (!out_.marks.empty() && out_.marks.back().at >= paragraph_) out_.marks.pop_back();
    std::string title(strip(text_.substr(paragraph_, line.start - paragraph_)));
    for (char& c : title)
      if (c == '\n' || c == '\r') c = ' ';
    heading(paragraph_, level, std::move(title));
  }

  // The line before `line` is the table's header.
  void table(const Line& line) {
    in_table_ = true;
    in_paragraph_ = false;
    table_start_ = previous_;
    table_lead_ = out_.marks.empty() || out_.marks.back().at >= table_start_ ? table_start_
                  : out_.marks.back().level >= kHeading                      ? heading_
                                                                             : table_start_;
    header_end_ = line.next;
    table_header_ = text_.substr(table_start_, header_end_ - table_start_);
    if (table_start_ > 0 && table_lead_ == table_start_) {
      while (!out_.marks.empty() && out_.marks.back().at >= table_start_) out_.marks.pop_back();
      out_.marks.push_back({table_start_, kBlock});
    }
  }

  void end_table(std::size_t end) {
    if (!in_table_) return;
    in_table_ = false;
    block_ends_ = true;
    if (keep_tables_) out_.atoms.push_back({table_start_, end, table_lead_});
    out_.repeats.push_back({table_start_, header_end_, end, std::move(table_header_)});
  }

  void item(const Line& line) {
    mark_block(line.start, blank_ && !in_list_ ? kParagraph : kItem);
    in_list_ = true;
    in_paragraph_ = true;
    paragraph_ = line.start;
  }

  void paragraph_line(const Line& line) {
    if (in_paragraph_) return;
    if (blank_ && line.indent == 0) in_list_ = false;
    if (blank_ || block_ends_ || out_.marks.empty())
      mark_block(line.start, in_list_ ? kItem : kParagraph);
    in_paragraph_ = true;
    paragraph_ = line.start;
  }

  // A heading is not parted from what it heads.
  void mark_block(std::size_t at, Level level) {
    if (!after_heading_ && at > 0)
      out_.marks.push_back({at, block_ends_ && level < kBlock ? kBlock : level});
    after_heading_ = block_ends_ = false;
  }

  std::string_view text_;
  const bool keep_tables_;
  const bool keep_fences_;
  Lines lines_;
  std::size_t previous_ = 0;  // the line before
  bool after_long_ = false;   // ... is a long one
  Fence fence_;
  std::size_t paragraph_ = 0;
  std::size_t heading_ = 0;  // the first of the headings that end just before
  std::size_t table_start_ = 0;
  std::size_t table_lead_ = 0;
  std::size_t header_end_ = 0;
  std::string table_header_;
  bool first_ = true;        // no line was read
  bool shows_atom_ = false;  // the last of out_.atoms is not at its end
  bool shows_repeat_ = false;
  bool in_front_matter_ = false;
  bool in_paragraph_ = false;
  bool in_list_ = false;
  bool in_table_ = false;
  bool blank_ = true;           // the line before was blank
  bool after_heading_ = false;  // nothing but blank lines since a heading
  bool block_ends_ = false;     // a fence, table or rule ended just before
};

}  // namespace

std::unique_ptr<OutlineScanner> scan_markdown(bool keep_tables, bool keep_fences) {
  return std::make_unique<Scanner>(keep_tables, keep_fences);
}

}  // namespace dure::chunk
