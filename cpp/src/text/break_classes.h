// Break classes of one code point (private to the room).
#ifndef DURE_SRC_TEXT_BREAK_CLASSES_H_
#define DURE_SRC_TEXT_BREAK_CLASSES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dure/text/utf8.h"

namespace dure::text {

enum class Grapheme : std::uint8_t {  // in the order of scripts/unicode_tables.py
  kOther,
  kCr,
  kLf,
  kControl,
  kExtend,
  kZwj,
  kRegional,
  kPrepend,
  kSpacingMark,
  kL,
  kV,
  kT,
  kLv,
  kLvt,
  kPictographic,
};

enum class Sentence : std::uint8_t {  // in the order of scripts/unicode_tables.py
  kOther,
  kCr,
  kLf,
  kSep,
  kExtend,
  kFormat,
  kSp,
  kLower,
  kUpper,
  kOLetter,
  kNumeric,
  kATerm,
  kSContinue,
  kSTerm,
  kClose,
};

namespace internal {
extern const std::uint8_t kBreakBlock[];  // code point >> 7
extern const std::uint8_t kBreakClass[];  // block << 7 | code point & 127
}  // namespace internal

// REQUIRES: point <= U+10FFFF.
[[nodiscard]] inline std::uint8_t break_class(char32_t point) noexcept {
  return internal::kBreakClass[std::size_t{internal::kBreakBlock[point >> 7]} << 7 |
                               (point & 0x7F)];
}
[[nodiscard]] inline Grapheme grapheme_class(char32_t point) noexcept {
  return static_cast<Grapheme>(break_class(point) & 0x0F);
}
// The table's first rows, which one look finds.
inline constexpr auto kAsciiSentence = [] {
  std::array<Sentence, 128> of{};
  for (char c = 'a'; c <= 'z'; ++c) of[static_cast<unsigned char>(c)] = Sentence::kLower;
  for (char c = 'A'; c <= 'Z'; ++c) of[static_cast<unsigned char>(c)] = Sentence::kUpper;
  for (char c = '0'; c <= '9'; ++c) of[static_cast<unsigned char>(c)] = Sentence::kNumeric;
  for (const char c : {'\t', '\v', '\f', ' '}) of[static_cast<unsigned char>(c)] = Sentence::kSp;
  for (const char c : {',', '-', ':'}) of[static_cast<unsigned char>(c)] = Sentence::kSContinue;
  for (const char c : {'!', '?'}) of[static_cast<unsigned char>(c)] = Sentence::kSTerm;
  for (const char c : {'"', '\'', '(', ')', '[', ']', '{', '}'})
    of[static_cast<unsigned char>(c)] = Sentence::kClose;
  of['.'] = Sentence::kATerm;
  of['\r'] = Sentence::kCr;
  of['\n'] = Sentence::kLf;
  return of;
}();

[[nodiscard]] inline Sentence sentence_class(char32_t point) noexcept {
  if (point < kAsciiSentence.size()) return kAsciiSentence[point];
  return static_cast<Sentence>(break_class(point) >> 4);
}

// Where the code point before `at` starts. REQUIRES: 0 < at <= text.size().
[[nodiscard]] inline std::size_t before(std::string_view text, std::size_t at) noexcept {
  return char_start(text, at - 1);
}

}  // namespace dure::text

#endif  // DURE_SRC_TEXT_BREAK_CLASSES_H_
