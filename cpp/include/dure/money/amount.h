// dure/money/amount.h - money as integers: pico-dollars (1e-12 $), parsed and shown exactly.
//
// Thread-safe: pure functions.
#ifndef DURE_MONEY_AMOUNT_H_
#define DURE_MONEY_AMOUNT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/int128.h"
#include "dure/base/result.h"
#include "dure/catalog/prices.h"

namespace dure::money {

using Pico = catalog::Pico;
inline constexpr Pico kPicoPerDollar = 1'000'000'000'000;

// Decimal dollars ("0.15", "1.5e-07", "-2") to pico-dollars, never through double. Fails with
// kInvalidArgument if it is no number, finer than a pico-dollar, or beyond +-9.2 million.
[[nodiscard]] base::Result<Pico> parse_dollars(std::string_view text);

// The shortest exact decimal: 450'000'000 -> "0.00045".
[[nodiscard]] std::string format_dollars(base::int128 pico);

enum class Rounding : std::uint8_t { kHalfEven, kUp };

// quantity x rate, rounded once. Fails with kInvalidArgument on overflow of int64.
// REQUIRES: quantity >= 0, rate.pico >= 0, rate.per > 0.
[[nodiscard]] base::Result<Pico> multiply(std::int64_t quantity, catalog::Rate rate,
                                          Rounding rounding);

}  // namespace dure::money

#endif  // DURE_MONEY_AMOUNT_H_
