#include "dure/flow/cache.h"

#include <utility>

namespace dure::flow {

CacheValue MemoryCache::get(const CacheKey& key, base::WallTime now) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  if (found->second->expires <= now) {
    drop(found->second);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->value;
}

void MemoryCache::put(const CacheKey& key, CacheValue value, base::WallTime expires) {
  const std::size_t weight = value->size() + kBeside;
  const std::lock_guard lock(mutex_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) drop(found->second);
  if (weight > most_) return;
  while (bytes_ + weight > most_) drop(std::prev(entries_.end()));
  entries_.push_front({key, std::move(value), expires});
  by_key_.emplace(key, entries_.begin());
  bytes_ += weight;
}

void MemoryCache::clear() {
  const std::lock_guard lock(mutex_);
  by_key_.clear();
  entries_.clear();
  bytes_ = 0;
}

std::size_t MemoryCache::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

std::size_t MemoryCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void MemoryCache::drop(Entries::iterator entry) {
  bytes_ -= entry->value->size() + kBeside;
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace dure::flow
