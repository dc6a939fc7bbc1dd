// dure/money/reservation.h - a hold that settles itself whichever way its call ends.
//
// Owns one open hold of an Account. The destructor settles by rule if nobody did before: a
// cancelled, forgotten or crashed call never leaks what it held.
//
// One thread at a time. Movable.
#ifndef DURE_MONEY_RESERVATION_H_
#define DURE_MONEY_RESERVATION_H_

#include <memory>
#include <utility>

#include "dure/money/account.h"

namespace dure::money {

class Reservation {
 public:
  Reservation() = default;  // owns nothing
  Reservation(std::shared_ptr<Account> account, Admission admission)
      : account_(std::move(account)), admission_(std::move(admission)) {}
  Reservation(Reservation&& other) noexcept
      : account_(std::move(other.account_)), admission_(std::move(other.admission_)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    if (this != &other) {
      release();
      account_ = std::move(other.account_);
      admission_ = std::move(other.admission_);
    }
    return *this;
  }
  ~Reservation() { release(); }

  [[nodiscard]] static base::Result<Reservation> make(std::shared_ptr<Account> account,
                                                      const ReserveRequest& request) {
    auto admission = account->reserve(request);
    if (!admission) return base::fail(std::move(admission.error()));
    return Reservation(std::move(account), std::move(*admission));
  }

  [[nodiscard]] bool open() const noexcept { return account_ != nullptr; }
  [[nodiscard]] const Admission& admission() const noexcept { return admission_; }
  [[nodiscard]] ReservationId id() const noexcept { return admission_.id; }

  // REQUIRES (all below): open(). The last three end the hold, whatever they return.
  base::Status sent() { return account_->sent(id()); }
  base::Status progress(std::int64_t tokens) { return account_->progress(id(), tokens); }
  base::Status settle(const Usage& usage, const Cost& cost, const Answered& answered = {}) {
    return std::exchange(account_, nullptr)->settle(id(), usage, cost, answered);
  }
  // A hold beside this one, for a hedge (kHedge) or a stage (kStage) of the same call: an amount of
  // its own in every budget of its scopes, ended by itself, joined to this one in the ledger.
  [[nodiscard]] base::Result<Reservation> child(ReserveRequest request, Flag kind) const {
    request.call.parent = id();
    request.call.flags = request.call.flags | kind;
    return make(account_, request);
  }
  base::Status settle_possible_spend() {
    return std::exchange(account_, nullptr)->settle_possible_spend(id());
  }
  base::Status settle_by_rule() { return std::exchange(account_, nullptr)->settle_by_rule(id()); }

 private:
  void release() noexcept {
    // A full disk keeps the settlement waiting in the account; there is nobody to tell here.
    if (account_ != nullptr) (void)std::exchange(account_, nullptr)->settle_by_rule(id());
  }

  std::shared_ptr<Account> account_;
  Admission admission_;
};

}  // namespace dure::money

#endif  // DURE_MONEY_RESERVATION_H_
