#include "dure/text/utf8.h"

#include <algorithm>

#include "text/byte_scan.h"

namespace dure::text {
namespace {

constexpr std::size_t kStride = 512;

// What may follow a lead byte: total length (0: not a lead byte) and the second byte's range.
struct Lead {
  std::size_t length;
  unsigned char low;
  unsigned char high;
};

Lead lead_of(unsigned char byte) noexcept {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Bytes of the longest start of `bytes` (not empty) that begins a well-formed sequence.
std::size_t subpart(std::string_view bytes) noexcept {
  const Lead lead = lead_of(static_cast<unsigned char>(bytes[0]));
  std::size_t i = 1;
  while (i < lead.length && i < bytes.size()) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) break;
    ++i;
  }
  return i;
}

}  // namespace

void append_utf8(char32_t value, std::string& out) {
  const auto byte = [&out](std::uint32_t bits) { out.push_back(static_cast<char>(bits)); };
  const auto tail = [&](unsigned shift) { byte(0x80U | (value >> shift & 0x3FU)); };
  if (value < 0x80) {
    byte(value);
  } else if (value < 0x800) {
    byte(0xC0U | value >> 6);
    tail(0);
  } else if (value < 0x10000) {
    byte(0xE0U | value >> 12);
    tail(6);
    tail(0);
  } else {
    byte(0xF0U | value >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

std::size_t valid_prefix(std::string_view bytes) noexcept {
  std::size_t at = byte_scan().check(bytes);
  for (std::size_t back = 1; back <= 3 && back <= at; ++back) {
    if (is_continuation(bytes[at - back])) continue;
    at -= back;  // a character that may be cut off
    break;
  }
  while (at < bytes.size()) {
    const CodePoint point = decode_at(bytes, at);
    if (point.value == kInvalid) break;
    at += point.length;
  }
  return at;
}

std::size_t count_code_points(std::string_view text) noexcept { return byte_scan().count(text); }

std::size_t complete_prefix(std::string_view bytes) noexcept {
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const std::string_view last = bytes.substr(bytes.size() - back);
    if (is_continuation(last[0])) continue;
    const bool open = lead_of(static_cast<unsigned char>(last[0])).length > back;
    return open && subpart(last) == back ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

std::string replace_invalid(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t good = valid_prefix(bytes);
    out += bytes.substr(0, good);
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    append_utf8(0xFFFD, out);
    bytes.remove_prefix(subpart(bytes));
  }
  return out;
}

CharOffsets::CharOffsets(std::string_view text) : text_(text) {
  const auto count = byte_scan().count;
  chars_before_.reserve(text.size() / kStride + 1);
  for (std::size_t at = 0; at < text.size(); at += kStride) {
    chars_before_.push_back(size_);
    size_ += count(text.substr(at, kStride));
  }
  ascii_ = size_ == text.size();
}

std::size_t CharOffsets::to_char(std::size_t byte) const noexcept {
  if (ascii_) return byte;
  if (byte >= text_.size()) return size_;
  const std::size_t block = byte / kStride;
  return chars_before_[block] +
         count_code_points(text_.substr(block * kStride, byte - block * kStride));
}

std::size_t CharOffsets::to_byte(std::size_t index) const noexcept {
  if (ascii_) return index;
  if (index >= size_) return text_.size();
  const auto block = std::upper_bound(chars_before_.begin(), chars_before_.end(), index) - 1;
  std::size_t at = static_cast<std::size_t>(block - chars_before_.begin()) * kStride;
  std::size_t left = index - *block + 1;  // characters that begin at `at` or later, to the wanted
  constexpr std::size_t kStep = 64;
  for (std::size_t here = 0; left > kStep; left -= here, at += kStep)
    here = count_code_points(text_.substr(at, kStep));
  for (;; ++at)
    if (!is_continuation(text_[at]) && --left == 0) return at;
}

}  // namespace dure::text
