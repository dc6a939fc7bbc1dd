#include "tokenize/merge_cache.h"

#include <algorithm>

namespace dure::tokenize {

MergeCache& MergeCache::of_thread() {
  thread_local MergeCache cache;
  return cache;
}

void MergeCache::clear() noexcept {
  std::fill(slots_.begin(), slots_.end(), Slot{});
  std::fill(long_slots_.begin(), long_slots_.end(), LongSlot{});
  pairs_.clear();
}

}  // namespace dure::tokenize
