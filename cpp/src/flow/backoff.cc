#include "dure/flow/backoff.h"

#include <algorithm>

namespace dure::flow {
namespace {

base::Duration scaled(base::Duration by, double factor) {
  return base::Duration(static_cast<std::int64_t>(static_cast<double>(by.count()) * factor));
}

}  // namespace

base::Duration full_jitter(const Backoff& backoff, int failures, base::Random& random) {
  base::Duration longest = std::min(backoff.base, backoff.cap);
  for (int i = 0; i < failures && longest < backoff.cap; ++i) {
    longest = longest > backoff.cap / 2 ? backoff.cap : longest * 2;
  }
  return scaled(longest, random.uniform());
}

base::Duration after_hint(base::Duration hint, base::Random& random) {
  if (hint.count() <= 0) return base::Duration::zero();
  return hint + scaled(hint, 0.1 * random.uniform());
}

}  // namespace dure::flow
