#include "dure/text/sentences.h"

#include <algorithm>
#include <array>

#include "dure/base/cancel.h"
#include "text/break_classes.h"
#include "text/byte_scan.h"

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

// --- Korean ---------------------------------------------------------------------------------

constexpr std::size_t kSyllable = 3;            // bytes of a Hangul syllable
constexpr std::size_t kLongestQuotation = 900;  // bytes within which a quotation has to close

// The Hangul syllable that ends at `end`, 0 if another character does.
char32_t syllable_before(std::string_view text, std::size_t end) noexcept {
  return end < kSyllable ? 0 : text::syllable_before(text.data() + end);
}

bool is_hangul(std::string_view text, std::size_t at) noexcept {
  return at + kSyllable <= text.size() && syllable_before(text, at + kSyllable) != 0;
}

constexpr ByteSet kHangul = byte_set("\xEA\xEB\xEC\xED");  // first bytes of syllables

constexpr unsigned kFinalRieul = 8;
constexpr unsigned kFinalBieup = 17;
constexpr unsigned kFinalBieupSiot = 18;
constexpr unsigned kFinalSsangSiot = 20;

// The final consonant of a syllable; 0: none.
unsigned final_of(char32_t syllable) noexcept {
  return static_cast<unsigned>(syllable - kFirstSyllable) % 28;
}

bool one_of(char32_t syllable, std::u32string_view list) noexcept {
  return list.find(syllable) != std::u32string_view::npos;
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
  for (const std::string_view word :
       {"하더라", "하드라", "했다", "했더", "해도", "할지라도", "하여도", "보니", "싶"})
    if (rest.starts_with(word)) return true;
  return false;
}

// After -나, -지 and -라고, words that make a clause of it: "seems", "whether", "not", "called".
bool goes_on_after_question(std::string_view text, std::size_t at) noexcept {
  while (at < text.size() && text[at] == ' ') ++at;
  const std::string_view rest = text.substr(at, 2 * kSyllable);
  for (const std::string_view word :
       {"보", "봐", "봅", "싶", "하", "했", "해", "않", "못", "말", "안"})
    if (rest.starts_with(word)) return true;
  return false;
}

// Whether `last`, after `previous`, is an ending that closes a sentence; `text` ends with both.
bool is_ending(std::string_view text, char32_t previous, char32_t last) noexcept {
  switch (last) {
    case U'다':  // a stem before it; else "than", "each", "sea", ...
      return final_of(previous) != 0 || one_of(previous, U"이니하르크쁘프되시리");
    case U'요':
      return !one_of(previous, U"필주중수개강소동긴");
    case U'죠':
    case U'쥬':
      return true;
    case U'유':
    case U'용':
      return one_of(previous, U"아어여해네에예");  // dialect, endearing
    case U'까': {                                  // -ㅂ니까, -ㄹ까; -니까 means "because"
      if (previous != U'니') return final_of(previous) == kFinalRieul;
      const char32_t third = syllable_before(text, text.size() - 2 * kSyllable);
      return third != 0 && final_of(third) == kFinalBieup;
    }
    case U'음':
      return final_of(previous) == kFinalSsangSiot;
    case U'나':  // -구나, -었나, -겠나
      return previous == U'구' || previous == U'긋' || final_of(previous) == kFinalSsangSiot;
    case U'먼':
    case U'만':
      return previous == U'구';
    case U'군':
      return previous == U'더';
    case U'라':  // -더라; -는 기라
      return previous == U'더' || previous == U'드' || previous == U'기';
    case U'고':
    case U'구': {  // -더라고, -드라구
      if (previous != U'라') return false;
      const char32_t third = syllable_before(text, text.size() - 2 * kSyllable);
      return third == U'더' || third == U'드';
    }
    case U'지':
    case U'제':  // -었지, -었제
      return final_of(previous) == kFinalSsangSiot;
    case U'재':  // -었재, 없재
      return final_of(previous) == kFinalSsangSiot || final_of(previous) == kFinalBieupSiot;
    case U'께':  // -냐니께
      return previous == U'니' && syllable_before(text, text.size() - 2 * kSyllable) == U'냐';
    case U'햐':
      return true;  // dialect, no word of the standard ends so
    case U'아':
      return previous == U'잖';
    case U'랑':
      return previous == U'걸';
    case U'시':
      return previous == U'십';
    case U'오':
      return previous == U'시';
    default:
      return false;
  }
}

// Words that only a clause begins with.
bool starts_clause(std::string_view text, std::size_t at, bool with_and) noexcept {
  while (at < text.size() && text[at] == ' ') ++at;
  const std::string_view rest = text.substr(at, 5 * kSyllable);
  for (const std::string_view word :
       {"하지만 ", "그러나 ", "그런데 ", "그래서 ", "그렇지만 ", "그래도 ", "그러므로 ", "그러면 ",
        "따라서 ", "왜냐하면 ", "다만 ", "나는 ", "저는 ", "우리는 "})
    if (rest.starts_with(word)) return true;
  return with_and && rest.starts_with("그리고 ");
}

// The nominal endings of notes: -함, -임, -음. Nouns end so, too ("모임", "책임", "웃음"): they
// close a sentence only before a word that begins one, and "and" joins nouns.
bool is_nominal_ending(char32_t previous, char32_t last, std::string_view text,
                       std::size_t tail) noexcept {
  if (last == U'함' || last == U'임') return starts_clause(text, tail, false);
  const unsigned final = final_of(previous);
  if (last != U'음' || final == 0) return false;
  const bool noun = final == kFinalRieul || one_of(previous, U"웃죽믿젊얽");
  return starts_clause(text, tail, !noun);
}

// Whether the word that ends at `end` closes a sentence without punctuation. REQUIRES: a space
// follows it; its last byte is "~", "^" or no ASCII.
bool ends_sentence(std::string_view text, std::size_t end) noexcept {
  const std::size_t tail = end;
  char32_t last = syllable_before(text, end);
  if (last == 0) {
    end = before_emotion(text, end);
    if (tail - end >= 2 * kSyllable && end > 0) return true;  // two letters of laughter at least
    last = syllable_before(text, end);
    if (last == 0) return false;
  }
  const char32_t previous = syllable_before(text, end - kSyllable);
  if (previous == 0) return false;
  if (!is_ending(text.substr(0, end), previous, last))
    return is_nominal_ending(previous, last, text, tail);
  if (last == U'다') return !goes_on_after_ending(text, tail);
  const bool may_go_on = last == U'나' || last == U'지' || last == U'고';
  return !may_go_on || !goes_on_after_question(text, tail);
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

// First bytes of opening marks.
constexpr ByteSet kMayOpen = [] {
  ByteSet may;
  for (const Mark& mark : kMarks) may.add(static_cast<unsigned char>(mark.open.front()));
  return may;
}();
// Last bytes of closing marks.
constexpr std::array<bool, 256> kMayClose = [] {
  std::array<bool, 256> may{};
  for (const Mark& mark : kMarks) may[static_cast<unsigned char>(mark.close.back())] = true;
  return may;
}();

const Mark* mark_opening_at(std::string_view text, std::size_t at) noexcept {
  const bool apostrophe = text[at] == '\'' && at > 0 && text[at - 1] != ' ';
  if (apostrophe) return nullptr;
  for (const Mark& mark : kMarks)
    if (text.compare(at, mark.open.size(), mark.open) == 0) return &mark;
  return nullptr;
}

const Mark* mark_closing_before(std::string_view text, std::size_t end) noexcept {
  if (end == 0 || !kMayClose[static_cast<unsigned char>(text[end - 1])]) return nullptr;
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
  return !mark.quotes || one_of(syllable_before(text, at + 1 + kSyllable), U"하라며");
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

// "2024. 3. ", "제2. 5": digits and a full stop, and a number follows, or stood before: a date, or
// numbers of chapter and verse.
bool is_number_of_many(std::string_view text, std::size_t boundary) noexcept {
  const auto is_digit = [text](std::size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  const auto before_number = [&](std::size_t end) {  // of "12." at `end`; 0: there is none
    if (end < 2 || text[end - 1] != '.' || !is_digit(end - 2)) return std::size_t{0};
    for (--end; end > 0 && is_digit(end - 1);) --end;
    return end;
  };
  const std::size_t end = trim_spaces(text, 0, boundary);
  const std::size_t number = before_number(end);
  if (number == 0 || end == boundary) return false;
  if (boundary < text.size() && is_digit(boundary)) return true;
  return text[number - 1] == ' ' && before_number(trim_spaces(text, 0, number)) != 0;
}

// Right after "…": what goes on with the sentence: a particle alone, or what reports speech.
bool is_tied_to_ellipsis(std::string_view text, std::size_t at) noexcept {
  constexpr std::u32string_view kParticles = U"는은이가을를도의에와과로라며고";
  const std::string_view rest = text.substr(at, 2 * kSyllable);
  for (const std::string_view word :
       {"라고", "라는", "라며", "하고", "하는", "하며", "이라", "에서"})
    if (rest.starts_with(word)) return true;
  const bool alone = at + kSyllable >= text.size() || !is_hangul(text, at + kSyllable);
  return alone && one_of(syllable_before(text, at + kSyllable), kParticles);
}

constexpr std::string_view kEllipsis = "…";

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

// Follows the marks of a text from one place on.
class Quotations {
 public:
  Quotations(std::string_view text, std::size_t from) noexcept : text_(text), at_(from) {}

  // Where the marks close that are open at `boundary`; 0 if none are, or they do not close nearby.
  // REQUIRES: `boundary` never falls.
  std::size_t end_around(std::size_t boundary) noexcept {
    read_to(boundary);
    if (open_ == nullptr) return 0;
    std::string_view near = text_.substr(0, opened_at_ + kLongestQuotation);
    near = near.substr(0, near.find('\n', boundary));
    const std::size_t close = near.find(open_->close, boundary);
    if (close == std::string_view::npos) return 0;
    const std::size_t end = close + open_->close.size();
    return is_tied(text_, *open_, end) ? end : 0;
  }

 private:
  void read_to(std::size_t boundary) noexcept {
    while (at_ < boundary) {
      if (open_ == nullptr) {
        at_ = byte_scan().find(kMayOpen, text_, at_, boundary);
        if (at_ == boundary) return;
        open_ = mark_opening_at(text_, at_);
        opened_at_ = at_;
        at_ += open_ == nullptr ? 1 : open_->open.size();
      } else {
        const std::size_t close = text_.substr(0, boundary).find(open_->close, at_);
        if (close == std::string_view::npos) {
          at_ = boundary;
          return;
        }
        at_ = close + open_->close.size();
        open_ = nullptr;
      }
    }
  }

  std::string_view text_;
  std::size_t at_;  // read to here
  const Mark* open_ = nullptr;
  std::size_t opened_at_ = 0;
};

}  // namespace

bool has_hangul(std::string_view text) noexcept {
  return byte_scan().find(kHangul, text, 0, text.size()) != text.size();
}

std::size_t SentenceScanner::next_uax29(std::size_t from) const noexcept {
  const auto find = byte_scan().find_end_mark;
  for (std::size_t at = from;;) {
    at = find(text_, at, text_.size());
    if (at == text_.size()) return at;
    const CodePoint point = decode_at(text_, at);
    const Sentence kind = sentence_class(point.value);
    if (is_separator(kind)) return after_separator(text_, at);
    if (!is_terminator(kind)) {
      at += point.length;
    } else if (const std::size_t boundary = boundary_of_terminator(text_, at); boundary != 0) {
      return boundary;
    }
  }
}

std::size_t SentenceScanner::next_ending(std::size_t from, std::size_t limit) const noexcept {
  const auto find = byte_scan().find_word_end;
  for (std::size_t at = find(text_, from + 1, limit); at < limit; at = find(text_, at + 1, limit)) {
    if (!ends_sentence(text_, at)) continue;
    while (at < text_.size() && text_[at] == ' ') ++at;
    return at < limit ? at : limit;
  }
  return limit;
}

// Where a sentence ends with "…" before Hangul, with or without a space; `limit` without one.
std::size_t SentenceScanner::next_ellipsis(std::size_t from, std::size_t limit) noexcept {
  for (;;) {
    if (ellipsis_ < from || ellipsis_from_ > from) {
      ellipsis_from_ = from;
      ellipsis_ = std::min(text_.find(kEllipsis, from), text_.size());
    }
    if (ellipsis_ >= limit) return limit;
    from = ellipsis_;
    while (text_.compare(from, kEllipsis.size(), kEllipsis) == 0) from += kEllipsis.size();
    const std::size_t closed = skip_class(text_, from, Sentence::kClose);
    std::size_t at = closed;
    while (at < text_.size() && text_[at] == ' ') ++at;
    if (at < limit && is_hangul(text_, at) && (at > closed || !is_tied_to_ellipsis(text_, at)))
      return at;
  }
}

bool SentenceScanner::goes_on_after_quotation(std::size_t boundary) const noexcept {
  const std::size_t end = trim_spaces(text_, 0, boundary);
  const Mark* mark = mark_closing_before(text_, end);
  return mark != nullptr && is_tied(text_, *mark, end);
}

// Whether a Hangul syllable may begin in or near the quotation that holds `boundary`.
bool SentenceScanner::is_hangul_near(std::size_t boundary) noexcept {
  constexpr std::size_t kNear = kLongestQuotation + 8;
  if (hangul_ < boundary || hangul_from_ > boundary) {
    hangul_from_ = boundary;
    hangul_ = byte_scan().find(kHangul, text_, boundary, text_.size());
  }
  return hangul_ - boundary < kNear && hangul_ < text_.size();
}

std::size_t SentenceScanner::next_korean(std::size_t from) noexcept {
  std::size_t unquoted = from;  // no quotation is open here
  Quotations quotations(text_, from);
  for (std::size_t at = from;;) {
    if (at < asked_ || at >= standard_) {
      asked_ = at;
      standard_ = next_uax29(at);
    }
    const std::size_t boundary = next_ellipsis(at, next_ending(at, standard_));
    if (boundary == text_.size() || is_separator(class_before(text_, boundary))) return boundary;
    at = boundary;
    if (boundary < unquoted || is_entry_number(text_, from, boundary)) continue;
    if (is_number_of_many(text_, boundary) && is_hangul_near(boundary)) continue;
    if (text_[boundary - 1] == '[') {
      at = after_footnotes(text_, boundary);
      if (at != boundary) return at;
    } else if (!is_hangul_near(boundary)) {
      return after_emotion(text_, boundary);  // nothing that could tie what follows to it
    } else if (const std::size_t end = quotations.end_around(boundary); end != 0) {
      unquoted = end;
      quotations = Quotations(text_, end);
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
