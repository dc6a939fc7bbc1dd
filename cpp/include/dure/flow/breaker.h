// dure/flow/breaker.h - stops asking a peer that fails, and finds out when it is back.
//
//   const auto pass = breaker.ask();
//   if (!pass.go) return come_back_in(pass.wait);
//   ... work ...
//   breaker.tell(pass, Breaker::Result::kFailed);   // exactly once for each pass that goes
//
// Closed: all pass. Open after at least half of at least 20 results within 10 seconds failed; the
// time it stays open doubles with each probe that fails, and is lengthened by chance so that many
// processes do not probe together. Half open: one probe passes, all others wait for its result; a
// probe whose process died is over after `open_at_most`.
//
// Thread-safe. On a shared cell one breaker for all processes of the host. Takes no lock.
#ifndef DURE_FLOW_BREAKER_H_
#define DURE_FLOW_BREAKER_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "dure/base/clock.h"
#include "dure/base/random.h"
#include "dure/flow/health.h"

namespace dure::flow {

struct BreakerRules {
  int least_results = 20;     // within the window, before anything is judged
  double failed_share = 0.5;  // opens at this share of them
  base::Duration open_for = std::chrono::seconds(5);
  base::Duration open_at_most = std::chrono::seconds(60);
};

class Breaker {
 public:
  static constexpr base::Duration kWindow = std::chrono::seconds(10);
  enum class State : std::uint8_t { kClosed, kOpen, kHalfOpen };
  // kUnknown: nothing was learned (a cancel, a local refusal); a probe goes to the next who asks.
  enum class Result : std::uint8_t { kWorked, kFailed, kUnknown };

  // `clock` and `random` outlive the breaker. `health`: where it is kept; nullptr: here alone.
  Breaker(const base::Clock& clock, base::Random& random, BreakerRules rules = {},
          std::shared_ptr<KeyHealth> health = nullptr)
      : clock_(clock),
        random_(random),
        rules_(rules),
        health_(health != nullptr ? std::move(health) : std::make_shared<KeyHealth>()) {}

  struct Pass {
    bool go = true;
    bool probe = false;
    base::Duration wait{0};  // if it does not go: when to ask again
  };
  [[nodiscard]] Pass ask();
  void tell(const Pass& pass, Result result);
  [[nodiscard]] State state() const;

 private:
  void count(base::Instant now, bool failed);
  [[nodiscard]] bool too_many(base::Instant now) const;
  // When it is to be asked again after it opened for one time more.
  [[nodiscard]] std::int64_t next_until(base::Instant now);

  const base::Clock& clock_;
  base::Random& random_;
  const BreakerRules rules_;
  const std::shared_ptr<KeyHealth> health_;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_BREAKER_H_
