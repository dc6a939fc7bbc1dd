#include "dure/tokenize/pretokenizer.h"

#include <array>

#include "tokenize/block_split.h"
#include "tokenize/piece_rules.h"

namespace dure::tokenize {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
constexpr std::string_view kCl100kPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// gpt2 before the possessive spelling.
constexpr std::string_view kGpt2Old =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

std::string_view pattern_of(Grammar grammar) noexcept {
  switch (grammar) {
    case Grammar::kGpt2:
      return kGpt2Pattern;
    case Grammar::kCl100k:
      return kCl100kPattern;
    case Grammar::kO200k:
      return kO200kPattern;
  }
  return {};
}

std::optional<Grammar> grammar_of(std::string_view pattern) noexcept {
  for (const Grammar grammar : {Grammar::kGpt2, Grammar::kCl100k, Grammar::kO200k}) {
    if (pattern == pattern_of(grammar)) return grammar;
  }
  if (pattern == kGpt2Old) return Grammar::kGpt2;
  return std::nullopt;
}

std::size_t piece_end(Grammar grammar, std::string_view text, std::size_t start) noexcept {
  std::array<std::size_t, 1> end{};
  split_by_pieces(grammar, text, start, end.data(), end.size());
  return end[0];
}

std::size_t split(Grammar grammar, std::string_view text, std::size_t start,
                  std::span<std::size_t> ends) noexcept {
  return splitter().split(grammar, text, start, ends.data(), ends.size());
}

namespace {

// Is there a character of `set` at `at` that no later byte can change?
bool whole_in(unsigned set, rules::At at, rules::At end) noexcept {
  if (at >= end) return false;
  if (*at < 0x80) return (rules::kAsciiSets[*at] & set) != 0;
  const text::CodePoint point = text::decode(at, end);
  return point.value != text::kInvalid && (rules::bit(text::class_of(point.value)) & set) != 0;
}

}  // namespace

// Within a run of letters or of symbols a piece goes on as one that starts there would. In o200k
// the case counts: after a small letter; while there was none and the letter is caseless or a mark,
// so that capitals at the end are cut off behind it or later; or while all were capitals.
std::size_t resume_point(Grammar grammar, std::string_view text, std::size_t start) noexcept {
  using namespace rules;
  const bool cased = grammar == Grammar::kO200k;
  const unsigned symbols = cased ? kSymbol : kOther;
  const auto* begin = reinterpret_cast<At>(text.data());
  const At end = begin + text.size();
  const At first = begin + start;
  At found = first;
  if (!cased && *first == '\'' && contraction<true>(first + 1, end) != 0) return start;  // complete
  bool head = true;      // no small letter so far
  bool capitals = true;  // nothing else so far
  bool words = false;    // a letter so far, or a mark that opens a word
  unsigned before = 0;
  At last = first;  // the character before
  for (At at = first; at < end;) {
    const Char next = char_at(at, end);
    const bool mark = cased && (next.set & kMark) != 0;
    const bool word = (next.set & kLetter) != 0;
    // What ends a run: newlines and slashes behind symbols, a contraction behind a word.
    if (before != 0 && (next.set & kSpace) != 0) break;
    if (words && !word && !mark) break;
    if (mark && !words && last != first) break;
    words = words || word || mark;
    if (mark) {
      capitals = false;
      if (head) found = at;
    } else if (!cased) {
      if (word && (before & kLetter) != 0) found = at;
    } else if (word) {
      const bool lower = (next.set & bit(CharClass::kLower)) != 0;
      head = head && !lower;
      capitals = capitals && (next.set & bit(CharClass::kUpper)) != 0;
      if (lower || capitals || (head && (next.set & kCaseless) != 0)) found = at;
    }
    if ((before & symbols) != 0 && whole_in(symbols, at, end) &&
        whole_in(symbols, at + next.length, end)) {
      found = at;
    }
    if (next.set == before) {  // so more of the same changes nothing but the place
      const At repeat = last_repeat(at, next.length, end);
      if (repeat > at) {
        if (found == at) found = repeat - next.length;
        at = repeat - next.length;
      }
    }
    before = next.set;
    last = at;
    at += next.length;
  }
  return static_cast<std::size_t>(found - begin);
}

namespace {

// Do a piece's end and another's start always meet between two characters of these sets? White
// space after a letter or number is seen by no look-ahead of theirs; letters, numbers and symbols
// end each other, but that a symbol may open a word, and an apostrophe go on with it. Marks are of
// several kinds: never.
bool parts(unsigned left, unsigned right, bool apostrophe) noexcept {
  using namespace rules;
  if ((left & (kLetter | kNumber)) != 0 && (right & kSpace) != 0) return true;
  if ((left & kLetter) != 0)
    return (right & kNumber) != 0 || ((right & kSymbol) != 0 && !apostrophe);
  if ((left & kNumber) != 0) return (right & (kLetter | kSymbol)) != 0 && !apostrophe;
  return (left & kSymbol) != 0 && (right & kNumber) != 0;
}

}  // namespace

// In cl100k and o200k also: a newline, then a letter.
std::size_t safe_cut(Grammar grammar, std::string_view text, std::size_t limit,
                     std::size_t most) noexcept {
  using namespace rules;
  const auto* begin = reinterpret_cast<At>(text.data());
  const At end = begin + text.size();
  At at = begin + text::char_start(text, limit);
  const At first = begin + (limit > most ? limit - most : 0);
  unsigned right = char_at(at, end).set;
  for (unsigned left = 0; at > first; right = left) {
    const At before = previous(begin, at);
    left = char_at(before, end).set;
    const bool line_ends =
        grammar != Grammar::kGpt2 && is_newline(*before) && (right & kLetter) != 0;
    if (line_ends || parts(left, right, *at == '\'')) return static_cast<std::size_t>(at - begin);
    at = before;
  }
  return 0;
}

}  // namespace dure::tokenize
