#include "dure/base/clock.h"

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

}  // namespace dure::base
