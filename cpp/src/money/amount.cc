#include "dure/money/amount.h"

#include <limits>

namespace dure::money {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

base::Status bad_number(std::string_view text, const char* why) {
  return base::invalid_argument("amount", "\"" + std::string(text.substr(0, 40)) + "\" " + why);
}

// Digits without their point, and the power of ten by which to multiply them.
struct Digits {
  bool negative = false;
  std::string digits;
  std::int64_t exponent = 0;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// False: not a decimal number.
bool scan(std::string_view text, Digits& out) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    out.negative = text[0] == '-';
    text.remove_prefix(1);
  }
  bool point = false;
  while (!text.empty() && (is_digit(text[0]) || (text[0] == '.' && !point))) {
    if (text[0] == '.') {
      point = true;
    } else {
      out.digits += text[0];
      if (point) --out.exponent;
    }
    text.remove_prefix(1);
  }
  if (out.digits.empty()) return false;
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || text.size() > 5) return false;
  std::int64_t power = 0;
  for (const char c : text) {
    if (!is_digit(c)) return false;
    power = power * 10 + (c - '0');
  }
  out.exponent += negative ? -power : power;
  return true;
}

}  // namespace

base::Result<Pico> parse_dollars(std::string_view text) {
  Digits number;
  if (text.size() > 400 || !scan(text, number)) {
    return base::fail(bad_number(text, "is not a decimal number of dollars"));
  }
  const std::size_t lead = number.digits.find_first_not_of('0');
  if (lead == std::string::npos) return Pico{0};
  number.digits.erase(0, lead);
  std::int64_t exponent = number.exponent + 12;
  for (; exponent < 0; ++exponent) {
    if (number.digits.back() != '0') {
      return base::fail(bad_number(text, "is finer than a pico-dollar (1e-12)"));
    }
    number.digits.pop_back();
    if (number.digits.empty()) break;
  }
  if (exponent > 30 || number.digits.size() + static_cast<std::size_t>(exponent) > 30) {
    return base::fail(bad_number(text, "is beyond 9.2 million dollars"));
  }
  base::int128 value = 0;
  for (const char digit : number.digits) value = value * 10 + (digit - '0');
  for (; exponent > 0; --exponent) value *= 10;
  if (value > kMax) return base::fail(bad_number(text, "is beyond 9.2 million dollars"));
  return static_cast<Pico>(number.negative ? -value : value);
}

std::string format_dollars(base::int128 pico) {
  const bool negative = pico < 0;
  const base::int128 size = negative ? -pico : pico;
  std::string text = base::to_string(size / kPicoPerDollar);
  std::string fraction = base::to_string(size % kPicoPerDollar);
  fraction.insert(0, 12 - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (!fraction.empty()) text += "." + fraction;
  return negative ? "-" + text : text;
}

base::Result<Pico> multiply(std::int64_t quantity, catalog::Rate rate, Rounding rounding) {
  if (rate.per == 1) {  // most are: nothing to round
    Pico exact = 0;
    if (__builtin_mul_overflow(quantity, rate.pico, &exact)) {
      return base::fail(base::invalid_argument("usage", "a cost beyond 9.2 million dollars"));
    }
    return exact;
  }
  const base::int128 product = static_cast<base::int128>(quantity) * rate.pico;
  base::int128 whole = product / rate.per;
  const base::int128 twice = (product % rate.per) * 2;
  if (rounding == Rounding::kUp) {
    if (twice > 0) ++whole;
  } else if (twice > rate.per || (twice == rate.per && whole % 2 != 0)) {
    ++whole;
  }
  if (whole > kMax) {
    return base::fail(base::invalid_argument("usage", "a cost beyond 9.2 million dollars"));
  }
  return static_cast<Pico>(whole);
}

}  // namespace dure::money
