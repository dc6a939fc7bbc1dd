#include "tokenize/merge_cache.h"

namespace dure::tokenize {

MergeCache& MergeCache::of_thread() {
  thread_local MergeCache cache;
  return cache;
}

void MergeCache::clear() noexcept {
  slots_.clear();
  long_slots_.clear();
  pairs_.clear();
}

}  // namespace dure::tokenize
