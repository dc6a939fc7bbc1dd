#include "dure/base/clock.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace dure::base {
namespace {

std::int64_t read_ns(clockid_t id) noexcept {
  timespec at{};
  clock_gettime(id, &at);
  return std::int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const noexcept override { return {read_ns(CLOCK_MONOTONIC)}; }
  [[nodiscard]] WallTime wall() const noexcept override { return {read_ns(CLOCK_REALTIME) / 1000}; }
};

}  // namespace

const Clock& system_clock() noexcept {
  static const SystemClock clock;
  return clock;
}

std::string to_iso8601(WallTime at) {  // days to date: Hinnant's civil_from_days
  constexpr std::int64_t kSecond = 1'000'000;
  constexpr std::int64_t kDay = 86'400;
  const std::int64_t seconds = at.us / kSecond - (at.us % kSecond < 0 ? 1 : 0);
  const std::int64_t day = seconds / kDay - (seconds % kDay < 0 ? 1 : 0);
  const std::int64_t z = day + 719'468;
  const std::int64_t era = (z >= 0 ? z : z - 146'096) / 146'097;
  const std::int64_t doe = z - era * 146'097;
  const std::int64_t yoe = (doe - doe / 1'460 + doe / 36'524 - doe / 146'096) / 365;
  const std::int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  const std::int64_t mp = (5 * doy + 2) / 153;
  const std::int64_t month = mp < 10 ? mp + 3 : mp - 9;
  const std::int64_t rest = seconds - day * kDay;
  std::array<char, 96> text{};
  (void)std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02dZ",
                      static_cast<int>(yoe + era * 400 + (month <= 2 ? 1 : 0)),
                      static_cast<int>(month), static_cast<int>(doy - (153 * mp + 2) / 5 + 1),
                      static_cast<int>(rest / 3'600), static_cast<int>(rest / 60 % 60),
                      static_cast<int>(rest % 60));
  return text.data();
}

}  // namespace dure::base
