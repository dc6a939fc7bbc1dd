// dure/flow/breaker.h - stops asking a peer that fails, and finds out when it is back.
//
//   const auto pass = breaker.ask();
//   if (!pass.go) return come_back_in(pass.wait);
//   ... work ...
//   breaker.tell(pass, Breaker::Result::kFailed);   // exactly once for each pass that goes
//
// Closed: all pass. Open after at least half of at least 20 results within 10 seconds failed; the
// time it stays open doubles with each probe that fails, and is lengthened by chance so that many
// processes do not probe together. Half open: one probe passes, all others wait for its result.
//
// Thread-safe. Takes a short lock, never blocks otherwise.
#ifndef DURE_FLOW_BREAKER_H_
#define DURE_FLOW_BREAKER_H_

#include <array>
#include <cstdint>
#include <mutex>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/random.h"

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

  // `clock` and `random` outlive the breaker.
  Breaker(const base::Clock& clock, base::Random& random, BreakerRules rules = {})
      : clock_(clock), random_(random), rules_(rules) {}

  struct Pass {
    bool go = true;
    bool probe = false;
    base::Duration wait{0};  // if it does not go: when to ask again
  };
  [[nodiscard]] Pass ask();
  void tell(const Pass& pass, Result result);
  [[nodiscard]] State state() const;

 private:
  static constexpr std::size_t kSlices = 10;
  struct Slice {
    std::int64_t number = -1;  // which slice of time it counts
    std::int32_t results = 0;
    std::int32_t failures = 0;
  };
  void count(base::Instant now, bool failed) DURE_REQUIRES(mutex_);
  [[nodiscard]] bool too_many(base::Instant now) const DURE_REQUIRES(mutex_);
  void open(base::Instant now) DURE_REQUIRES(mutex_);

  const base::Clock& clock_;
  base::Random& random_;
  const BreakerRules rules_;
  mutable std::mutex mutex_;
  State state_ DURE_GUARDED_BY(mutex_) = State::kClosed;
  bool probing_ DURE_GUARDED_BY(mutex_) = false;
  int opened_ DURE_GUARDED_BY(mutex_) = 0;  // times in a row
  base::Instant until_ DURE_GUARDED_BY(mutex_);
  std::array<Slice, kSlices> slices_ DURE_GUARDED_BY(mutex_);
};

}  // namespace dure::flow

#endif  // DURE_FLOW_BREAKER_H_
