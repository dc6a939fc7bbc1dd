// dure/flow/adaptive_limit.h - how much a peer can take at once, learned from what it answers.
//
// Additive increase, multiplicative decrease: a success while at least half of the limit is in
// use adds one; a sign of overload (429, timeout) takes a tenth of the most that was in use. Signs
// from work that began before the last decrease count once: a burst that fails together is one
// sign. Source: Netflix concurrency-limits (AIMDLimit), TCP's one decrease a window.
//
// One thread at a time: FairQueue calls it under its lock.
#ifndef DURE_FLOW_ADAPTIVE_LIMIT_H_
#define DURE_FLOW_ADAPTIVE_LIMIT_H_

#include <algorithm>

#include "dure/base/clock.h"

namespace dure::flow {

struct LimitRules {
  double start = 4096;
  double least = 64;
  double most = 65536;
};

class AdaptiveLimit {
 public:
  explicit AdaptiveLimit(LimitRules rules = {}) : rules_(rules), limit_(rules.start) {}

  [[nodiscard]] int limit() const noexcept { return static_cast<int>(limit_); }

  // One more is in use: that makes `in_use`.
  void on_use(int in_use) noexcept { peak_ = std::max(peak_, static_cast<double>(in_use)); }
  // `in_use`: with the one that ended.
  void on_success(int in_use) noexcept {
    if (2.0 * in_use >= limit_) limit_ = std::min(rules_.most, limit_ + 1);
  }
  // `began`: when the one that was refused was begun.
  void on_overload(int in_use, base::Instant began, base::Instant now) noexcept {
    if (decreased_ && began <= last_) return;
    decreased_ = true;
    last_ = now;
    limit_ = std::max(rules_.least, std::min(limit_, peak_) * 0.9);
    peak_ = in_use;
  }

 private:
  const LimitRules rules_;
  double limit_;
  double peak_ = 0;  // in use since the last decrease
  bool decreased_ = false;
  base::Instant last_;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_ADAPTIVE_LIMIT_H_
