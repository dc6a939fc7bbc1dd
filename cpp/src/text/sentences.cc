#include "dure/text/sentences.h"

#include <algorithm>
#include <array>

#include "dure/base/cancel.h"
#include "text/break_classes.h"

namespace dure::text {
namespace {

bool is_terminator(Sentence kind) noexcept {
  return kind == Sentence::kATerm || kind == Sentence::kSTerm;
}
bool is_separator(Sentence kind) noexcept {
  return kind == Sentence::kSep || kind == Sentence::kCr || kind == Sentence::kLf;
}
bool is_ignored(Sentence kind) noexcept {
  return kind == Sentence::kExtend || kind == Sentence::kFormat;
}

// SB5: past Extend and Format, which count for nothing.
std::size_t skip_ignored(std::string_view text, std::size_t at) noexcept {
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) break;
    const CodePoint point = decode_at(text, at);
    if (!is_ignored(sentence_class(point.value))) break;
    at += point.length;
  }
  return at;
}

Sentence class_at(std::string_view text, std::size_t at) noexcept {
  return at < text.size() ? sentence_class(decode_at(text, at).value) : Sentence::kOther;
}

Sentence class_before(std::string_view text, std::size_t at) noexcept {
  while (at > 0) {
    at = before(text, at);
    const Sentence kind = sentence_class(decode_at(text, at).value);
    if (!is_ignored(kind)) return kind;
  }
  return Sentence::kOther;
}

std::size_t skip_class(std::string_view text, std::size_t at, Sentence kind) noexcept {
  while (at < text.size() && class_at(text, at) == kind)
    at = skip_ignored(text, at + decode_at(text, at).length);
  return at;
}

// SB8: a lower-case letter stands ahead, with nothing between that could start a sentence.
bool goes_on_in_lower_case(std::string_view text, std::size_t at) noexcept {
  while (at < text.size()) {
    const CodePoint point = decode_at(text, at);
    const Sentence kind = sentence_class(point.value);
    if (kind == Sentence::kLower) return true;
    if (kind == Sentence::kOLetter || kind == Sentence::kUpper || is_separator(kind) ||
        is_terminator(kind))
      return false;
    at += point.length;
  }
  return false;
}

std::size_t after_separator(std::string_view text, std::size_t at) noexcept {
  const bool crlf = text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n';
  return at + (crlf ? 2 : decode_at(text, at).length);
}

// One terminator at `at`: the boundary it makes, or 0 and `at` moved past what was read.
std::size_t boundary_of_terminator(std::string_view text, std::size_t& at) noexcept {
  const CodePoint term = decode_at(text, at);
  const bool may_be_abbreviation = sentence_class(term.value) == Sentence::kATerm;
  const std::size_t after_term = skip_ignored(text, at + term.length);
  if (may_be_abbreviation) {
    const Sentence next = class_at(text, after_term);
    const Sentence previous = next == Sentence::kUpper ? class_before(text, at) : Sentence::kOther;
    const bool initial = previous == Sentence::kUpper || previous == Sentence::kLower;  // SB7
    if (next == Sentence::kNumeric || initial) {                                        // SB6
      at = after_term;
      return 0;
    }
  }
  const std::size_t after_close = skip_class(text, after_term, Sentence::kClose);
  const std::size_t after_space = skip_class(text, after_close, Sentence::kSp);
  at = after_space;
  if (after_space == text.size()) return after_space;
  const Sentence next = class_at(text, after_space);
  if (is_separator(next)) return after_separator(text, after_space);
  if (next == Sentence::kSContinue || is_terminator(next)) return 0;              // SB8a
  if (may_be_abbreviation && goes_on_in_lower_case(text, after_space)) return 0;  // SB8
  return after_space;
}

// What a byte may begin: only these need a look at the tables.
constexpr std::array<bool, 256> kMayEnd = [] {
  std::array<bool, 256> may{};
  for (const char c : {'.', '!', '?', '\n', '\r'}) may[static_cast<unsigned char>(c)] = true;
  for (std::size_t lead = 0xC2; lead < 0xF5; ++lead)
    may[lead] = lead == 0xC2 || lead >= 0xD6;  // nothing ends a sentence in U+00C0..057F
  for (std::size_t hangul = 0xEB; hangul <= 0xEC; ++hangul) may[hangul] = false;
  return may;
}();

std::size_t length_of(unsigned char lead) noexcept {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// --- Korean ---------------------------------------------------------------------------------

constexpr std::size_t kSyllable = 3;            // bytes of a Hangul syllable
constexpr std::size_t kLongestQuotation = 900;  // bytes within which a quotation has to close

bool is_hangul(std::string_view text, std::size_t at) noexcept {
  if (at + kSyllable > text.size()) return false;
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0xEA || lead > 0xED) return false;
  const char32_t c = decode_at(text, at).value;
  return c >= 0xAC00 && c <= 0xD7A3;
}

bool has_final_consonant(std::string_view text, std::size_t at, unsigned jongseong) noexcept {
  return is_hangul(text, at) && (decode_at(text, at).value - 0xAC00) % 28 == jongseong;
}

bool one_of(std::string_view syllable, std::string_view list) noexcept {
  for (std::size_t at = 0; at + kSyllable <= list.size(); at += kSyllable)
    if (list.substr(at, kSyllable) == syllable) return true;
  return false;
}

constexpr unsigned kFinalRieul = 8;
constexpr unsigned kFinalBieup = 17;
constexpr unsigned kFinalSsangSiot = 20;

bool has_final(std::string_view text, std::size_t at) noexcept {
  return is_hangul(text, at) && (decode_at(text, at).value - 0xAC00) % 28 != 0;
}

// Laughter and tears (Hangul letters standing alone), tildes: they follow an ending.
std::size_t before_emotion(std::string_view text, std::size_t end) noexcept {
  while (end > 0) {
    const std::size_t at = before(text, end);
    const char32_t c = decode_at(text, at).value;
    if ((c < 0x3131 || c > 0x318E) && c != '~' && c != '^' && c != 0x2661 && c != 0x2665) break;
    end = at;
  }
  return end;
}

// After an ending, words that make a clause of it: "though", "seeing that", "wanting to".
bool goes_on_after_ending(std::string_view text, std::size_t at) noexcept {
  while (at < text.size() && text[at] == ' ') ++at;
  const std::string_view rest = text.substr(at, 4 * kSyllable);
  for (const std::string_view word : {"하더라도", "해도", "할지라도", "하여도", "보니", "싶"})
    if (rest.starts_with(word)) return true;
  return false;
}

// Whether the word that ends at `end` (a space follows) closes a sentence without punctuation.
bool ends_sentence(std::string_view text, std::size_t end) noexcept {
  if (end < 2) return false;
  const char near = text[end - 1];
  if (!is_continuation(near) && near != '~' && near != '^') return false;  // an ASCII word
  const std::size_t tail = end;
  end = before_emotion(text, end);
  if (tail - end >= 2 * kSyllable && end > 0) return true;  // two letters of laughter at least
  if (end < 2 * kSyllable || !is_hangul(text, end - kSyllable)) return false;
  const std::string_view last = text.substr(end - kSyllable, kSyllable);
  const std::size_t second = end - 2 * kSyllable;
  if (!is_hangul(text, second)) return false;
  const std::string_view previous = text.substr(second, kSyllable);
  if (last == "다")  // a stem before it; else "than", "each", "sea", ...
    return (has_final(text, second) || one_of(previous, "이니하르크쁘프되시리")) &&
           !goes_on_after_ending(text, tail);
  if (last == "요") return !one_of(previous, "필주중수개강소동긴");
  if (last == "죠" || last == "쥬") return true;
  if (last == "유" || last == "용")
    return one_of(previous, "아어여해네에예");  // dialect, endearing
  if (last == "까")                             // -ㅂ니까, -ㄹ까; -니까 means "because"
    return previous == "니"
               ? second >= kSyllable && has_final_consonant(text, second - kSyllable, kFinalBieup)
               : has_final_consonant(text, second, kFinalRieul);
  if (last == "음") return has_final_consonant(text, second, kFinalSsangSiot);
  if (last == "나" || last == "먼" || last == "만") return previous == "구";
  if (last == "군" || last == "라") return previous == "더";
  return (last == "아" && previous == "잖") || (last == "랑" && previous == "걸") ||
         (last == "시" && previous == "십") || (last == "오" && previous == "시");
}

struct Mark {
  std::string_view open;
  std::string_view close;
  bool quotes;
};
constexpr std::array<Mark, 11> kMarks{{{"\"", "\"", true},
                                       {"'", "'", true},
                                       {"<", ">", true},
                                       {"(", ")", false},
                                       {"[", "]", false},
                                       {"“", "”", true},
                                       {"‘", "’", true},
                                       {"「", "」", true},
                                       {"『", "』", true},
                                       {"《", "》", false},
                                       {"〈", "〉", false}}};

bool is_alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// What a byte may open: most open nothing.
constexpr std::array<bool, 256> kMayOpen = [] {
  std::array<bool, 256> may{};
  for (const Mark& mark : kMarks) may[static_cast<unsigned char>(mark.open.front())] = true;
  return may;
}();

const Mark* mark_opening_at(std::string_view text, std::size_t at) noexcept {
  if (!kMayOpen[static_cast<unsigned char>(text[at])]) return nullptr;
  for (const Mark& mark : kMarks)
    if (text.compare(at, mark.open.size(), mark.open) == 0) return &mark;
  return nullptr;
}

const Mark* mark_closing_before(std::string_view text, std::size_t end) noexcept {
  if (end == 0 || is_alphanumeric(text[end - 1])) return nullptr;
  for (const Mark& mark : kMarks)
    if (end >= mark.close.size() &&
        text.compare(end - mark.close.size(), mark.close.size(), mark.close) == 0)
      return &mark;
  return nullptr;
}

// Whether the sentence goes on after `mark`, which closes before `at`: a particle follows, a verb
// of saying, or, after a parenthesis, any Korean word.
bool is_tied(std::string_view text, const Mark& mark, std::size_t at) noexcept {
  if (is_hangul(text, at)) return true;
  if (at >= text.size() || text[at] != ' ' || !is_hangul(text, at + 1)) return false;
  return !mark.quotes || one_of(text.substr(at + 1, kSyllable), "하라며");
}

std::size_t trim_spaces(std::string_view text, std::size_t from, std::size_t end) noexcept {
  while (end > from && text[end - 1] == ' ') --end;
  return end;
}

// "1. " or "12) ": the number of a list entry, not a sentence.
bool is_entry_number(std::string_view text, std::size_t from, std::size_t boundary) noexcept {
  std::size_t end = trim_spaces(text, from, boundary);
  if (end == boundary || end <= from || text[end - 1] != '.') return false;
  for (--end; end > from && text[end - 1] >= '0' && text[end - 1] <= '9';) --end;
  return trim_spaces(text, from, end) == from;
}

// After "[" of a footnote mark: past "2] ", and past more such marks. Else `boundary`.
std::size_t after_footnotes(std::string_view text, std::size_t boundary) noexcept {
  constexpr std::size_t kLongest = 24;  // bytes of a mark such as "[note 12]"
  while (boundary < text.size() && text[boundary - 1] == '[') {
    const std::size_t close = text.substr(boundary, kLongest).find_first_of("]\n");
    if (close == std::string_view::npos || text[boundary + close] != ']') break;
    boundary += close + 1;
    if (boundary < text.size() && text[boundary] == '[') ++boundary;
  }
  while (boundary < text.size() && text[boundary] == ' ') ++boundary;
  return boundary;
}

// "ㅎㅎ" right after the terminator belongs to its sentence: past it and its spaces.
std::size_t after_emotion(std::string_view text, std::size_t boundary) noexcept {
  std::size_t at = boundary;
  while (at < text.size()) {
    const CodePoint point = decode_at(text, at);
    if (point.value < 0x3131 || point.value > 0x318E) break;
    at += point.length;
  }
  if (at == boundary) return boundary;
  while (at < text.size() && text[at] == ' ') ++at;
  return at;
}

}  // namespace

std::size_t SentenceScanner::next_uax29(std::size_t from) const noexcept {
  for (std::size_t at = from; at < text_.size();) {
    const auto lead = static_cast<unsigned char>(text_[at]);
    if (!kMayEnd[lead]) {
      at += length_of(lead);
      continue;
    }
    const CodePoint point = decode_at(text_, at);
    const Sentence kind = sentence_class(point.value);
    if (is_separator(kind)) return after_separator(text_, at);
    if (!is_terminator(kind)) {
      at += point.length;
    } else if (const std::size_t boundary = boundary_of_terminator(text_, at); boundary != 0) {
      return boundary;
    }
  }
  return text_.size();
}

std::size_t SentenceScanner::next_ending(std::size_t from, std::size_t limit) const noexcept {
  for (std::size_t at = text_.find(' ', from); at < limit; at = text_.find(' ', at + 1)) {
    if (at <= from || !ends_sentence(text_, at)) continue;
    while (at < text_.size() && text_[at] == ' ') ++at;
    return at < limit ? at : limit;
  }
  return limit;
}

// Where the marks close that were opened in [from, boundary) and hold `boundary`; 0 if none do.
std::size_t SentenceScanner::end_of_quotation(std::size_t from,
                                              std::size_t boundary) const noexcept {
  const Mark* open = nullptr;
  std::size_t opened_at = 0;
  for (std::size_t at = from; at < boundary;) {
    if (open == nullptr) {
      const bool apostrophe = text_[at] == '\'' && at > 0 && text_[at - 1] != ' ';
      open = apostrophe ? nullptr : mark_opening_at(text_, at);
      opened_at = at;
    } else if (text_.compare(at, open->close.size(), open->close) == 0) {
      open = nullptr;
    }
    at += length_of(static_cast<unsigned char>(text_[at]));
  }
  if (open == nullptr) return 0;
  std::string_view near = text_.substr(0, opened_at + kLongestQuotation);
  near = near.substr(0, near.find('\n', boundary));
  const std::size_t close = near.find(open->close, boundary);
  if (close == std::string_view::npos) return 0;
  const std::size_t end = close + open->close.size();
  return is_tied(text_, *open, end) ? end : 0;
}

bool SentenceScanner::goes_on_after_quotation(std::size_t boundary) const noexcept {
  const std::size_t end = trim_spaces(text_, 0, boundary);
  const Mark* mark = mark_closing_before(text_, end);
  return mark != nullptr && is_tied(text_, *mark, end);
}

std::size_t SentenceScanner::next_korean(std::size_t from) noexcept {
  std::size_t unquoted = from;  // no quotation is open here
  for (std::size_t at = from;;) {
    if (at < asked_ || at >= standard_) {
      asked_ = at;
      standard_ = next_uax29(at);
    }
    const std::size_t boundary = next_ending(at, standard_);
    if (boundary == text_.size() || is_separator(class_before(text_, boundary))) return boundary;
    at = boundary;
    if (boundary < unquoted || is_entry_number(text_, from, boundary)) continue;
    if (text_[boundary - 1] == '[') {
      at = after_footnotes(text_, boundary);
      if (at != boundary) return at;
    } else if (const std::size_t end = end_of_quotation(unquoted, boundary); end != 0) {
      unquoted = end;
      at = std::max(boundary, before(text_, before(text_, end)));
    } else if (!goes_on_after_quotation(boundary)) {
      return after_emotion(text_, boundary);
    }
  }
}

std::size_t SentenceScanner::next(std::size_t from) noexcept {
  return rules_ == SentenceRules::kUax29 ? next_uax29(from) : next_korean(from);
}

std::vector<std::size_t> sentence_ends(std::string_view text, SentenceRules rules) {
  std::vector<std::size_t> ends;
  SentenceScanner scanner(text, rules);
  base::CancelTick<256> tick;
  for (std::size_t at = 0; at < text.size(); tick()) ends.push_back(at = scanner.next(at));
  return ends;
}

}  // namespace dure::text
