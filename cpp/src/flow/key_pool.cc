#include "dure/flow/key_pool.h"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

namespace dure::flow {
namespace {

// Quotas differ if a quarter of them does: what is told with every answer must not decide each
// turn.
int quarters_used(double left) { return static_cast<int>(4 * (1 - std::clamp(left, 0.0, 1.0))); }

constexpr base::Duration kNoteHolds = std::chrono::minutes(1);

}  // namespace

double KeyPool::Quota::left(base::Instant now) const {
  return now - noted_at < kNoteHolds ? noted : 1;
}

KeyPool::KeyPool(std::size_t keys, const base::Clock& clock) : clock_(clock) {
  for (std::size_t i = 0; i < keys; ++i) add();
}

std::size_t KeyPool::quota_of(const std::string& name, std::shared_ptr<KeyHealth> health) {
  for (std::size_t i = 0; i < quotas_.size(); ++i) {
    if (!name.empty() && quotas_[i].name == name) return i;
  }
  quotas_.push_back({.name = name, .health = std::move(health)});
  return quotas_.size() - 1;
}

std::size_t KeyPool::add(KeyRule rule, std::shared_ptr<KeyHealth> health,
                         std::shared_ptr<KeyHealth> quota) {
  const std::lock_guard lock(mutex_);
  Entry entry;
  entry.health = health != nullptr ? std::move(health) : std::make_shared<KeyHealth>();
  entry.loaded = clock_.now();
  if (rule.quota.empty()) quota = entry.health;
  if (quota == nullptr) quota = std::make_shared<KeyHealth>();
  entry.quota = quota_of(rule.quota, std::move(quota));
  entry.weight = rule.weight;
  entry.next = now_;  // not the turns of the time before it came
  entries_.push_back(entry);
  return entries_.size() - 1;
}

std::optional<KeyPool::Choice> KeyPool::take(const std::vector<std::size_t>& but) {
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  const auto rank = [&](const Entry& entry) {
    const Quota& quota = quotas_[entry.quota];
    return std::tuple(std::max(quota.awake_at(), now), quarters_used(quota.left(now)), entry.next);
  };
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!entries_[i].usable() || std::find(but.begin(), but.end(), i) != but.end()) continue;
    if (!best || rank(entries_[i]) < rank(entries_[*best])) best = i;
  }
  if (!best) return std::nullopt;
  Entry& chosen = entries_[*best];
  now_ = std::max(now_, chosen.next);
  chosen.next = now_ + 1 / chosen.weight;
  ++chosen.taken;
  return Choice{*best, std::max(quotas_[chosen.quota].awake_at() - now, base::Duration::zero())};
}

bool KeyPool::another_awake(std::size_t key) const {
  const std::lock_guard lock(mutex_);
  const base::Instant now = clock_.now();
  const std::size_t quota = entries_[key].quota;
  // A key that was parked says nothing of the others on its quota.
  const bool refused = entries_[key].parked();
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (i == key || (entries_[i].quota == quota && !refused)) continue;
    if (entries_[i].usable() && quotas_[entries_[i].quota].awake_at() <= now) return true;
  }
  return false;
}

void KeyPool::sleep(std::size_t key, base::Duration hint) {
  const std::lock_guard lock(mutex_);
  std::atomic<std::int64_t>& awake_at = quotas_[entries_[key].quota].health->awake_at;
  const std::int64_t until = (clock_.now() + hint).ns;
  std::int64_t seen = awake_at.load();
  while (seen < until && !awake_at.compare_exchange_weak(seen, until)) {
  }
}

void KeyPool::note_left(std::size_t key, double share) {
  const std::lock_guard lock(mutex_);
  Quota& quota = quotas_[entries_[key].quota];
  quota.noted = share;
  quota.noted_at = clock_.now();
}

void KeyPool::park(std::size_t key) {
  const std::lock_guard lock(mutex_);
  const Entry& entry = entries_[key];
  entry.health->parked_at = std::max(clock_.now().ns, entry.loaded.ns + 1);
}

void KeyPool::retire(std::size_t key) {
  const std::lock_guard lock(mutex_);
  entries_[key].retired = true;
}

void KeyPool::revive(std::size_t key) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[key];
  entry.retired = false;
  entry.health->parked_at = 0;
  entry.next = std::max(entry.next, now_);
  quotas_[entry.quota].health->awake_at = 0;
}

std::size_t KeyPool::usable() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(),
                                                [](const Entry& entry) { return entry.usable(); }));
}

KeyPool::State KeyPool::state(std::size_t key) const {
  const std::lock_guard lock(mutex_);
  const Entry& entry = entries_[key];
  const Quota& quota = quotas_[entry.quota];
  const base::Instant now = clock_.now();
  return {.rule = {quota.name, entry.weight},
          .parked = entry.parked(),
          .retired = entry.retired,
          .asleep = std::max(quota.awake_at() - now, base::Duration::zero()),
          .left = quota.left(now),
          .taken = entry.taken};
}

}  // namespace dure::flow
