#include "chunk/boundaries.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "dure/base/hash.h"
#include "dure/text/byte_set.h"
#include "dure/text/sentences.h"
#include "dure/text/utf8.h"

namespace dure::chunk {
namespace {

constexpr std::size_t kHashed = 96;         // bytes before a cut that decide among equals
constexpr std::size_t kLookBack = 512;      // bytes before a window where its first sentence starts
constexpr std::size_t kLookBackPlain = 64;  // the same without Hangul
constexpr std::size_t kLookAhead = 256;     // bytes after it that may tell a sentence goes on
constexpr std::size_t kLongestBlank = 256;  // spaces of a blank line between two paragraphs

constexpr std::array<std::string_view, 8> kDelimiters{"\n", ".", "?", "!", "。", "？", "！", "…"};

constexpr std::array<std::string_view, 7> kClauseMarks{",", ";", ":", "、", "，", "；", "："};
constexpr text::ByteSet kMayMarkClause = text::byte_set(",;:\xE3\xEF");
constexpr text::ByteSet kMayBeSpace = text::byte_set("\t\n\v\f\r \xC2\xE1\xE2\xE3");

// Length of the character at `at` if it is a grapheme of its own beside any other such: ASCII, an
// ideograph (U+4000..9FFF), a Hangul syllable; else 0.
std::size_t plain_length(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return lead > '\r' ? 1 : 0;
  if (lead < 0xE4 || lead > 0xED) return 0;
  const auto next = static_cast<unsigned char>(text[at + 1]);
  if (lead == 0xEA) return next >= 0xB0 ? 3 : 0;
  return lead < 0xED || next < 0x9E ? 3 : 0;
}

// Whether a word and a grapheme start at `at`, after a space.
bool starts_plainly(std::string_view text, std::size_t at) {
  return at < text.size() && text[at] != ' ' && plain_length(text, at) != 0;
}

// Of the 16 bytes before `at`, zeros before the text: quick, for where cuts are many.
std::uint64_t near_hash(std::string_view text, std::size_t at) {
  std::array<std::uint64_t, 2> words{};
  const std::size_t length = std::min(at, sizeof words);
  std::memcpy(reinterpret_cast<char*>(words.data()) + sizeof words - length,
              text.data() + at - length, length);
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{words[0] ^ 0x9E3779B97F4A7C15ULL} * (words[1] ^ 0xD1B54A32D192ED03ULL);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

// Length of the clause mark that starts at `at`, or 0.
std::size_t clause_mark(std::string_view text, std::size_t at) {
  for (const std::string_view mark : kClauseMarks)
    if (text.compare(at, mark.size(), mark) == 0) return mark.size();
  return 0;
}

}  // namespace

// Levels, with a step between for paragraphs that are near.
int Boundaries::rank_of(int level, bool near) {
  return 2 * level + (level == kParagraph && near ? 1 : 0);
}

// Keeps the best of the cuts that it is offered.
class Boundaries::Best {
 public:
  // `near`: fewer bytes before a cut decide among equals, where cuts are many.
  Best(std::string_view text, bool stable, bool near = false)
      : text_(text), stable_(stable), near_(near) {}

  void offer(std::size_t at, int level = 0) {
    if (found_ && level < level_) return;
    const std::uint64_t hash = stable_ ? hash_before(at) : 0;
    if (found_ && level == level_ && hash > hash_) return;
    found_ = true;
    at_ = at;
    level_ = level;
    hash_ = hash;
  }
  // 0: nothing was offered.
  [[nodiscard]] std::size_t at() const { return at_; }

 private:
  [[nodiscard]] std::uint64_t hash_before(std::size_t at) const {
    if (near_) return near_hash(text_, at);
    const std::size_t length = std::min(at, kHashed);
    return base::hash64(text_.substr(at - length, length));
  }

  std::string_view text_;
  bool stable_;
  bool near_;
  bool found_ = false;
  std::size_t at_ = 0;
  int level_ = 0;
  std::uint64_t hash_ = 0;
};

Boundaries::Boundaries(std::string_view text, const Outline& outline, const Options& options)
    : text_(text), outline_(outline), options_(options) {
  const auto mark_last = [this](std::string_view delimiter) {
    delimiter_bytes_[static_cast<unsigned char>(delimiter.back())] = true;
  };
  if (options.delimiters.empty()) std::for_each(kDelimiters.begin(), kDelimiters.end(), mark_last);
  std::for_each(options.delimiters.begin(), options.delimiters.end(), mark_last);
}

std::size_t Boundaries::pick(const Window& window) const {
  if (const std::size_t at = pick_mark(window); at != 0) return at;
  if (!options_.separators.empty()) {
    if (const std::size_t at = pick_separator(window); at != 0) return at;
  } else {
    if (const std::size_t at = pick_line(window); at != 0) return at;
    if (const std::size_t at = pick_escaped_line(window); at != 0) return at;
    if (outline_.has_sentences) {
      if (const std::size_t at = pick_sentence(window); at != 0) return at;
    }
  }
  if (outline_.has_sentences) {
    if (const std::size_t at = pick_clause(window); at != 0) return at;
  }
  if (const std::size_t at = pick_word(window); at != 0) return at;
  return pick_grapheme(window);
}

std::size_t Boundaries::pick_mark(const Window& window) const {
  const auto after = [](std::size_t at, const Mark& mark) { return at < mark.at; };
  const auto& marks = outline_.marks;
  auto mark = std::upper_bound(marks.begin(), marks.end(), window.wide, after);
  const Level least = options_.separators.empty() ? kCharacter : kHeading;
  Best best(text_, options_.stable);
  for (; mark != marks.end() && mark->at <= window.high; ++mark)
    if (mark->level >= least && (mark->at > window.low || mark->level >= kParagraph) &&
        text::is_grapheme_boundary(text_, mark->at, window.from))
      best.offer(mark->at, rank_of(mark->level, mark->at <= window.near));
  return best.at();
}

std::size_t Boundaries::pick_separator(const Window& window) const {
  for (const std::string& separator : options_.separators) {
    Best best(text_, options_.stable);
    const std::size_t length = separator.size();
    const std::string_view view = text_.substr(0, window.high);
    const std::size_t first = window.low + 1 > length ? window.low + 1 - length : 0;
    for (std::size_t at = view.find(separator, first); at != std::string_view::npos;
         at = view.find(separator, at + 1)) {
      const std::size_t cut = at + length;
      if (cut > window.low && text::is_grapheme_boundary(text_, cut, window.from)) best.offer(cut);
    }
    if (best.at() != 0) return best.at();
  }
  return 0;
}

// A blank line ends just before `at`, and something stands at `at`.
bool Boundaries::starts_paragraph(std::size_t at) const {
  if (at < text_.size() && (text_[at] == '\n' || text_[at] == '\r')) return false;
  std::size_t back = at - 1;  // the line feed
  const std::size_t limit = back > kLongestBlank ? back - kLongestBlank : 0;
  while (back > limit) {
    const char c = text_[--back];
    if (c == '\n') return true;
    if (c != ' ' && c != '\t' && c != '\r') return false;
  }
  return false;
}

// Paragraphs first; near ones come before those beyond, so that these need not be looked for.
std::size_t Boundaries::pick_line(const Window& window) const {
  if (outline_.has_paragraphs) {
    if (const std::size_t at = pick_paragraph(window.wide, window.near); at != 0) return at;
    if (const std::size_t at = pick_paragraph(window.near, window.high); at != 0) return at;
  }
  Best best(text_, options_.stable);
  for (std::size_t at = window.low; (at = after_feed(at, window.high)) != 0;) best.offer(at);
  return best.at();
}

// Of those in (low, high].
std::size_t Boundaries::pick_paragraph(std::size_t low, std::size_t high) const {
  Best best(text_, options_.stable);
  for (std::size_t at = low; (at = after_feed(at, high)) != 0;)
    if (starts_paragraph(at)) best.offer(at);
  return best.at();
}

// Past the first line feed in [at, high); 0 without one.
std::size_t Boundaries::after_feed(std::size_t at, std::size_t high) const {
  const void* feed = at < high ? std::memchr(text_.data() + at, '\n', high - at) : nullptr;
  if (feed == nullptr) return 0;
  return static_cast<std::size_t>(static_cast<const char*>(feed) - text_.data()) + 1;
}

// Text inside a string of JSON or of a program has its line ends as "\\n".
std::size_t Boundaries::pick_escaped_line(const Window& window) const {
  constexpr std::string_view kFeed = "\\n";
  constexpr std::string_view kOpens = " \t\n\r$({[<=+-_^\\/";  // before a path or a macro
  Best best(text_, options_.stable);
  const std::string_view view = text_.substr(0, window.high);
  for (std::size_t at = view.find(kFeed, std::max(window.low, std::size_t{1}) - 1);
       at != std::string_view::npos; at = view.find(kFeed, at)) {
    const bool wanted = at > 0 && kOpens.find(text_[at - 1]) == std::string_view::npos;
    do at += kFeed.size();
    while (text_.compare(at, kFeed.size(), kFeed) == 0);
    if (wanted && at > window.low && at <= window.high &&
        text::is_grapheme_boundary(text_, at, window.from))
      best.offer(at);
  }
  return best.at();
}

// From where on sentences before `low` are looked at: quotations, of Korean alone, may be long.
std::size_t Boundaries::look_back(std::size_t low, std::size_t least, std::size_t end) const {
  const auto back = [&](std::size_t bytes) {
    return std::max(least, low > bytes ? text::char_start(text_, low - bytes) : 0);
  };
  const std::size_t start = back(kLookBack);
  return text::has_hangul(text_.substr(start, end - start)) ? start : back(kLookBackPlain);
}

std::size_t Boundaries::pick_sentence(const Window& window) const {
  const std::size_t end = text::char_start(text_, std::min(text_.size(), window.high + kLookAhead));
  const std::string_view view = text_.substr(0, end);
  text::SentenceScanner scanner(view, options_.sentences);
  Best best(text_, options_.stable);
  for (std::size_t at = look_back(window.low, window.from, end); at < window.high;) {
    at = scanner.next(at);
    if (at > window.low && at <= window.high && (at < end || end == text_.size()) &&
        text::is_grapheme_boundary(text_, at, window.from))
      best.offer(at);
  }
  return best.at();
}

// Past the space in [at, high).
std::size_t Boundaries::past_space(std::size_t at, std::size_t high) const {
  while (at < high && text_[at] == ' ') ++at;
  while (const std::size_t length = at < high ? text::space_length(text_, at) : 0) at += length;
  return at;
}

// An ASCII mark has to be followed by space, a full-width one not.
std::size_t Boundaries::pick_clause(const Window& window) const {
  Best best(text_, options_.stable);
  const auto offer = [&](std::size_t at) {
    if (at <= window.high && text::is_grapheme_boundary(text_, at, window.from)) best.offer(at);
  };
  for (std::size_t at = window.low;;) {
    at = text::find_byte(kMayMarkClause, text_, at, window.high);
    if (at == window.high) return best.at();
    const std::size_t mark = clause_mark(text_, at);
    at += mark == 0 ? 1 : mark;
    if (mark == 0) continue;
    if (mark > 1) offer(at);
    const std::size_t next = past_space(at, window.high);
    if (next != at) offer(at = next);
    if (at >= window.high) return best.at();
  }
}

std::size_t Boundaries::pick_word(const Window& window) const {
  Best best(text_, options_.stable, true);
  for (std::size_t at = window.low;;) {
    at = text::find_byte(kMayBeSpace, text_, at, window.high);
    if (at == window.high) return best.at();
    if (text_[at] == ' ' && starts_plainly(text_, at + 1)) {  // most do
      best.offer(++at);
      if (at >= window.high) return best.at();
      continue;
    }
    const std::size_t next = past_space(at, window.high);
    if (next == at) {
      ++at;
      continue;
    }
    at = next;
    if (at <= window.high && text::is_grapheme_boundary(text_, at, window.from)) best.offer(at);
    if (at >= window.high) return best.at();
  }
}

std::size_t Boundaries::pick_grapheme(const Window& window) const {
  const std::size_t next =
      window.high < text_.size() ? text::decode_at(text_, window.high).length : 0;
  const std::string_view view = text_.substr(0, window.high + next);
  Best best(text_, options_.stable, true);
  std::size_t at = text::grapheme_floor(view, window.low, window.from);
  while (at < window.high) {
    const std::size_t length = plain_length(view, at);
    const bool plain = length != 0 && at + length < view.size() && plain_length(view, at + length);
    at = plain ? at + length : text::next_grapheme(view, at);
    if (at > window.low && at <= window.high) best.offer(at);
  }
  if (best.at() != 0) return best.at();
  const std::size_t floor = text::grapheme_floor(view, window.high, window.from);
  return floor > window.from ? floor : window.high;  // one grapheme fills it all
}

std::size_t Boundaries::pick_delimiter(const Window& window) const {
  const auto ends_delimiter = [this](std::size_t end) {
    const std::string_view until = text_.substr(0, end);
    const auto ends = [until](std::string_view delimiter) { return until.ends_with(delimiter); };
    return options_.delimiters.empty()
               ? std::any_of(kDelimiters.begin(), kDelimiters.end(), ends)
               : std::any_of(options_.delimiters.begin(), options_.delimiters.end(), ends);
  };
  for (std::size_t at = window.high; at > window.from; --at)
    if (delimiter_bytes_[static_cast<unsigned char>(text_[at - 1])] && ends_delimiter(at) &&
        text::is_grapheme_boundary(text_, at, window.from))
      return at;
  const std::size_t floor = text::grapheme_floor(text_, window.high, window.from);
  return floor > window.from ? floor : window.high;
}

std::size_t Boundaries::first_start(std::size_t low, std::size_t high) const {
  const std::size_t end = text::char_start(text_, std::min(text_.size(), high + kLookAhead));
  text::SentenceScanner scanner(text_.substr(0, end), options_.sentences);
  const std::size_t back = look_back(low, 0, end);
  for (std::size_t at = back; outline_.has_sentences && at < high;) {
    at = scanner.next(at);
    if (at >= low && at < high && text::is_grapheme_boundary(text_, at, back)) return at;
  }
  for (std::size_t at = low; at < high; at += text::decode_at(text_, at).length)
    if (text::space_length(text_, at) == 0 && text::space_length_before(text_, at) != 0 &&
        text::is_grapheme_boundary(text_, at, back))
      return at;
  return high;
}

}  // namespace dure::chunk
