#include "dure/tokenize/pretokenizer.h"

#include <array>
#include <bit>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"

namespace dure::tokenize {
namespace {

using text::CharClass;
using Byte = unsigned char;
using At = const Byte*;

// A set of classes, one bit each.
constexpr unsigned bit(CharClass kind) { return 1U << static_cast<unsigned>(kind); }
constexpr unsigned kSymbol = bit(CharClass::kSymbol);
constexpr unsigned kSpace = bit(CharClass::kSpace);
constexpr unsigned kNumber = bit(CharClass::kNumber);
constexpr unsigned kMark = bit(CharClass::kMark);
constexpr unsigned kCaseless = bit(CharClass::kCaseless);
constexpr unsigned kLetter = bit(CharClass::kUpper) | bit(CharClass::kLower) | kCaseless;
constexpr unsigned kOther = kSymbol | kMark;  // [^\s\p{L}\p{N}]
// o200k: what may stand before and after the change of case; caseless letters and marks in both.
constexpr unsigned kHead = bit(CharClass::kUpper) | kCaseless | kMark;
constexpr unsigned kTail = bit(CharClass::kLower) | kCaseless | kMark;

// One character: the set of its one class, and its bytes.
struct Char {
  unsigned set;
  std::uint32_t length;
};

// The sets of ASCII, checked against the Unicode table by a test.
constexpr auto kAsciiSets = [] {
  std::array<std::uint8_t, 128> sets{};
  for (unsigned c = 0; c < 128; ++c) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    const bool number = c >= '0' && c <= '9';
    const bool upper = c >= 'A' && c <= 'Z';
    const bool lower = c >= 'a' && c <= 'z';
    sets[c] = static_cast<std::uint8_t>(space    ? kSpace
                                        : number ? kNumber
                                        : upper  ? bit(CharClass::kUpper)
                                        : lower  ? bit(CharClass::kLower)
                                                 : kSymbol);
  }
  return sets;
}();

Char char_at(At at, At end) noexcept {
  if (*at < 0x80) [[likely]]
    return {kAsciiSets[*at], 1};
  const text::CodePoint point = text::decode(at, end);
  // Most of what is not ASCII: ideographs and Hangul syllables, all of them \p{Lo}.
  if (point.value - 0x4E00U < 0x5200U || point.value - 0xAC00U < 0x2BA4U) {
    return {kCaseless, 3};
  }
  return {bit(text::class_of(point.value)), point.length};
}

// Number of bytes from `at` that are ASCII of `Set`; `at` to at + 16 may be read.
template <unsigned Set>
unsigned ascii_run(At at) noexcept {
#if defined(__SSE2__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  // Signed compare within [low, high] of ASCII: bytes above 127 are negative and fall out.
  const auto within = [](__m128i value, char low, char high) {
    return _mm_and_si128(_mm_cmpgt_epi8(value, _mm_set1_epi8(static_cast<char>(low - 1))),
                         _mm_cmplt_epi8(value, _mm_set1_epi8(static_cast<char>(high + 1))));
  };
  const auto letters = [&] { return within(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z'); };
  const auto spaces = [&] {
    return _mm_or_si128(within(bytes, '\t', '\r'), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(' ')));
  };
  __m128i found;
  if constexpr (Set == kLetter) {
    found = letters();
  } else if constexpr (Set == kTail) {
    found = within(bytes, 'a', 'z');
  } else if constexpr (Set == kHead) {
    found = within(bytes, 'A', 'Z');
  } else if constexpr (Set == kSpace) {
    found = spaces();
  } else if constexpr (Set == kNumber) {
    found = within(bytes, '0', '9');
  } else {
    static_assert(Set == kOther);
    const __m128i rest = _mm_or_si128(_mm_or_si128(letters(), spaces()), within(bytes, '0', '9'));
    found = _mm_andnot_si128(rest, _mm_cmpgt_epi8(bytes, _mm_set1_epi8(-1)));
  }
  const auto misses = ~static_cast<unsigned>(_mm_movemask_epi8(found)) | 0x10000U;
  return static_cast<unsigned>(std::countr_zero(misses));
#else
  unsigned count = 0;
  while (count < 16 && at[count] < 0x80 && (kAsciiSets[at[count]] & Set) != 0) ++count;
  return count;
#endif
}

// The end of the run of characters of `Set` from `at`.
template <unsigned Set>
At skip(At at, At end) noexcept {
  while (at < end) {
    if (*at < 0x80 && end - at >= 16) {
      const unsigned run = ascii_run<Set>(at);
      at += run;
      if (run == 16) continue;
      if (*at < 0x80) break;
    }
    const Char next = char_at(at, end);
    if ((next.set & Set) == 0) break;
    at += next.length;
  }
  return at;
}

bool in_set(unsigned set, At at, At end) noexcept {
  return at < end && (char_at(at, end).set & set) != 0;
}

constexpr bool is_newline(Byte byte) { return byte == '\n' || byte == '\r'; }

// Start of the character before `at`. REQUIRES: `from` < `at`, both starts of characters.
At previous(At from, At at) noexcept {
  At back = at - 1;
  while (back > from && at - back < 4 && (*back & 0xC0U) == 0x80U) --back;
  return back + text::decode(back, at).length == at ? back : at - 1;
}

// Bytes of `[sdmt]|ll|ve|re` at `at`; 0: none. `Fold`: in any case, and U+017F for s.
template <bool Fold>
std::size_t contraction(At at, At end) noexcept {
  if (at >= end) return 0;
  const auto lower = [](Byte byte) -> Byte {
    return Fold && byte >= 'A' && byte <= 'Z' ? static_cast<Byte>(byte | 0x20U) : byte;
  };
  const Byte first = lower(*at);
  if (first == 's' || first == 'd' || first == 'm' || first == 't') return 1;
  if (end - at < 2) return 0;
  if (Fold && at[0] == 0xC5 && at[1] == 0xBF) return 2;
  const Byte second = lower(at[1]);
  const bool found = (first == 'l' && second == 'l') || (first == 'v' && second == 'e') ||
                     (first == 'r' && second == 'e');
  return found ? 2 : 0;
}

// A white-space run from `at` that stands before a character: all but its last character, so that
// this one may join what follows; a run of one stays. At the end of the text: all.
At blank_run(At at, At run, At end) noexcept {
  if (run == end) return run;
  const At last = previous(at, run);
  return last > at ? last : run;
}

// The end of the last CR or LF in [at, run), else null.
At after_last_newline(At at, At run) noexcept {
  for (At back = run; back > at; --back) {
    if (is_newline(back[-1])) return back;
  }
  return nullptr;
}

At up_to_three_numbers(At at, At end) noexcept {
  for (int i = 0; i < 3 && in_set(kNumber, at, end); ++i) at += char_at(at, end).length;
  return at;
}

struct Gpt2 {
  static At piece(At at, At end) noexcept {
    if (*at == '\'') {
      if (const std::size_t length = contraction<false>(at + 1, end)) return at + 1 + length;
    }
    const At body = *at == ' ' ? at + 1 : at;
    if (body < end) {
      const Char first = char_at(body, end);
      const At rest = body + first.length;
      if ((first.set & kLetter) != 0) return skip<kLetter>(rest, end);
      if ((first.set & kNumber) != 0) return skip<kNumber>(rest, end);
      if ((first.set & kOther) != 0) return skip<kOther>(rest, end);
    }
    return blank_run(at, skip<kSpace>(at, end), end);
  }
};

struct Cl100k {
  static At piece(At at, At end) noexcept {
    if (*at == '\'') {
      if (const std::size_t length = contraction<true>(at + 1, end)) return at + 1 + length;
    }
    const Char first = char_at(at, end);
    const At second = at + first.length;
    if ((first.set & kLetter) != 0) return skip<kLetter>(second, end);
    if ((first.set & kNumber) != 0) return up_to_three_numbers(at, end);
    if (!is_newline(*at) && in_set(kLetter, second, end)) return skip<kLetter>(second, end);
    if ((first.set & kOther) != 0 || (*at == ' ' && in_set(kOther, second, end))) {
      At run = skip<kOther>(second, end);
      while (run < end && is_newline(*run)) ++run;
      return run;
    }
    const At run = skip<kSpace>(at, end);
    if (run == end) return run;
    if (const At line = after_last_newline(at, run)) return line;
    return blank_run(at, run, end);
  }
};

struct O200k {
  // [head]*[tail]+ at `at`, with backtracking; null: no match. `run`: the end of [head]*.
  static At tail_match(At at, At run, At end) noexcept {
    if (in_set(kTail, run, end)) return skip<kTail>(run, end);
    while (run > at) {  // give back characters until one can open the tail
      const At last = previous(at, run);
      if ((char_at(last, end).set & kTail) != 0) return run;
      run = last;
    }
    return nullptr;
  }

  static At with_contraction(At at, At end) noexcept {
    if (at < end && *at == '\'') {
      if (const std::size_t length = contraction<true>(at + 1, end)) return at + 1 + length;
    }
    return at;
  }

  // Parts 1 and 2 of the pattern: a word, with one symbol before it if there is one.
  static At word(At at, const Char first, At end) noexcept {
    const bool prefix = (first.set & (kLetter | kNumber)) == 0 && !is_newline(*at);
    const At after = at + first.length;
    const At after_run = prefix ? skip<kHead>(after, end) : after;
    if (prefix) {
      if (const At match = tail_match(after, after_run, end)) return with_contraction(match, end);
    }
    const bool letter = (first.set & (kHead | kTail)) != 0;
    const At run = letter ? skip<kHead>(at, end) : at;
    if (letter) {
      if (const At match = tail_match(at, run, end)) return with_contraction(match, end);
    }
    if (after_run > after) return with_contraction(after_run, end);
    if (run > at) return with_contraction(run, end);
    return nullptr;
  }

  // What most pieces are: an ASCII word in small letters, with an ASCII symbol before it or none.
  // kNoWord: no word can start here.
  enum class Quick : bool { kNoWord, kUnknown };
  static At quick_word(At at, At end, Quick& quick) noexcept {
    constexpr unsigned kLower = bit(CharClass::kLower);
    quick = Quick::kUnknown;
    if (*at >= 0x80) return nullptr;
    const unsigned first = kAsciiSets[*at];
    if ((first & kLower) != 0) return with_contraction(skip<kTail>(at + 1, end), end);
    if ((first & (kLetter | kNumber)) != 0 || is_newline(*at)) return nullptr;
    if (at + 1 == end || at[1] >= 0x80) return nullptr;
    const unsigned second = kAsciiSets[at[1]];
    if ((second & kLower) != 0) return with_contraction(skip<kTail>(at + 2, end), end);
    if ((second & kLetter) == 0) quick = Quick::kNoWord;
    return nullptr;
  }

  static At piece(At at, At end) noexcept {
    Quick quick = Quick::kUnknown;
    if (const At match = quick_word(at, end, quick)) return match;
    const Char first = char_at(at, end);
    if ((first.set & kNumber) != 0) return up_to_three_numbers(at, end);
    if (quick == Quick::kUnknown) {
      if (const At match = word(at, first, end)) return match;
    }
    const At second = at + first.length;
    if ((first.set & kOther) != 0 || (*at == ' ' && in_set(kOther, second, end))) {
      At run = skip<kOther>(second, end);
      while (run < end && (is_newline(*run) || *run == '/')) ++run;
      return run;
    }
    const At run = skip<kSpace>(at, end);
    if (const At line = after_last_newline(at, run)) return line;
    return blank_run(at, run, end);
  }
};

template <typename Rules>
std::size_t split_by(std::string_view text, std::size_t start,
                     std::span<std::size_t> ends) noexcept {
  const auto* begin = reinterpret_cast<At>(text.data());
  const At end = begin + text.size();
  At at = begin + start;
  std::size_t count = 0;
  while (at < end && count < ends.size()) {
    at = Rules::piece(at, end);
    ends[count++] = static_cast<std::size_t>(at - begin);
  }
  return count;
}

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
  split(grammar, text, start, end);
  return end[0];
}

std::size_t split(Grammar grammar, std::string_view text, std::size_t start,
                  std::span<std::size_t> ends) noexcept {
  switch (grammar) {
    case Grammar::kGpt2:
      return split_by<Gpt2>(text, start, ends);
    case Grammar::kCl100k:
      return split_by<Cl100k>(text, start, ends);
    case Grammar::kO200k:
      return split_by<O200k>(text, start, ends);
  }
  return 0;
}

// A letter or number, then white space: no piece goes on over it, and neither look-ahead of white
// space nor a contraction can see over it. In cl100k and o200k also: a newline, then a letter.
std::size_t safe_cut(Grammar grammar, std::string_view text, std::size_t limit) noexcept {
  const auto* begin = reinterpret_cast<At>(text.data());
  const At end = begin + text.size();
  At at = begin + text::char_start(text, limit);
  while (at > begin) {
    const At before = previous(begin, at);
    const unsigned left = char_at(before, end).set;
    const unsigned right = char_at(at, end).set;
    const bool word_ends = (left & (kLetter | kNumber)) != 0 && (right & kSpace) != 0;
    const bool line_ends =
        grammar != Grammar::kGpt2 && is_newline(*before) && (right & kLetter) != 0;
    if (word_ends || line_ends) return static_cast<std::size_t>(at - begin);
    at = before;
  }
  return 0;
}

}  // namespace dure::tokenize
