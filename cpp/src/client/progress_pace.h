// client/progress_pace.h - when a stream tells the ledger how far it has come.
//
// A process that dies leaves what its streams told last. Telling grows rarer as the stream grows
// longer: after a quarter more tokens (256 at least), or after a wait that doubles each time. So
// a stream of any length writes a few dozen records, and what is lost is a fraction of it.
//
// One thread at a time.
#ifndef DURE_SRC_CLIENT_PROGRESS_PACE_H_
#define DURE_SRC_CLIENT_PROGRESS_PACE_H_

#include <algorithm>
#include <cstdint>

#include "dure/base/clock.h"

namespace dure::client {

class ProgressPace {
 public:
  // True if `tokens`, the number received so far, is to be told now. The first one always is.
  [[nodiscard]] bool due(std::int64_t tokens, base::Instant now) noexcept {
    const bool longer = tokens >= next_tokens_;
    const bool later = tokens > told_ && now >= next_time_;
    if (begun_ && !longer && !later) return false;
    if (begun_ && later) wait_ *= 2;
    begun_ = true;
    told_ = tokens;
    next_tokens_ = tokens + std::max<std::int64_t>(256, tokens / 4);
    next_time_ = now + wait_;
    return true;
  }

 private:
  bool begun_ = false;
  std::int64_t told_ = 0;
  std::int64_t next_tokens_ = 256;
  base::Instant next_time_;
  base::Duration wait_ = std::chrono::seconds(1);
};

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_PROGRESS_PACE_H_
