// testing/fake_clock.h - time that moves only when a test says so.
//
// Thread-safe.
#ifndef DURE_TESTING_FAKE_CLOCK_H_
#define DURE_TESTING_FAKE_CLOCK_H_

#include <atomic>

#include "dure/base/clock.h"

namespace dure::testing {

class FakeClock final : public base::Clock {
 public:
  // 2026-01-01T00:00:00Z on the wall.
  static constexpr std::int64_t kStartUs = 1'767'225'600'000'000;

  [[nodiscard]] base::Instant now() const noexcept override { return {now_ns_.load()}; }
  [[nodiscard]] base::WallTime wall() const noexcept override { return {wall_us_.load()}; }

  // Both readings go forward together.
  void advance(base::Duration by) noexcept {
    now_ns_ += by.count();
    wall_us_ += by.count() / 1000;
  }
  // The wall clock jumps (NTP, a human); the monotonic one does not.
  void set_wall(base::WallTime at) noexcept { wall_us_ = at.us; }

 private:
  std::atomic<std::int64_t> now_ns_{1'000'000'000};
  std::atomic<std::int64_t> wall_us_{kStartUs};
};

}  // namespace dure::testing

#endif  // DURE_TESTING_FAKE_CLOCK_H_
