// tokenize/piece_rules.h - the three grammars, a piece at a time: what stands behind the block
// splitter for all that is not plain, and what its tests compare with.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_TOKENIZE_PIECE_RULES_H_
#define DURE_SRC_TOKENIZE_PIECE_RULES_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"

namespace dure::tokenize::rules {

using text::CharClass;
using Byte = unsigned char;
using At = const Byte*;

// A set of classes, one bit each.
constexpr unsigned bit(CharClass kind) { return 1U << static_cast<unsigned>(kind); }
inline constexpr unsigned kSymbol = bit(CharClass::kSymbol);
inline constexpr unsigned kSpace = bit(CharClass::kSpace);
inline constexpr unsigned kNumber = bit(CharClass::kNumber);
inline constexpr unsigned kMark = bit(CharClass::kMark);
inline constexpr unsigned kCaseless = bit(CharClass::kCaseless);
inline constexpr unsigned kLetter = bit(CharClass::kUpper) | bit(CharClass::kLower) | kCaseless;
inline constexpr unsigned kOther = kSymbol | kMark;  // [^\s\p{L}\p{N}]
// o200k: what may stand before and after the change of case; caseless letters and marks in both.
inline constexpr unsigned kHead = bit(CharClass::kUpper) | kCaseless | kMark;
inline constexpr unsigned kTail = bit(CharClass::kLower) | kCaseless | kMark;

// One character: the set of its one class, and its bytes.
struct Char {
  unsigned set;
  std::uint32_t length;
};

// The sets of ASCII, checked against the Unicode table by a test.
inline constexpr auto kAsciiSets = [] {
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

inline Char char_at(At at, At end) noexcept {
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

// The last of the equal characters, of `length` bytes each, that follow each other from `at` on.
inline At last_repeat(At at, std::size_t length, At end) noexcept {
  constexpr std::size_t kStep = 64;
  const auto left = static_cast<std::size_t>(end - at);
  if (left < 2 * length || at[length - 1] != at[2 * length - 1]) [[likely]]
    return at;
  const At last = end - length;  // no repeat begins behind it
  const At first = at;
  while (static_cast<std::size_t>(last - at) >= kStep && std::memcmp(at, at + length, kStep) == 0) {
    at += kStep;
  }
  while (at < last && *at == at[length]) ++at;
  return first + static_cast<std::size_t>(at - first) / length * length;
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
    at = last_repeat(at, next.length, end) + next.length;
  }
  return at;
}

inline bool in_set(unsigned set, At at, At end) noexcept {
  return at < end && (char_at(at, end).set & set) != 0;
}

constexpr bool is_newline(Byte byte) { return byte == '\n' || byte == '\r'; }

// Start of the character before `at`. REQUIRES: `from` < `at`, both starts of characters.
inline At previous(At from, At at) noexcept {
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
inline At blank_run(At at, At run, At end) noexcept {
  if (run == end) return run;
  const At last = previous(at, run);
  return last > at ? last : run;
}

// The end of the last CR or LF in [at, run), else null.
inline At after_last_newline(At at, At run) noexcept {
  for (At back = run; back > at; --back) {
    if (is_newline(back[-1])) return back;
  }
  return nullptr;
}

inline At up_to_three_numbers(At at, At end) noexcept {
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

}  // namespace dure::tokenize::rules

#endif  // DURE_SRC_TOKENIZE_PIECE_RULES_H_
