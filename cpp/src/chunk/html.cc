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

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Outline run() {
    out_.has_paragraphs = false;
    for (std::size_t at = text_.find('<'); at != std::string_view::npos; at = text_.find('<', at))
      at = read(at);
    return std::move(out_);
  }

 private:
  // Reads the tag at `at`; returns where to look on.
  std::size_t read(std::size_t at) {
    if (text_.compare(at, 4, "<!--") == 0) return past("-->", at + 4);
    const std::string name = tag_name(text_, at + 1);
    if (name.empty()) return at + 1;
    if (name == "script" || name == "style") return past_element(name, at);
    if (name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6') {
      heading(at, static_cast<std::uint8_t>(name[1] - '0'));
      return at + 1;
    }
    const auto* tag = std::lower_bound(
        kBlockTags.begin(), kBlockTags.end(), name,
        [](const BlockTag& one, const std::string& wanted) { return one.name < wanted; });
    if (tag != kBlockTags.end() && tag->name == name) {
      const bool inside = !out_.atoms.empty() && at < out_.atoms.back().end;
      if (at > 0 && !inside && !after_heading(at)) out_.marks.push_back({at, tag->level});
      if (name == "table" || name == "pre") atom(name, at);
    }
    return at + 1;
  }

  std::size_t past(std::string_view end, std::size_t from) const {
    const std::size_t at = text_.find(end, from);
    return at == std::string_view::npos ? text_.size() : at + end.size();
  }

  // Where "</name" ends after `from`; remembers a failure, so that unclosed elements stay linear.
  std::size_t past_element(const std::string& name, std::size_t from) {
    const std::string closing = "</" + name;
    for (std::size_t at = text_.find("</", from); at != std::string_view::npos;
         at = text_.find("</", at + 2))
      if (begins_ignoring_case(text_, at, closing)) return past(">", at);
    return text_.size();
  }

  void heading(std::size_t at, std::uint8_t level) {
    const std::size_t limit = std::min(text_.size(), at + 2000);
    const std::size_t end = text_.substr(0, limit).find("</", at);
    const std::size_t until = end == std::string_view::npos ? at : heading_end(end, limit);
    if (at > 0) out_.marks.push_back({at, static_cast<std::uint8_t>(kHeading + 6 - level)});
    out_.headings.push_back({at, level, inner_text(text_.substr(at, until - at))});
    heading_end_ = until;
  }

  // Inline elements may close before the heading does.
  std::size_t heading_end(std::size_t end, std::size_t limit) const {
    const std::string_view near = text_.substr(0, limit);
    for (std::size_t at = end; at != std::string_view::npos; at = near.find("</", at + 2))
      if (begins_ignoring_case(near, at, "</h")) return at;
    return end;
  }

  bool after_heading(std::size_t at) const {
    if (heading_end_ == 0 || at < heading_end_ || at > heading_end_ + 200) return false;
    const std::size_t close = text_.substr(0, at).find('>', heading_end_);
    return close < at && strip(text_.substr(close + 1, at - close - 1)).empty();
  }

  void atom(const std::string& name, std::size_t at) {
    if (!out_.atoms.empty() && at < out_.atoms.back().end) return;  // nested
    if (unclosed_) return;
    const std::size_t end = past_element(name, at);
    if (end == text_.size()) {
      unclosed_ = true;
    } else {
      out_.atoms.push_back({at, end, at});
    }
  }

  std::string_view text_;
  Outline out_;
  std::size_t heading_end_ = 0;
  bool unclosed_ = false;
};

}  // namespace

Outline outline_html(std::string_view text) { return Scanner(text).run(); }

}  // namespace dure::chunk
