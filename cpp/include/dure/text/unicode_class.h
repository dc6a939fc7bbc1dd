// dure/text/unicode_class.h - the class of a code point, as tokenizers and word searches need it.
//
// Unicode 16.0.0 exactly: tiktoken's classes are of that version, a newer table would give other
// tokens. The table is made by scripts/provenance.
//
// Thread-safe: constants.
#ifndef DURE_TEXT_UNICODE_CLASS_H_
#define DURE_TEXT_UNICODE_CLASS_H_

#include <cstdint>

namespace dure::text {

enum class CharClass : std::uint8_t {
  kSymbol,    // none of the others; unassigned and invalid too
  kSpace,     // White_Space: 25 code points
  kNumber,    // Nd Nl No
  kUpper,     // Lu Lt
  kLower,     // Ll
  kCaseless,  // Lm Lo
  kMark,      // Mn Mc Me
};

namespace internal {
extern const std::uint8_t kClassStage1[];  // code point >> 8
extern const std::uint8_t kClassStage2[];  // block << 8 | code point & 255
}  // namespace internal

// kSymbol above U+10FFFF.
[[nodiscard]] inline CharClass class_of(char32_t code_point) noexcept {
  if (code_point > 0x10FFFF) return CharClass::kSymbol;
  const std::uint32_t block = internal::kClassStage1[code_point >> 8];
  return static_cast<CharClass>(internal::kClassStage2[block << 8 | (code_point & 0xFFU)]);
}

// \p{L}
[[nodiscard]] inline bool is_letter(CharClass kind) noexcept {
  return kind >= CharClass::kUpper && kind <= CharClass::kCaseless;
}
[[nodiscard]] inline bool is_letter(char32_t code_point) noexcept {
  return is_letter(class_of(code_point));
}
// \p{N}
[[nodiscard]] inline bool is_number(char32_t code_point) noexcept {
  return class_of(code_point) == CharClass::kNumber;
}
// \s, White_Space
[[nodiscard]] inline bool is_space(char32_t code_point) noexcept {
  return class_of(code_point) == CharClass::kSpace;
}

}  // namespace dure::text

#endif  // DURE_TEXT_UNICODE_CLASS_H_
