#include "dure/text/transcode.h"

#include <cstring>

#include "text/transcode_wide.h"

namespace dure::text {
namespace {

template <typename Unit>
Transcoded transcode(const Unit* at, std::size_t count, char* out) noexcept {
  const Unit* const begin = at;
  const Unit* const end = at + count;
  char* to = out;
  const auto put = [&to](std::uint32_t bits) { *to++ = static_cast<char>(bits); };
  for (; at < end; ++at) {
    const std::uint32_t point = *at;
    if (point < 0x80) {
      put(point);
    } else if (point < 0x800) {
      put(0xC0U | point >> 6U);
      put(0x80U | (point & 0x3FU));
    } else if (point < 0x10000) {
      if ((point & 0xF800U) == 0xD800U) break;
      put(0xE0U | point >> 12U);
      put(0x80U | (point >> 6U & 0x3FU));
      put(0x80U | (point & 0x3FU));
    } else {
      put(0xF0U | point >> 18U);
      put(0x80U | (point >> 12U & 0x3FU));
      put(0x80U | (point >> 6U & 0x3FU));
      put(0x80U | (point & 0x3FU));
    }
  }
  return {static_cast<std::size_t>(at - begin), static_cast<std::size_t>(to - out)};
}

Transcoded transcode_units16(const std::uint16_t* at, std::size_t count, char* out) noexcept {
  Transcoded done{0, 0};
  if (has_transcode_wide()) done = transcode_wide(at, count, out);
  const Transcoded rest = transcode(at + done.read, count - done.read, out + done.written);
  return {done.read + rest.read, done.written + rest.written};
}

}  // namespace

Transcoded to_utf8(const CodeUnits& units, std::size_t from, std::size_t count,
                   char* out) noexcept {
  if (units.ascii) {
    std::memcpy(out, units.as_ascii().data() + from, count);
    return {count, count};
  }
  switch (units.width) {
    case 1:
      return transcode(static_cast<const std::uint8_t*>(units.data) + from, count, out);
    case 2:
      return transcode_units16(static_cast<const std::uint16_t*>(units.data) + from, count, out);
    default:
      return transcode(static_cast<const std::uint32_t*>(units.data) + from, count, out);
  }
}

}  // namespace dure::text
