// Walks over the lines of a text.
#ifndef DURE_SRC_CHUNK_LINES_H_
#define DURE_SRC_CHUNK_LINES_H_

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "dure/base/cancel.h"

namespace dure::chunk {

constexpr std::size_t kLongestLine = 64 * 1024;  // bytes; what is longer is a line of plain text

struct Line {
  std::size_t start = 0;
  std::size_t next = 0;    // where the next line starts; of a long one, nothing
  std::string_view body;   // without the line end; the start of a long one
  std::size_t indent = 0;  // spaces and tabs at the start
  bool blank = true;
  bool is_long = false;
};

// The lines of a text that is seen window by window.
class Lines {
 public:
  Lines() = default;
  explicit Lines(std::string_view text) { see(text, true); }

  // From now on `window` is what is read. REQUIRES: see OutlineScanner::read.
  void see(std::string_view window, bool final) {
    text_ = window;
    final_ = final;
  }
  void shift(std::size_t bytes) { at_ -= std::min(at_, bytes); }
  // Where the next line starts.
  [[nodiscard]] std::size_t at() const { return at_; }

  // False: the text, or what can be read of it, is at its end.
  bool next(Line& line) {
    if (in_long_ && !pass_long()) return false;
    if (at_ >= text_.size()) return false;
    tick_();
    const std::size_t feed = text_.find('\n', at_);
    const std::size_t end = feed == std::string_view::npos ? text_.size() : feed;
    line.is_long = end - at_ > kLongestLine;
    if (feed == std::string_view::npos && !final_ && !line.is_long) return false;
    line.start = at_;
    line.next = feed == std::string_view::npos ? end : end + 1;
    line.body = text_.substr(at_, line.is_long ? kLongestLine : end - at_);
    if (!line.is_long && line.body.ends_with('\r')) line.body.remove_suffix(1);
    line.indent = 0;
    while (line.indent < line.body.size() &&
           (line.body[line.indent] == ' ' || line.body[line.indent] == '\t'))
      ++line.indent;
    const bool plain = line.indent < line.body.size() && line.body[line.indent] != '\r';
    line.blank = !plain && !line.is_long &&
                 line.body.find_first_not_of(" \t\r", line.indent) == line.body.npos;
    at_ = line.next;
    in_long_ = line.is_long && feed == std::string_view::npos && !final_;
    return true;
  }

 private:
  bool pass_long() {
    const std::size_t feed = text_.find('\n', at_);
    in_long_ = feed == std::string_view::npos && !final_;
    at_ = feed == std::string_view::npos ? text_.size() : feed + 1;
    return !in_long_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool final_ = true;
  bool in_long_ = false;  // at_ lies within a long line that was returned
  base::CancelTick<1024> tick_;
};

// Without spaces and line ends at both ends.
[[nodiscard]] inline std::string_view strip(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace dure::chunk

#endif  // DURE_SRC_CHUNK_LINES_H_
