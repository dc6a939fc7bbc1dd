// dure/client/call_budget.h - the one allowance of a whole call: tries, time, money.
//
// Retries, key rotations, fallbacks, stages and hedges all draw on it, so limits never multiply.
// What is refused locally, before a byte leaves, costs no attempt.
//
// One thread at a time.
#ifndef DURE_CLIENT_CALL_BUDGET_H_
#define DURE_CLIENT_CALL_BUDGET_H_

#include <algorithm>
#include <optional>

#include "dure/base/clock.h"
#include "dure/money/account.h"
#include "dure/money/amount.h"

namespace dure::client {

class CallBudget {
 public:
  CallBudget(int attempts, base::Instant deadline, std::optional<money::Pico> money)
      : attempts_(std::max(1, attempts)), deadline_(deadline), money_(money) {}

  [[nodiscard]] bool has_attempt() const noexcept { return used_ < attempts_; }
  [[nodiscard]] int used() const noexcept { return used_; }
  void take_attempt() noexcept { ++used_; }
  // The attempt met a connection that was closed before: another one replaces it.
  void give_back_attempt() noexcept { --used_; }

  [[nodiscard]] base::Instant deadline() const noexcept { return deadline_; }
  [[nodiscard]] base::Duration time_left(base::Instant now) const noexcept {
    return std::max(deadline_ - now, base::Duration::zero());
  }

  // Whether one more hold of `hold` stays within the call's own cost cap.
  [[nodiscard]] bool affords(money::Pico hold) const noexcept {
    return !money_ || hold <= *money_ - std::min(spent_ + held_, *money_);
  }
  // Attempts under way beside each other: what one may cost is not there for the other.
  void hold(money::Pico pico) noexcept { held_ += pico; }
  void drop(money::Pico pico) noexcept { held_ -= pico; }
  void spend(money::Pico pico) noexcept { spent_ += pico; }
  // The hold that the call began with: that of a copy beside it is its child.
  void begin_with(money::ReservationId id) noexcept {
    if (first_.epoch == 0) first_ = id;
  }
  [[nodiscard]] money::ReservationId first() const noexcept { return first_; }
  [[nodiscard]] money::Pico spent() const noexcept { return spent_; }
  [[nodiscard]] money::Pico money_left() const noexcept {
    return money_ ? std::max<money::Pico>(0, *money_ - spent_ - held_) : 0;
  }

 private:
  const int attempts_;
  const base::Instant deadline_;
  const std::optional<money::Pico> money_;
  int used_ = 0;
  money::Pico spent_ = 0;
  money::Pico held_ = 0;
  money::ReservationId first_;
};

}  // namespace dure::client

#endif  // DURE_CLIENT_CALL_BUDGET_H_
