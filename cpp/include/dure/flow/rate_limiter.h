// dure/flow/rate_limiter.h - admits work at a bounded rate, one bucket per key.
//
// Knows nothing of HTTP, models or money: the caller says what a token is. A key costs one
// time stamp (GCRA); a refilled key is forgotten, so memory follows the busy keys.
//
// Thread-safe. Never blocks, never sleeps: try_acquire answers at once.
#ifndef DURE_FLOW_RATE_LIMITER_H_
#define DURE_FLOW_RATE_LIMITER_H_

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/result.h"

namespace dure::flow {

struct RateLimit {
  double per_second;  // > 0
  double burst;       // >= 1: the most that can be taken at once
};

class RateLimiter {
 public:
  // Fails with kInvalidArgument unless `limit` is in range. `clock` outlives the limiter.
  [[nodiscard]] static base::Result<std::unique_ptr<RateLimiter>> create(RateLimit limit,
                                                                         const base::Clock& clock);

  // Takes `n` tokens for `key` and returns zero; or takes nothing and returns how long to
  // wait before asking again. Fails with kInvalidArgument unless 0 < n <= burst (more never fits:
  // provider code "request_exceeds_rate").
  [[nodiscard]] base::Result<base::Duration> try_acquire(std::string_view key, double n);

  // Gives back what was taken and not used (an estimate settled on the truth).
  void give_back(std::string_view key, double n);

  // Keys that are not full again.
  [[nodiscard]] std::size_t busy_keys() const;

 private:
  RateLimiter(RateLimit limit, const base::Clock& clock) : limit_(limit), clock_(clock) {}
  [[nodiscard]] base::Duration cost(double n) const;
  void forget_refilled(base::Instant now) DURE_REQUIRES(mutex_);

  const RateLimit limit_;     // constant after construction
  const base::Clock& clock_;  // thread-safe by contract
  mutable std::mutex mutex_;  // guards everything below
  std::unordered_map<std::string, base::Instant> full_at_ DURE_GUARDED_BY(mutex_);
  std::size_t sweep_at_ DURE_GUARDED_BY(mutex_) = 64;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_RATE_LIMITER_H_
