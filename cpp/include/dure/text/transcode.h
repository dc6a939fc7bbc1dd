// dure/text/transcode.h - code points in arrays of 1, 2 or 4 bytes to UTF-8.
//
// Python keeps its strings so; reading them here needs no interpreter lock and leaves no copy
// behind in the string.
//
// Thread-safe: pure functions.
#ifndef DURE_TEXT_TRANSCODE_H_
#define DURE_TEXT_TRANSCODE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dure::text {

// A borrowed array of code points, each of `width` (1, 2 or 4) bytes. `ascii`: width is 1 and all
// are below 128, so that the array is its own UTF-8.
struct CodeUnits {
  const void* data = nullptr;
  std::size_t size = 0;
  unsigned width = 1;
  bool ascii = false;

  [[nodiscard]] std::string_view as_ascii() const noexcept {
    return {static_cast<const char*>(data), size};
  }
  // Most bytes of UTF-8 that one code point can take.
  [[nodiscard]] std::size_t most_bytes() const noexcept {
    return width == 1 ? 2 : width == 2 ? 3 : 4;
  }
};

struct Transcoded {
  std::size_t read;     // code points; fewer than asked only before a surrogate
  std::size_t written;  // bytes
};

// Writes code points [from, from + count) as UTF-8 to `out`, which has room for count times
// units.most_bytes(). Stops before the first surrogate. REQUIRES: from + count <= units.size.
Transcoded to_utf8(const CodeUnits& units, std::size_t from, std::size_t count, char* out) noexcept;

}  // namespace dure::text

#endif  // DURE_TEXT_TRANSCODE_H_
