// dure/flow/backoff.h - how long to wait before the same work is tried again.
//
// Source of full jitter: AWS Architecture Blog, "Exponential Backoff And Jitter".
//
// Thread-safe: pure functions of an injected generator.
#ifndef DURE_FLOW_BACKOFF_H_
#define DURE_FLOW_BACKOFF_H_

#include "dure/base/clock.h"
#include "dure/base/random.h"

namespace dure::flow {

struct Backoff {
  base::Duration base = std::chrono::milliseconds(500);
  base::Duration cap = std::chrono::seconds(8);
};

// Full jitter: evenly distributed in [0, min(cap, base * 2^failures)). `failures` counts from 0;
// any value is safe.
[[nodiscard]] base::Duration full_jitter(const Backoff& backoff, int failures,
                                         base::Random& random);

// A server's hint, lengthened by 0-10 % so that those who got the same hint do not come together.
// Never shorter than the hint; a negative hint counts as zero.
[[nodiscard]] base::Duration after_hint(base::Duration hint, base::Random& random);

}  // namespace dure::flow

#endif  // DURE_FLOW_BACKOFF_H_
