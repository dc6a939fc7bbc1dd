#include "dure/flow/breaker.h"

#include <algorithm>

namespace dure::flow {
namespace {

constexpr base::Duration kProbeLook = std::chrono::milliseconds(100);

std::int64_t slice_of(base::Instant now, std::size_t slices) {
  return now.ns / (Breaker::kWindow.count() / static_cast<std::int64_t>(slices));
}

}  // namespace

Breaker::Pass Breaker::ask() {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kClosed) return {};
  const base::Instant now = clock_.now();
  if (state_ == State::kOpen && now < until_) return {false, false, until_ - now};
  state_ = State::kHalfOpen;
  if (probing_) return {false, false, kProbeLook};
  probing_ = true;
  return {true, true, {}};
}

void Breaker::tell(const Pass& pass, Result result) {
  if (!pass.go) return;
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  if (pass.probe) {
    probing_ = false;
    if (result == Result::kUnknown) return;
    if (result == Result::kFailed) return open(now);
    state_ = State::kClosed;
    opened_ = 0;
    slices_ = {};
    return;
  }
  if (state_ != State::kClosed || result == Result::kUnknown) return;  // late results judge nothing
  count(now, result == Result::kFailed);
  if (result == Result::kFailed && too_many(now)) open(now);
}

Breaker::State Breaker::state() const {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kOpen && clock_.now() >= until_) return State::kHalfOpen;
  return state_;
}

void Breaker::count(base::Instant now, bool failed) {
  const std::int64_t number = slice_of(now, kSlices);
  Slice& slice = slices_[static_cast<std::size_t>(number) % kSlices];
  if (slice.number != number) slice = {number, 0, 0};
  ++slice.results;
  if (failed) ++slice.failures;
}

bool Breaker::too_many(base::Instant now) const {
  const std::int64_t oldest = slice_of(now, kSlices) - static_cast<std::int64_t>(kSlices);
  int results = 0;
  int failures = 0;
  for (const Slice& slice : slices_) {
    if (slice.number <= oldest) continue;
    results += slice.results;
    failures += slice.failures;
  }
  return results >= rules_.least_results && failures >= rules_.failed_share * results;
}

void Breaker::open(base::Instant now) {
  const int doublings = std::min(opened_++, 20);
  const double most = static_cast<double>(rules_.open_at_most.count());
  const double length = std::min(
      most, static_cast<double>(rules_.open_for.count()) * static_cast<double>(1LL << doublings));
  state_ = State::kOpen;
  until_ = now + base::Duration(static_cast<std::int64_t>(length * (1 + 0.5 * random_.uniform())));
}

}  // namespace dure::flow
