#include "dure/flow/key_pool.h"

#include <algorithm>
#include <tuple>

namespace dure::flow {

KeyPool::KeyPool(std::size_t keys, const base::Clock& clock) : clock_(clock), entries_(keys) {}

std::optional<KeyPool::Choice> KeyPool::take() {
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  const auto rank = [now](const Entry& entry) {
    return std::tuple(entry.parked, std::max(entry.awake_at, now), entry.used);
  };
  const auto best =
      std::min_element(entries_.begin(), entries_.end(),
                       [&](const Entry& a, const Entry& b) { return rank(a) < rank(b); });
  if (best == entries_.end() || best->parked) return std::nullopt;
  best->used = ++turns_;
  return Choice{static_cast<std::size_t>(best - entries_.begin()),
                std::max(best->awake_at - now, base::Duration::zero())};
}

bool KeyPool::another_awake(std::size_t key) const {
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (i != key && !entries_[i].parked && entries_[i].awake_at <= now) return true;
  }
  return false;
}

void KeyPool::sleep(std::size_t key, base::Duration hint) {
  const std::lock_guard lock(mutex_);
  entries_[key].awake_at = std::max(entries_[key].awake_at, clock_.now() + hint);
}

void KeyPool::park(std::size_t key) {
  const std::lock_guard lock(mutex_);
  entries_[key].parked = true;
}

std::size_t KeyPool::usable() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(),
                                                [](const Entry& entry) { return !entry.parked; }));
}

}  // namespace dure::flow
