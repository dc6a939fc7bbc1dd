// testing/fake_random.h - chance that a seed repeats.
//
// Thread-safe; the order of draws among threads is theirs.
#ifndef DURE_TESTING_FAKE_RANDOM_H_
#define DURE_TESTING_FAKE_RANDOM_H_

#include <atomic>
#include <cstdint>

#include "dure/base/random.h"

namespace dure::testing {

class FakeRandom final : public base::Random {
 public:
  explicit FakeRandom(std::uint64_t seed = 0) noexcept : state_(seed) {}
  [[nodiscard]] std::uint64_t next() noexcept override;

 private:
  std::atomic<std::uint64_t> state_;
};

}  // namespace dure::testing

#endif  // DURE_TESTING_FAKE_RANDOM_H_
