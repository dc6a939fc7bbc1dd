#include "net/utf8_repair.h"

#include <cstdint>
#include <cstring>

namespace dure::net {
namespace {

// The length of the ASCII start of `text`, eight bytes at a time.
std::size_t ascii_length(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at + 8 <= text.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080U) != 0) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

struct Sequence {
  std::size_t length;  // bytes consumed, at least 1
  bool valid;
};

// The sequence at the start of `text`, which begins with a byte above 0x7F (Unicode table 3-7).
Sequence read_sequence(std::string_view text) noexcept {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char lead = byte(0);
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::size_t want = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (std::size_t at = 1; at < want; ++at) {
    if (at == text.size() || byte(at) < low || byte(at) > high) return {at, false};
    low = 0x80;
    high = 0xBF;
  }
  return {want, true};
}

}  // namespace

std::string_view repair_utf8(std::string_view text, std::string& store) {
  bool changed = false;
  std::size_t kept = 0;  // text[0, kept) is in `store` once something was changed
  std::size_t at = ascii_length(text);
  while (at < text.size()) {
    const Sequence sequence = read_sequence(text.substr(at));
    if (!sequence.valid) {
      if (!changed) store.clear();
      changed = true;
      store.append(text, kept, at - kept);
      store.append("\xEF\xBF\xBD");
      kept = at + sequence.length;
    }
    at += sequence.length;
    at += ascii_length(text.substr(at));
  }
  if (!changed) return text;
  store.append(text, kept);
  return store;
}

}  // namespace dure::net
