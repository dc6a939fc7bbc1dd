#include "tokenize/merge_cache.h"

#include <atomic>

namespace dure::tokenize {
namespace {

std::atomic<std::uint32_t> generation{0};

}  // namespace

MergeCache& MergeCache::of_thread() {
  thread_local MergeCache cache;
  const std::uint32_t now = generation.load(std::memory_order_relaxed);
  if (cache.generation_ != now) [[unlikely]] {
    cache.clear();
    cache.generation_ = now;
  }
  return cache;
}

void MergeCache::forget_all() noexcept { generation.fetch_add(1, std::memory_order_relaxed); }

void MergeCache::clear() noexcept {
  slots_.clear();
  long_slots_.clear();
  pairs_.clear();
}

}  // namespace dure::tokenize
