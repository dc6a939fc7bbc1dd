// Block elements of HTML, found by their tags: no tree, no entities.
#include <algorithm>
#include <array>
#include <string>

#include "chunk/lines.h"
#include "chunk/outline.h"

namespace dure::chunk {
namespace {

struct BlockTag {
  std::string_view name;
  Level level;
};
constexpr std::array<BlockTag, 22> kBlockTags{
    {{"address", kParagraph}, {"article", kBlock}, {"aside", kBlock},   {"blockquote", kParagraph},
     {"body", kBlock},        {"dd", kItem},       {"div", kParagraph}, {"dl", kBlock},
     {"dt", kItem},           {"figure", kBlock},  {"footer", kBlock},  {"form", kBlock},
     {"header", kBlock},      {"li", kItem},       {"main", kBlock},    {"nav", kBlock},
     {"ol", kBlock},          {"p", kParagraph},   {"pre", kBlock},     {"section", kBlock},
     {"table", kBlock},       {"ul", kBlock}}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// The element's name in lower case; at most 15 letters.
std::string tag_name(std::string_view text, std::size_t at) {
  std::string name;
  while (at < text.size() && name.size() < 15) {
    const char c = lower(text[at++]);
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) break;
    name.push_back(c);
  }
  return name;
}

bool begins_ignoring_case(std::string_view text, std::size_t at, std::string_view word) {
  if (at + word.size() > text.size()) return false;
  for (std::size_t i = 0; i < word.size(); ++i)
    if (lower(text[at + i]) != word[i]) return false;
  return true;
}

// The text between the tags of [from, end), spaces collapsed.
std::string inner_text(std::string_view html) {
  std::string out;
  bool tag = false;
  for (const char c : html) {
    if (c == '<') tag = true;
    const bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (!tag && !(space && (out.empty() || out.back() == ' '))) out.push_back(space ? ' ' : c);
    if (c == '>') tag = false;
  }
  return std::string(strip(out));
}

constexpr std::size_t kLongestHeading = 2000;       // bytes from "<h1" to "</h1"
constexpr std::size_t kLongestAtom = 1U << 20U;     // a table or <pre> beyond is not kept whole
constexpr std::size_t kLongestHeader = 64U * 1024;  // bytes of a table's first row
constexpr std::size_t kLongestTag = 20;             // bytes that tell which element it is

class Scanner final : public OutlineScanner {
 public:
  Scanner(bool keep_tables, bool keep_fences)
      : keep_tables_(keep_tables), keep_fences_(keep_fences) {
    out_.has_paragraphs = false;
  }

  void read(std::string_view window, bool final) override {
    text_ = window;
    final_ = final;
    if (has_header_) out_.repeats.back().end = window.size();
    base::CancelTick<1024> tick;
    while (at_ < text_.size()) {
      if (!closing_.empty() && !pass_closing()) break;
      at_ = std::min(text_.find('<', at_), text_.size());
      if (at_ == text_.size() || (!final_ && text_.size() - at_ < needed_)) break;
      needed_ = kLongestTag;
      tick();
      if (!take()) break;
    }
    settled_ = at_;
  }

 protected:
  void shift(std::size_t bytes) override {
    for (std::size_t* at : {&at_, &heading_end_, &unclosed_[0], &unclosed_[1]})
      move_back(*at, bytes);
  }

 private:
  // Reads the tag at at_ and goes on behind its start; false: more text has to be seen first.
  bool take() {
    if (text_.compare(at_, 4, "<!--") == 0) return pass("-->", 4);
    const bool closes = at_ + 1 < text_.size() && text_[at_ + 1] == '/';
    const std::string name = tag_name(text_, at_ + (closes ? 2 : 1));
    if (closes) {
      close(name);
    } else if (name == "script" || name == "style") {
      return pass("</" + name, 1);
    } else if (is_heading(name)) {
      if (!sees(kLongestHeading)) return false;
      heading(static_cast<std::uint8_t>(name[1] - '0'));
    } else if (!name.empty() && !open(name)) {
      return false;
    }
    ++at_;
    return true;
  }

  [[nodiscard]] static bool is_heading(const std::string& name) {
    return name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6';
  }

  // Whether so much of the text is seen, or all of it; else that is what is needed to go on.
  bool sees(std::size_t bytes) {
    if (final_ || text_.size() - at_ >= bytes) return true;
    needed_ = bytes;
    return false;
  }

  // What follows is passed over until `closing`.
  bool pass(std::string_view closing, std::size_t from) {
    closing_ = closing;
    at_ = std::min(at_ + from, text_.size());
    return true;
  }

  // False: it does not end in what is seen.
  bool pass_closing() {
    const std::size_t found = find_closing(closing_, at_, text_.size());
    if (found == std::string_view::npos) {
      const std::size_t seen = text_.size() - std::min(text_.size(), final_ ? 0 : kLongestTag);
      at_ = std::max(at_, seen);
      return false;
    }
    at_ = found + closing_.size();
    closing_.clear();
    return true;
  }

  // Where "-->", or the tag that begins with `closing`, in any case, starts in [from, limit).
  [[nodiscard]] std::size_t find_closing(std::string_view closing, std::size_t from,
                                         std::size_t limit) const {
    const std::string_view near = text_.substr(0, limit);
    if (closing.front() == '-') return near.find(closing, from);
    for (std::size_t at = near.find("</", from); at != std::string_view::npos;
         at = near.find("</", at + 2))
      if (begins_ignoring_case(near, at, closing)) return at;
    return std::string_view::npos;
  }

  // Behind the tag that starts at `tag`, which may be npos; npos if it does not end before `limit`.
  [[nodiscard]] std::size_t behind(std::size_t tag, std::size_t limit) const {
    const std::size_t end = text_.substr(0, limit).find('>', tag);
    return end == std::string_view::npos ? end : end + 1;
  }

  // False: more text has to be seen first.
  bool open(const std::string& name) {
    const bool is_table = name == "table";
    if (is_table && depth_ == 0 && !sees(kLongestHeader)) return false;
    if ((is_table || name == "pre") && !find_atom(is_table)) return false;
    mark(name);
    if (is_table) open_table();
    return true;
  }

  void mark(const std::string& name) {
    const auto* tag = std::lower_bound(
        kBlockTags.begin(), kBlockTags.end(), name,
        [](const BlockTag& one, const std::string& wanted) { return one.name < wanted; });
    const bool is_block = tag != kBlockTags.end() && tag->name == name;
    const bool is_row = name == "tr";
    if (at_ == 0 || !(is_block || is_row)) return;
    const bool inside =
        !out_.atoms.empty() && at_ > out_.atoms.back().start && at_ < out_.atoms.back().end;
    if (is_row || (!inside && !follows_heading()))
      out_.marks.push_back({at_, is_row ? kItem : tag->level});
  }

  // Notes the table or <pre> at at_ if it is to stay whole; false: more text has to be seen first.
  bool find_atom(bool is_table) {
    if (!(is_table ? keep_tables_ : keep_fences_)) return true;
    if (!out_.atoms.empty() && at_ < out_.atoms.back().end) return true;  // nested
    std::size_t& unclosed = unclosed_[is_table ? 0 : 1];  // up to here it is known not to close
    const std::size_t limit = std::min(text_.size(), at_ + kLongestAtom);
    const std::size_t end =
        behind(find_closing(is_table ? "</table" : "</pre", std::max(at_, unclosed), limit), limit);
    if (end != std::string_view::npos) {
      out_.atoms.push_back({at_, end, at_});
      return true;
    }
    if (!sees(kLongestAtom)) return false;
    unclosed = std::max(unclosed, limit - std::min(limit, kLongestTag));
    return true;
  }

  // The first row of a table is its header if it has header cells.
  void open_table() {
    if (depth_++ > 0) return;
    std::size_t limit = std::min(text_.size(), at_ + kLongestHeader);
    limit = std::min(limit, find_closing("</table", at_, limit));
    const std::size_t row = find_closing("</tr", at_, limit);
    const std::size_t head = has_tag("<thead", at_, std::min(row, limit))
                                 ? find_closing("</thead", at_, limit)
                                 : std::string_view::npos;
    const std::size_t end = behind(head != std::string_view::npos ? head : row, limit);
    if (end == std::string_view::npos || !has_tag("<th", at_, end)) return;
    has_header_ = true;
    out_.repeats.push_back(
        {at_, end, text_.size(), std::string(text_.substr(at_, end - at_)) + "\n"});
  }

  [[nodiscard]] bool has_tag(std::string_view tag, std::size_t from, std::size_t end) const {
    const std::string_view near = text_.substr(0, end);
    for (std::size_t at = near.find('<', from); at != std::string_view::npos;
         at = near.find('<', at + 1))
      if (begins_ignoring_case(near, at, tag)) return true;
    return false;
  }

  void close(const std::string& name) {
    if (name != "table" && name != "pre") return;
    const std::size_t end = behind(at_, text_.size());
    if (!out_.atoms.empty() && end == out_.atoms.back().end) out_.marks.push_back({end, kBlock});
    if (name != "table" || depth_ == 0 || --depth_ > 0 || !has_header_) return;
    out_.repeats.back().end = at_;
    has_header_ = false;
  }

  void heading(std::uint8_t level) {
    const std::size_t limit = std::min(text_.size(), at_ + kLongestHeading);
    const std::size_t end = text_.substr(0, limit).find("</", at_);
    const std::size_t until = end == std::string_view::npos ? at_ : heading_end(end, limit);
    if (at_ > 0) out_.marks.push_back({at_, static_cast<std::uint8_t>(kHeading + 6 - level)});
    out_.headings.push_back({at_, level, inner_text(text_.substr(at_, until - at_))});
    heading_end_ = until;
  }

  // Inline elements may close before the heading does.
  [[nodiscard]] std::size_t heading_end(std::size_t end, std::size_t limit) const {
    const std::string_view near = text_.substr(0, limit);
    for (std::size_t at = end; at != std::string_view::npos; at = near.find("</", at + 2))
      if (begins_ignoring_case(near, at, "</h")) return at;
    return end;
  }

  [[nodiscard]] bool follows_heading() const {
    if (heading_end_ == 0 || at_ < heading_end_ || at_ > heading_end_ + 200) return false;
    const std::size_t close = text_.substr(0, at_).find('>', heading_end_);
    return close < at_ && strip(text_.substr(close + 1, at_ - close - 1)).empty();
  }

  std::string_view text_;
  const bool keep_tables_;
  const bool keep_fences_;
  bool final_ = false;
  std::size_t at_ = 0;
  std::size_t needed_ = kLongestTag;  // bytes from at_ on without which nothing can be told
  std::string closing_;               // what ends the comment or script that at_ is in
  std::size_t heading_end_ = 0;
  std::size_t unclosed_[2] = {};  // see find_atom
  std::size_t depth_ = 0;         // of tables within tables
  bool has_header_ = false;       // the last of out_.repeats is that of the outermost of them
};

}  // namespace

std::unique_ptr<OutlineScanner> scan_html(bool keep_tables, bool keep_fences) {
  return std::make_unique<Scanner>(keep_tables, keep_fences);
}

}  // namespace dure::chunk
