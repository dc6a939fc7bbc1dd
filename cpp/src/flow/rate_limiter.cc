#include "dure/flow/rate_limiter.h"

#include <algorithm>
#include <cmath>

namespace dure::flow {

base::Result<std::unique_ptr<RateLimiter>> RateLimiter::create(RateLimit limit,
                                                               const base::Clock& clock) {
  if (!std::isfinite(limit.per_second) || limit.per_second <= 0) {
    return base::fail(base::invalid_argument("per_second", "per_second must be above zero"));
  }
  if (!std::isfinite(limit.burst) || limit.burst < 1) {
    return base::fail(base::invalid_argument("burst", "burst must be at least 1"));
  }
  return std::unique_ptr<RateLimiter>(new RateLimiter(limit, clock));
}

base::Duration RateLimiter::cost(double n) const {
  return base::Duration(static_cast<std::int64_t>(std::llround(n * 1e9 / limit_.per_second)));
}

base::Result<base::Duration> RateLimiter::try_acquire(std::string_view key, double n) {
  if (!(n > 0)) return base::fail(base::invalid_argument("n", "n must be above zero"));
  if (n > limit_.burst) {
    return base::fail(base::invalid_argument("n", "larger than the burst: it never fits; split it")
                          .with_provider_code("request_exceeds_rate"));
  }
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  const auto found = full_at_.find(std::string(key));
  const base::Instant full_at = found == full_at_.end() ? now : std::max(found->second, now);
  const base::Duration wait = full_at + cost(n) - now - cost(limit_.burst);
  if (wait.count() > 0) return wait;
  if (found != full_at_.end()) {
    found->second = full_at + cost(n);
  } else {
    if (full_at_.size() >= sweep_at_) forget_refilled(now);
    full_at_.emplace(key, full_at + cost(n));
  }
  return base::Duration::zero();
}

void RateLimiter::give_back(std::string_view key, double n) {
  const std::lock_guard lock(mutex_);
  const auto found = full_at_.find(std::string(key));
  if (found != full_at_.end()) found->second = found->second - cost(n);
}

std::size_t RateLimiter::busy_keys() const {
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  return static_cast<std::size_t>(std::count_if(
      full_at_.begin(), full_at_.end(), [now](const auto& entry) { return entry.second > now; }));
}

void RateLimiter::forget_refilled(base::Instant now) {
  std::erase_if(full_at_, [now](const auto& entry) { return entry.second <= now; });
  sweep_at_ = std::max<std::size_t>(64, full_at_.size() * 2);
}

}  // namespace dure::flow
