#include "dure/flow/fair_queue.h"

#include <algorithm>
#include <utility>

namespace dure::flow {

FairQueue::Entry FairQueue::enter(const Ask& ask, std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  if (in_use_ < limit_.limit() && places_.empty()) {
    limit_.on_use(++in_use_);
    return {};
  }
  const base::Duration wait = expected_wait();
  if (places_.size() >= rules_.most_waiting || wait >= ask.patience) {
    return {Answer::kFull, 0, wait};
  }
  const std::size_t priority = std::min(ask.priority, kClasses - 1);
  const std::uint64_t ticket = ++last_ticket_;
  const std::pair order{start_tag(ask), ticket};
  lines_[priority].emplace(
      order, Waiting{ticket, clock_.now(), std::move(wake), order.first, std::string(ask.party)});
  arrivals_[priority].emplace(ticket, order);
  places_.emplace(ticket, Place{priority, order});
  return {Answer::kWaits, ticket, {}};
}

bool FairQueue::leave(std::uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  const auto found = places_.find(ticket);
  if (found == places_.end()) return false;
  lines_[found->second.priority].erase(found->second.order);
  arrivals_[found->second.priority].erase(ticket);
  places_.erase(found);
  return true;
}

void FairQueue::release(base::Instant began, End end) {
  std::vector<std::function<void()>> woken;
  {
    const std::lock_guard lock(mutex_);
    const base::Instant now = clock_.now();
    const auto held = static_cast<double>((now - began).count());
    held_ = std::min(100.0, held_ + 1);
    service_ns_ += (held - service_ns_) / held_;
    if (end == End::kOk) limit_.on_success(in_use_);
    if (end == End::kOverload) limit_.on_overload(in_use_, began, now);
    --in_use_;
    age(now);
    while (in_use_ < limit_.limit() && !places_.empty()) wake_next(woken);
    if (places_.empty()) forget_parties();
  }
  for (const auto& wake : woken) wake();
}

int FairQueue::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

std::size_t FairQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return places_.size();
}

int FairQueue::limit() const {
  const std::lock_guard lock(mutex_);
  return limit_.limit();
}

// Where the party stands: behind what it asked for before, never behind the present.
double FairQueue::start_tag(const Ask& ask) {
  double& finish = finish_[std::string(ask.party)];
  const double start = std::max(virtual_time_, finish);
  finish = start + std::max(ask.cost, 1.0);
  return start;
}

base::Duration FairQueue::expected_wait() const {
  const double turns = static_cast<double>(places_.size() + 1) / std::max(1, limit_.limit());
  return base::Duration(static_cast<std::int64_t>(turns * service_ns_));
}

// Who waited long enough in a class stands in the one above, at its head.
void FairQueue::age(base::Instant now) {
  for (std::size_t from = 1; from < kClasses; ++from) {
    while (!arrivals_[from].empty()) {
      const auto [ticket, order] = *arrivals_[from].begin();
      auto node = lines_[from].extract(order);
      if (now - node.mapped().since < rules_.ageing) {
        lines_[from].insert(std::move(node));
        break;
      }
      const std::pair risen{virtual_time_, ticket};
      node.key() = risen;
      node.mapped().since = now;  // and ages anew there
      lines_[from - 1].insert(std::move(node));
      arrivals_[from].erase(ticket);
      arrivals_[from - 1].emplace(ticket, risen);
      places_[ticket] = {from - 1, risen};
    }
  }
}

void FairQueue::wake_next(std::vector<std::function<void()>>& woken) {
  for (std::size_t priority = 0; priority < kClasses; ++priority) {
    if (lines_[priority].empty()) continue;
    auto node = lines_[priority].extract(lines_[priority].begin());
    virtual_time_ = std::max(virtual_time_, node.mapped().start);
    arrivals_[priority].erase(node.mapped().ticket);
    places_.erase(node.mapped().ticket);
    limit_.on_use(++in_use_);
    woken.push_back(std::move(node.mapped().wake));
    return;
  }
}

// Nobody waits: the next contention begins with equal rights.
void FairQueue::forget_parties() {
  finish_.clear();
  virtual_time_ = 0;
}

}  // namespace dure::flow
