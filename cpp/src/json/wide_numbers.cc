#include "json/wide_numbers.h"

#include <charconv>
#include <cstdint>
#include <system_error>

namespace dure::json {
namespace {

constexpr std::string_view kLargest = "1.7976931348623157e308";

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::size_t digits_from(std::string_view text, std::size_t at) noexcept {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

// The end of the string that begins at `at` (its quote), or the end of the text.
std::size_t string_end(std::string_view text, std::size_t at) noexcept {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return text.size();
}

struct Number {
  std::size_t end = 0;  // behind it
  bool whole = true;    // no fraction, no exponent
  bool sound = false;   // as RFC 8259 writes numbers
};

Number number_at(std::string_view text, std::size_t at) noexcept {
  Number number;
  if (text[at] == '-') ++at;
  const std::size_t first = at;
  at = digits_from(text, at);
  number.sound = at > first && (text[first] != '0' || at == first + 1);
  if (at < text.size() && text[at] == '.') {
    number.whole = false;
    const std::size_t fraction = digits_from(text, at + 1);
    number.sound = number.sound && fraction > at + 1;
    at = fraction;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    number.whole = false;
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const std::size_t exponent = digits_from(text, at);
    number.sound = number.sound && exponent > at;
    at = exponent;
  }
  number.end = at;
  return number;
}

bool fits_64_bits(std::string_view digits) noexcept {
  const char* const end = digits.data() + digits.size();
  std::int64_t small = 0;
  std::uint64_t large = 0;
  return std::from_chars(digits.data(), end, small).ec == std::errc() ||
         std::from_chars(digits.data(), end, large).ec == std::errc();
}

// from_chars says "out of range" of what is too small as well: that one reads as zero elsewhere.
bool fits_a_double(std::string_view digits) noexcept {
  double value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (read.ec != std::errc::result_out_of_range) return true;
  const std::size_t exponent = digits.find_first_of("eE");
  return exponent != std::string_view::npos && digits[exponent + 1] == '-';
}

}  // namespace

std::optional<std::string> narrow_numbers(std::string_view text) {
  std::string out;
  std::size_t copied = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '"') {
      at = string_end(text, at);
      continue;
    }
    if (text[at] != '-' && !is_digit(text[at])) {
      ++at;
      continue;
    }
    const Number number = number_at(text, at);
    const std::string_view digits = text.substr(at, number.end - at);
    at = number.end;
    if (!number.sound || (number.whole && fits_64_bits(digits))) continue;
    const bool wide = !fits_a_double(digits);
    if (!wide && !number.whole) continue;
    out += text.substr(copied, static_cast<std::size_t>(digits.data() - text.data()) - copied);
    if (wide) {
      if (digits.front() == '-') out += '-';
      out += kLargest;
    } else {
      out.append(digits).append(".0");
    }
    copied = at;
  }
  if (copied == 0) return std::nullopt;
  return out + std::string(text.substr(copied));
}

}  // namespace dure::json
