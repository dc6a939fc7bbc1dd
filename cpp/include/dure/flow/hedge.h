// dure/flow/hedge.h - when a second copy of slow work may be begun, and how often.
//
// Hedging.after(): the 95th percentile of what first answers took lately; nullopt until enough of
// them are known. Hedging.take(): a token bucket that each call fills a little, so copies stay a
// small share of the calls whatever happens. Source: Dean & Barroso, "The Tail at Scale".
//
// Thread-safe. Takes a short lock, never blocks otherwise.
#ifndef DURE_FLOW_HEDGE_H_
#define DURE_FLOW_HEDGE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"

namespace dure::flow {

struct HedgeRules {
  double share = 0.05;           // copies for each call, at most, in the long run
  double burst = 5;              // copies at once
  std::size_t least_known = 20;  // first answers, before anything is hedged
};

class Hedging {
 public:
  explicit Hedging(HedgeRules rules = {}) : rules_(rules) {}

  // How long the first copy is waited for.
  [[nodiscard]] std::optional<base::Duration> after() const {
    const std::lock_guard lock(mutex_);
    if (seen_ < rules_.least_known) return std::nullopt;
    const std::size_t count = std::min(seen_, kKept);
    std::array<std::int64_t, kKept> sorted = samples_;
    const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(count * 95 / 100);
    std::nth_element(sorted.begin(), at, sorted.begin() + static_cast<std::ptrdiff_t>(count));
    return base::Duration(*at);
  }
  void on_first(base::Duration taken) {
    const std::lock_guard lock(mutex_);
    samples_[seen_++ % kKept] = taken.count();
  }
  // A call that could be hedged was begun.
  void on_call() {
    const std::lock_guard lock(mutex_);
    tokens_ = std::min(rules_.burst, tokens_ + rules_.share);
  }
  // True: a copy may be begun, and is counted.
  [[nodiscard]] bool take() {
    const std::lock_guard lock(mutex_);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  static constexpr std::size_t kKept = 256;
  const HedgeRules rules_;
  mutable std::mutex mutex_;
  std::array<std::int64_t, kKept> samples_ DURE_GUARDED_BY(mutex_){};
  std::size_t seen_ DURE_GUARDED_BY(mutex_) = 0;
  double tokens_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_HEDGE_H_
