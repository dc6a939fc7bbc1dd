// dure/text/byte_set.h - searching a text for any of some bytes, 32 or 64 at a time.
//
// Thread-safe: pure functions.
#ifndef DURE_TEXT_BYTE_SET_H_
#define DURE_TEXT_BYTE_SET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dure::text {

// A set of bytes, as a table for one byte and as one for vectors: a row for the lower four bits,
// in it a bit for the upper four (less 8 in `high`).
struct ByteSet {
  std::array<bool, 256> has{};
  std::array<std::uint8_t, 16> low{};   // bytes below 80
  std::array<std::uint8_t, 16> high{};  // the others

  constexpr void add(unsigned char byte) noexcept {
    has[byte] = true;
    auto& rows = byte < 0x80 ? low : high;
    rows[byte & 15U] = static_cast<std::uint8_t>(rows[byte & 15U] | 1U << (byte >> 4U & 7U));
  }
};
[[nodiscard]] constexpr ByteSet byte_set(std::string_view bytes) noexcept {
  ByteSet set;
  for (const char byte : bytes) set.add(static_cast<unsigned char>(byte));
  return set;
}

// The first position in [from, end) of a byte of the set, `end` without one. REQUIRES: from <= end
// <= text.size().
[[nodiscard]] std::size_t find_byte(const ByteSet& set, std::string_view text, std::size_t from,
                                    std::size_t end) noexcept;

}  // namespace dure::text

#endif  // DURE_TEXT_BYTE_SET_H_
