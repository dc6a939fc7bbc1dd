#include "dure/flow/breaker.h"

#include <algorithm>

namespace dure::flow {
namespace {

constexpr base::Duration kProbeLook = std::chrono::milliseconds(100);
constexpr std::uint64_t kOneResult = 1U << 16U;
constexpr std::uint64_t kMost = 0xffff;  // that a slice counts

// The slice of time, as the cells keep it: 32 bits.
std::uint32_t slice_of(base::Instant now) {
  constexpr std::int64_t kLength =
      Breaker::kWindow.count() / static_cast<std::int64_t>(KeyHealth::kSlices);
  return static_cast<std::uint32_t>(now.ns / kLength);
}

std::uint64_t results_of(std::uint64_t slice) { return slice >> 16U & kMost; }
std::uint64_t failures_of(std::uint64_t slice) { return slice & kMost; }

}  // namespace

Breaker::Pass Breaker::ask() {
  const std::int64_t until = health_->open_until.load(std::memory_order_acquire);
  if (until == 0) return {};
  const base::Instant now = clock_.now();
  if (now.ns < until) return {false, false, base::Duration(until - now.ns)};
  const std::int64_t lease = now.ns + rules_.open_at_most.count();
  std::int64_t probe = health_->probe_until.load(std::memory_order_acquire);
  while (probe <= now.ns) {
    if (health_->probe_until.compare_exchange_weak(probe, lease)) return {true, true, {}};
  }
  return {false, false, kProbeLook};
}

void Breaker::tell(const Pass& pass, Result result) {
  if (!pass.go) return;
  KeyHealth& health = *health_;
  if (pass.probe) {
    if (result == Result::kFailed) {
      health.open_until = next_until(clock_.now());
      ++health.opened;
    } else if (result == Result::kWorked) {
      for (auto& slice : health.slices) slice.store(0, std::memory_order_relaxed);
      health.opened = 0;
      health.open_until = 0;
    }
    health.probe_until.store(0, std::memory_order_release);
    return;
  }
  const bool closed = health.open_until.load(std::memory_order_relaxed) == 0;
  if (!closed || result == Result::kUnknown) return;  // late results judge nothing
  const base::Instant now = clock_.now();
  count(now, result == Result::kFailed);
  if (result != Result::kFailed || !too_many(now)) return;
  std::int64_t open = 0;
  if (health.open_until.compare_exchange_strong(open, next_until(now))) ++health.opened;
}

Breaker::State Breaker::state() const {
  const std::int64_t until = health_->open_until.load(std::memory_order_acquire);
  if (until == 0) return State::kClosed;
  return clock_.now().ns < until ? State::kOpen : State::kHalfOpen;
}

void Breaker::count(base::Instant now, bool failed) {
  const std::uint32_t number = slice_of(now);
  std::atomic<std::uint64_t>& slice = health_->slices[number % KeyHealth::kSlices];
  std::uint64_t seen = slice.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = seen >> 32U == number ? seen : std::uint64_t{number} << 32U;
    if (results_of(next) < kMost) next += kOneResult + (failed ? 1 : 0);
  } while (!slice.compare_exchange_weak(seen, next, std::memory_order_relaxed));
}

bool Breaker::too_many(base::Instant now) const {
  const std::uint32_t newest = slice_of(now);
  std::uint64_t results = 0;
  std::uint64_t failures = 0;
  for (const auto& slice : health_->slices) {
    const std::uint64_t word = slice.load(std::memory_order_relaxed);
    if (newest - static_cast<std::uint32_t>(word >> 32U) >= KeyHealth::kSlices) continue;  // gone
    results += results_of(word);
    failures += failures_of(word);
  }
  return static_cast<std::int64_t>(results) >= rules_.least_results &&
         static_cast<double>(failures) >= rules_.failed_share * static_cast<double>(results);
}

std::int64_t Breaker::next_until(base::Instant now) {
  const auto doublings = std::min<std::uint64_t>(health_->opened.load(), 20);
  const double most = static_cast<double>(rules_.open_at_most.count());
  const double length = std::min(
      most, static_cast<double>(rules_.open_for.count()) * static_cast<double>(1LL << doublings));
  return now.ns + static_cast<std::int64_t>(length * (1 + 0.5 * random_.uniform()));
}

}  // namespace dure::flow
