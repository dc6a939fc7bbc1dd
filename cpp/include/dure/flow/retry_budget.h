// dure/flow/retry_budget.h - keeps retries from multiplying the load on a peer that is down.
//
// The token bucket of gRPC proposal A6: each failure takes one token, each success gives a part of
// one back, and nobody retries while half or less is left. In a total outage the number of tries
// stays near the number of calls, whatever each caller's own limit says.
//
// Thread-safe, lock-free. Knows nothing of HTTP.
#ifndef DURE_FLOW_RETRY_BUDGET_H_
#define DURE_FLOW_RETRY_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace dure::flow {

class RetryBudget {
 public:
  // `tokens` > 0: what a full bucket holds. `gain` in [0, tokens]: what one success gives back.
  explicit RetryBudget(double tokens = 10.0, double gain = 0.1) noexcept;

  void on_success() noexcept;
  // Takes one token and says whether this failure may be followed by a retry.
  [[nodiscard]] bool on_failure() noexcept;
  [[nodiscard]] double left() const noexcept;

 private:
  static constexpr std::int64_t kUnit = 1000;  // thousandths of a token
  const std::int64_t full_;
  const std::int64_t gain_;
  std::atomic<std::int64_t> left_;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_RETRY_BUDGET_H_
