// dure/base/random.h - the only source of chance in the core: jitter, sampling, ids.
//
// Tests hand in testing::FakeRandom, so each run can be repeated from its seed.
// Not for secrets: keys and tokens are made by the service with the OS generator.
//
// Thread-safe.
#ifndef DURE_BASE_RANDOM_H_
#define DURE_BASE_RANDOM_H_

#include <cstdint>

namespace dure::base {

class Random {
 public:
  virtual ~Random() = default;
  // 64 evenly distributed bits.
  [[nodiscard]] virtual std::uint64_t next() noexcept = 0;
  // Evenly distributed in [0, 1).
  [[nodiscard]] double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
};

// Seeded once per process (and again after fork) from the OS. Lives for ever.
[[nodiscard]] Random& system_random() noexcept;

}  // namespace dure::base

#endif  // DURE_BASE_RANDOM_H_
