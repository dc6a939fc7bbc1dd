#include "dure/base/random.h"

#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <ctime>

namespace dure::base {
namespace {

// SplitMix64 over an atomic counter: thread-safe without a lock.
class SystemRandom final : public Random {
 public:
  [[nodiscard]] std::uint64_t next() noexcept override {
    if (pid_.load(std::memory_order_relaxed) != getpid()) reseed();
    std::uint64_t z = state_.fetch_add(kStep, std::memory_order_relaxed) + kStep;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

 private:
  static constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15U;

  // Two threads may both reseed: harmless, each from the OS.
  void reseed() noexcept {
    std::uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof seed)) {
      timespec at{};
      clock_gettime(CLOCK_REALTIME, &at);
      seed = static_cast<std::uint64_t>(at.tv_nsec) ^ (static_cast<std::uint64_t>(getpid()) << 32);
    }
    state_.store(seed, std::memory_order_relaxed);
    pid_.store(getpid(), std::memory_order_relaxed);
  }

  std::atomic<std::uint64_t> state_{0};
  std::atomic<pid_t> pid_{0};
};

}  // namespace

Random& system_random() noexcept {
  static SystemRandom random;
  return random;
}

}  // namespace dure::base
