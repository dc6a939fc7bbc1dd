// dure/base/int128.h - the one place that names the compiler's 128-bit integer.
#ifndef DURE_BASE_INT128_H_
#define DURE_BASE_INT128_H_

#include <string>

namespace dure::base {

__extension__ typedef __int128 int128;  // NOLINT(modernize-use-using): the extension needs typedef

// Decimal digits, "-" first if negative.
[[nodiscard]] inline std::string to_string(int128 value) {
  const bool negative = value < 0;
  std::string digits;
  do {
    const int digit = static_cast<int>(value % 10);
    digits.insert(digits.begin(), static_cast<char>('0' + (digit < 0 ? -digit : digit)));
    value /= 10;
  } while (value != 0);
  if (negative) digits.insert(digits.begin(), '-');
  return digits;
}

}  // namespace dure::base

#endif  // DURE_BASE_INT128_H_
