// dure/text/utf8.h - reading UTF-8: code points, validity, offsets in bytes and in code points.
//
// Source: Unicode 16.0, chapter 3.9, table 3-7 (well-formed byte sequences) and the practice
// "substitution of maximal subparts", which is also what Python's errors="replace" does.
//
// Thread-safe: pure functions; a CharOffsets is immutable.
#ifndef DURE_TEXT_UTF8_H_
#define DURE_TEXT_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dure::text {

inline constexpr char32_t kInvalid = 0xFFFFFFFF;

// One code point and the bytes it takes. A byte that starts no well-formed sequence is
// {kInvalid, 1}.
struct CodePoint {
  char32_t value;
  std::uint32_t length;
};

[[nodiscard]] inline bool is_continuation(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

// REQUIRES: at < end. Never reads at or beyond `end`.
[[nodiscard]] inline CodePoint decode(const unsigned char* at, const unsigned char* end) noexcept {
  const std::uint32_t b0 = at[0];
  if (b0 < 0x80) return {b0, 1};
  const auto left = static_cast<std::size_t>(end - at);
  const auto tail = [at](std::size_t i) { return std::uint32_t{at[i]} ^ 0x80U; };
  if (b0 < 0xE0) {
    if (b0 < 0xC2 || left < 2 || tail(1) > 0x3F) return {kInvalid, 1};
    return {(b0 & 0x1FU) << 6 | tail(1), 2};
  }
  if (b0 < 0xF0) {
    if (left < 3 || tail(1) > 0x3F || tail(2) > 0x3F) return {kInvalid, 1};
    const std::uint32_t value = (b0 & 0x0FU) << 12 | tail(1) << 6 | tail(2);
    if (value < 0x800 || (value & 0xF800U) == 0xD800U) return {kInvalid, 1};
    return {value, 3};
  }
  if (b0 > 0xF4 || left < 4 || tail(1) > 0x3F || tail(2) > 0x3F || tail(3) > 0x3F) {
    return {kInvalid, 1};
  }
  const std::uint32_t value = (b0 & 0x07U) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
  if (value < 0x10000 || value > 0x10FFFF) return {kInvalid, 1};
  return {value, 4};
}

// REQUIRES: offset < text.size().
[[nodiscard]] inline CodePoint decode_at(std::string_view text, std::size_t offset) noexcept {
  const auto* begin = reinterpret_cast<const unsigned char*>(text.data());
  return decode(begin + offset, begin + text.size());
}

// Appends the UTF-8 form of `value`. REQUIRES: a Unicode scalar value.
void append_utf8(char32_t value, std::string& out);

// Length of the longest start of `bytes` that is well-formed.
[[nodiscard]] std::size_t valid_prefix(std::string_view bytes) noexcept;
[[nodiscard]] inline bool is_valid(std::string_view bytes) noexcept {
  return valid_prefix(bytes) == bytes.size();
}

// Number of code points. REQUIRES: `text` is well-formed.
[[nodiscard]] std::size_t count_code_points(std::string_view text) noexcept;

// Length of `bytes` without a sequence at its end that more bytes could complete.
[[nodiscard]] std::size_t complete_prefix(std::string_view bytes) noexcept;

// `bytes` with U+FFFD for each maximal subpart of an ill-formed sequence.
[[nodiscard]] std::string replace_invalid(std::string_view bytes);

// The nearest start of a character at or before `offset`. REQUIRES: well-formed `text`,
// offset <= text.size().
[[nodiscard]] inline std::size_t char_start(std::string_view text, std::size_t offset) noexcept {
  while (offset > 0 && offset < text.size() && is_continuation(text[offset])) --offset;
  return offset;
}

// Offsets in code points <-> offsets in bytes of one text, each in constant time.
class CharOffsets {
 public:
  // Borrows `text`, which outlives this object. REQUIRES: well-formed.
  explicit CharOffsets(std::string_view text);
  // Number of code points.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // REQUIRES: byte <= text.size(); inside a character: the number of characters begun before it.
  [[nodiscard]] std::size_t to_char(std::size_t byte) const noexcept;
  // REQUIRES: index <= size().
  [[nodiscard]] std::size_t to_byte(std::size_t index) const noexcept;

 private:
  std::string_view text_;
  std::size_t size_ = 0;
  bool ascii_ = false;
  std::vector<std::size_t> chars_before_;  // one for each kStride bytes
};

}  // namespace dure::text

#endif  // DURE_TEXT_UTF8_H_
