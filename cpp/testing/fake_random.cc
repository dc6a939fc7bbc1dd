#include "fake_random.h"

namespace dure::testing {

std::uint64_t FakeRandom::next() noexcept {  // SplitMix64 (Steele, Lea, Flood 2014)
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15U;
  std::uint64_t z = state_.fetch_add(kStep) + kStep;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

}  // namespace dure::testing
