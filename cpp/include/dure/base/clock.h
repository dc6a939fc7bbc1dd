// dure/base/clock.h - the only way the core learns what time it is.
//
// Two readings: `now` is monotonic and serves deadlines, leases and rates; `wall` is UTC and
// serves budgets' windows, price dates and records. Tests hand in testing::FakeClock. A lint
// (tests/tree) bans every other reading of time.
//
// Thread-safe.
#ifndef DURE_BASE_CLOCK_H_
#define DURE_BASE_CLOCK_H_

#include <chrono>
#include <cstdint>
#include <string>

namespace dure::base {

using Duration = std::chrono::nanoseconds;

// A point on the monotonic line; comparable only with others of the same process.
struct Instant {
  std::int64_t ns = 0;
  friend auto operator<=>(const Instant&, const Instant&) = default;
  friend Instant operator+(Instant at, Duration by) { return {at.ns + by.count()}; }
  friend Instant operator-(Instant at, Duration by) { return {at.ns - by.count()}; }
  friend Duration operator-(Instant a, Instant b) { return Duration(a.ns - b.ns); }
};

// UTC, microseconds since 1970-01-01.
struct WallTime {
  std::int64_t us = 0;
  friend auto operator<=>(const WallTime&, const WallTime&) = default;
};

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Instant now() const noexcept = 0;
  [[nodiscard]] virtual WallTime wall() const noexcept = 0;
};

// "2026-11-21T11:44:56Z", for messages.
[[nodiscard]] std::string to_iso8601(WallTime at);

// The machine's clock. Lives for ever.
[[nodiscard]] const Clock& system_clock() noexcept;

}  // namespace dure::base

#endif  // DURE_BASE_CLOCK_H_
