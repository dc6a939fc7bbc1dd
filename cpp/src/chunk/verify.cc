#include "dure/chunk/verify.h"

#include <utility>

#include "dure/base/cancel.h"
#include "dure/base/hash.h"
#include "dure/text/sentences.h"
#include "dure/text/utf8.h"
#include "dure/tokenize/encoding.h"

namespace dure::chunk {
namespace {

class Verifier {
 public:
  Verifier(const Chunks& chunks, std::string_view text, const Options& options)
      : chunks_(chunks), text_(text), options_(options) {}

  base::Result<std::vector<std::string>> run() {
    if (!text::is_valid(text_)) return std::vector<std::string>{"the text is not UTF-8"};
    std::size_t covered = 0;  // bytes and code points until the last body's end
    base::CancelTick<16> tick;
    for (std::size_t i = 0; i < chunks_.size() && in_range(i); ++i) {
      tick();
      check_cover(i, covered);
      covered = at(chunks_.byte_end, i);
      check_offsets(i);
      check_cut(i, at(chunks_.body_start, i), "starts");
      if (covered < text_.size()) check_cut(i, covered, "ends");
      if (auto status = check_size(i); !status.ok()) return base::fail(std::move(status));
      if (base::hash64(embedded(i)) != chunks_.hash64[i])
        broken(i, "hash64 is not that of what is embedded");
    }
    if (broken_.empty()) check_gap(chunks_.size(), covered, text_.size());
    return std::move(broken_);
  }

 private:
  static std::size_t at(const std::vector<std::int64_t>& column, std::size_t i) {
    return static_cast<std::size_t>(column[i]);
  }
  void broken(std::size_t i, const std::string& what) {
    broken_.push_back("chunk " + std::to_string(i) + ": " + what);
  }

  [[nodiscard]] std::string embedded(std::size_t i) const {
    const std::size_t start = at(chunks_.byte_start, i);
    return chunks_.prefixes[chunks_.prefix[i]].text +
           std::string(text_.substr(start, at(chunks_.byte_end, i) - start));
  }

  bool in_range(std::size_t i) {
    const bool ok = chunks_.byte_start[i] >= 0 && chunks_.byte_start[i] <= chunks_.body_start[i] &&
                    chunks_.body_start[i] < chunks_.byte_end[i] &&
                    at(chunks_.byte_end, i) <= text_.size();
    if (!ok) broken(i, "its span is empty, backwards or outside of the text");
    return ok;
  }

  void check_cover(std::size_t i, std::size_t covered) {
    const std::size_t body = at(chunks_.body_start, i);
    if (body < covered) return broken(i, "its body starts before the last one ends");
    check_gap(i, covered, body);
  }

  void check_gap(std::size_t i, std::size_t from, std::size_t to) {
    if (from < to && !options_.trim) return broken(i, "text is missing before it");
    for (std::size_t position = from; position < to;) {
      const std::size_t space = text::space_length(text_, position);
      if (space == 0) return broken(i, "text other than space is missing before it");
      position += space;
    }
  }

  // Code points are counted on from the last offset asked for.
  std::size_t char_at(std::size_t byte) {
    if (byte < last_byte_) last_byte_ = last_char_ = 0;
    last_char_ += text::count_code_points(text_.substr(last_byte_, byte - last_byte_));
    last_byte_ = byte;
    return last_char_;
  }

  void check_offsets(std::size_t i) {
    for (const auto& [byte, character] : {std::pair{&chunks_.byte_start, &chunks_.char_start},
                                          std::pair{&chunks_.byte_end, &chunks_.char_end}}) {
      const std::size_t offset = at(*byte, i);
      if (offset < text_.size() && text::is_continuation(text_[offset]))
        return broken(i, "it cuts a character");
      if (char_at(offset) != at(*character, i))
        return broken(i, "its offsets in bytes and in characters differ");
    }
  }

  // A cut inside a grapheme is right only where that grapheme alone is larger than the cap.
  void check_cut(std::size_t i, std::size_t offset, const char* what) {
    if (offset <= grapheme_.start || offset >= grapheme_.end) {
      if (text::is_grapheme_boundary(text_, offset)) return;
      grapheme_.start = text::grapheme_floor(text_, offset);
      grapheme_.end = text::next_grapheme(text_, grapheme_.start);
      const auto size = size_of(text_.substr(grapheme_.start, grapheme_.end - grapheme_.start));
      grapheme_.fits = size && *size <= options_.max;
    }
    if (grapheme_.fits) broken(i, std::string(what) + " inside a grapheme");
  }

  base::Result<std::size_t> size_of(std::string_view text) const {
    switch (options_.unit) {
      case Unit::kBytes:
        return text.size();
      case Unit::kChars:
        return text::count_code_points(text);
      case Unit::kTokens:
        break;
    }
    return options_.encoding != nullptr ? base::Result<std::size_t>(options_.encoding->count(text))
                                        : options_.count(text);
  }

  base::Status check_size(std::size_t i) {
    const auto size = size_of(embedded(i));
    if (!size) return size.error();
    if (*size > options_.max)
      broken(i, std::to_string(*size) + " is over the cap of " + std::to_string(options_.max));
    if (options_.unit == Unit::kTokens && *size != at(chunks_.token_count, i))
      broken(i, "token_count says " + std::to_string(chunks_.token_count[i]) + ", it has " +
                    std::to_string(*size));
    const std::size_t start = at(chunks_.byte_start, i);
    const std::size_t body = at(chunks_.body_start, i);
    if (start == body) return {};
    const auto overlap = size_of(text_.substr(start, body - start));
    if (!overlap) return overlap.error();
    if (*overlap > options_.overlap)
      broken(i, "it overlaps by " + std::to_string(*overlap) + ", more than " +
                    std::to_string(options_.overlap));
    return {};
  }

  const Chunks& chunks_;
  std::string_view text_;
  const Options& options_;
  std::vector<std::string> broken_;
  struct {  // the last one that was cut: many cuts of a long one cost one look
    std::size_t start = 0;
    std::size_t end = 0;
    bool fits = false;
  } grapheme_;
  std::size_t last_byte_ = 0;
  std::size_t last_char_ = 0;
};

}  // namespace

base::Result<std::vector<std::string>> verify(const Chunks& chunks, std::string_view text,
                                              const Options& options) {
  return Verifier(chunks, text, options).run();
}

}  // namespace dure::chunk
