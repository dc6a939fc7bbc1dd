// text/byte_scan.h - searching and counting bytes of UTF-8 in vectors of 32 or 64 (private to the
// room).
//
// The set of instructions is chosen once (dure/base/simd.h). All give equal answers.
//
// Thread-safe: pure functions, constant tables.
#ifndef DURE_SRC_TEXT_BYTE_SCAN_H_
#define DURE_SRC_TEXT_BYTE_SCAN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dure/base/simd.h"
#include "dure/text/byte_set.h"

namespace dure::text {

// First bytes of the characters that end a sentence or a paragraph (SB4, SB6 to SB11).
inline constexpr ByteSet kMayEnd =
    byte_set("\n\r.!?\xC2\xD6\xD8\xDB\xDC\xDF\xE0\xE1\xE2\xE3\xEA\xEF\xF0");

// The Hangul syllables, and those of them that may end a sentence without punctuation, as bits.
inline constexpr char32_t kFirstSyllable = 0xAC00;
inline constexpr char32_t kLastSyllable = 0xD7A3;
inline constexpr auto kEndings = [] {
  std::array<std::uint64_t, (kLastSyllable - kFirstSyllable) / 64 + 1> bits{};
  for (const char32_t c :
       std::u32string_view(U"다요죠쥬유용까음함임나먼만군라아랑시오고구지제재께햐"))
    bits[(c - kFirstSyllable) / 64] |= std::uint64_t{1} << (c - kFirstSyllable) % 64;
  return bits;
}();

// The Hangul syllable whose last byte is at[-1], 0 if another character ends there.
// REQUIRES: three bytes before `at`, well-formed.
[[nodiscard]] inline char32_t syllable_before(const char* at) noexcept {
  const auto bits = [at](int i) { return char32_t{static_cast<unsigned char>(at[i])}; };
  const char32_t lead = bits(-3);
  if (lead < 0xEA || lead > 0xED) return 0;
  const char32_t c = (lead & 0xFU) << 12U | (bits(-2) & 0x3FU) << 6U | (bits(-1) & 0x3FU);
  return c >= kFirstSyllable && c <= kLastSyllable ? c : 0;
}

// Of all: the first position in [from, end) that is asked for, `end` if there is none.
// REQUIRES: from <= end <= text.size().
using Find = std::size_t (*)(std::string_view text, std::size_t from, std::size_t end) noexcept;

using base::Simd;

struct ByteScan {
  Simd simd;
  const char* name;
  // A byte of the set.
  std::size_t (*find)(const ByteSet& set, std::string_view text, std::size_t from,
                      std::size_t end) noexcept;
  // A byte of kMayEnd, but for Hangul (EA B0.. and up) and kana (E3 81.. and up).
  Find find_end_mark;
  // A space after "~", "^" or a character beyond ASCII, but for syllables not in kEndings.
  Find find_word_end;
  // Number of code points.
  std::size_t (*count)(std::string_view text) noexcept;
  // A start of the text that is well-formed but for a character cut off at its end; to within 64
  // bytes of the first mistake or of the end.
  std::size_t (*check)(std::string_view text) noexcept;
};

// The set in use.
[[nodiscard]] const ByteScan& byte_scan() noexcept;
// The given set, or null if this machine cannot run it.
[[nodiscard]] const ByteScan* byte_scan_of(Simd simd) noexcept;

}  // namespace dure::text

#endif  // DURE_SRC_TEXT_BYTE_SCAN_H_
