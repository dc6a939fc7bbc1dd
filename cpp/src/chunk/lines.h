// Walks over the lines of a text.
#ifndef DURE_SRC_CHUNK_LINES_H_
#define DURE_SRC_CHUNK_LINES_H_

#include <cstddef>
#include <string_view>

#include "dure/base/cancel.h"

namespace dure::chunk {

struct Line {
  std::size_t start = 0;
  std::size_t next = 0;    // where the next line starts
  std::string_view body;   // without the line end
  std::size_t indent = 0;  // spaces and tabs at the start
  bool blank = true;
};

class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}

  bool next(Line& line) {
    if (at_ >= text_.size()) return false;
    tick_();
    const std::size_t feed = text_.find('\n', at_);
    std::size_t end = feed == std::string_view::npos ? text_.size() : feed;
    line.start = at_;
    line.next = feed == std::string_view::npos ? end : end + 1;
    if (end > at_ && text_[end - 1] == '\r') --end;
    line.body = text_.substr(at_, end - at_);
    line.indent = 0;
    while (line.indent < line.body.size() &&
           (line.body[line.indent] == ' ' || line.body[line.indent] == '\t'))
      ++line.indent;
    const bool plain = line.indent < line.body.size() && line.body[line.indent] != '\r';
    line.blank = !plain && line.body.find_first_not_of(" \t\r", line.indent) == line.body.npos;
    at_ = line.next;
    return true;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
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
