#include "dure/flow/retry_budget.h"

#include <algorithm>

namespace dure::flow {

RetryBudget::RetryBudget(double tokens, double gain) noexcept
    : full_(static_cast<std::int64_t>(tokens * kUnit)),
      gain_(static_cast<std::int64_t>(gain * kUnit)),
      left_(full_) {}

void RetryBudget::on_success() noexcept {
  std::int64_t seen = left_.load(std::memory_order_relaxed);
  while (seen < full_ && !left_.compare_exchange_weak(seen, std::min(full_, seen + gain_),
                                                      std::memory_order_relaxed)) {
  }
}

bool RetryBudget::on_failure() noexcept {
  std::int64_t seen = left_.load(std::memory_order_relaxed);
  std::int64_t next = 0;
  do {
    next = std::max<std::int64_t>(0, seen - kUnit);
  } while (!left_.compare_exchange_weak(seen, next, std::memory_order_relaxed));
  return next > full_ / 2;
}

double RetryBudget::left() const noexcept {
  return static_cast<double>(left_.load(std::memory_order_relaxed)) / kUnit;
}

}  // namespace dure::flow
