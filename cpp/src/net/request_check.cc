#include "net/request_check.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "net/url.h"

namespace dure::net {
namespace {

enum : std::uint8_t { kToken = 1, kText = 2 };

constexpr std::array<std::uint8_t, 256> kKinds = [] {
  std::array<std::uint8_t, 256> kinds{};
  for (std::size_t c = 0; c < kinds.size(); ++c) {
    if (c == '\t' || (c >= ' ' && c != 0x7F)) kinds[c] = kText;
  }
  constexpr std::string_view kLetters =
      "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'*+-.^_`|~";
  for (const char c : kLetters) kinds[static_cast<unsigned char>(c)] |= kToken;
  return kinds;
}();

bool all_are(std::string_view text, std::uint8_t kind) noexcept {
  return std::ranges::all_of(
      text, [kind](char c) { return (kKinds[static_cast<unsigned char>(c)] & kind) != 0; });
}

// Eight bytes at a time: true if none of them is a control character. A tab is one here.
bool no_controls(const char* eight) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHigh = 0x8080808080808080;
  std::uint64_t word = 0;
  std::memcpy(&word, eight, sizeof word);
  const std::uint64_t low = word & ~kHigh;               // each byte below 0x80
  const std::uint64_t not_control = low + kOnes * 0x60;  // carries into the high bit from 0x20 on
  const std::uint64_t not_delete = (low ^ kOnes * 0x7F) + kOnes * 0x7F;  // unless 0x7F itself
  return ((not_control & not_delete) | word | ~kHigh) == ~std::uint64_t{0};
}

bool is_ours(std::string_view name) noexcept {
  switch (name.size()) {
    case 6:
      return equal_no_case(name, "expect");
    case 10:
      return equal_no_case(name, "connection");
    case 14:
      return equal_no_case(name, "content-length");
    case 17:
      return equal_no_case(name, "transfer-encoding");
    default:
      return false;
  }
}

}  // namespace

bool is_token_char(char c) noexcept {
  return (kKinds[static_cast<unsigned char>(c)] & kToken) != 0;
}
bool is_token(std::string_view text) noexcept { return !text.empty() && all_are(text, kToken); }
bool is_field_text(std::string_view text) noexcept {
  while (text.size() >= 8) {
    if (!no_controls(text.data()) && !all_are(text.substr(0, 8), kText)) return false;
    text.remove_prefix(8);
  }
  return all_are(text, kText);
}

base::Status check_method_and_headers(const Request& request) {
  if (!is_token(request.method)) {
    return base::invalid_argument("method", "the method is no HTTP token, for example POST");
  }
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name)) {
      return base::invalid_argument("headers", "a header's name holds a space or a control");
    }
    if (!is_field_text(value)) {
      return base::invalid_argument("headers",
                                    "header '" + name + "' holds a line end or a control");
    }
    if (is_ours(name)) {
      return base::invalid_argument("headers", "header '" + name + "' is set by the transport");
    }
  }
  return {};
}

}  // namespace dure::net
