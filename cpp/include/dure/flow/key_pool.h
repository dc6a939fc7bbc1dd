// dure/flow/key_pool.h - several credentials of one account, used in turn.
//
// A key that was told to slow down sleeps for its hint; one that was refused is parked until it is
// replaced. Knows no secrets: it hands out positions, the caller holds what they stand for.
//
// Thread-safe.
#ifndef DURE_FLOW_KEY_POOL_H_
#define DURE_FLOW_KEY_POOL_H_

#include <cstddef>
#include <mutex>
#include <optional>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"

namespace dure::flow {

class KeyPool {
 public:
  // `clock` outlives the pool.
  KeyPool(std::size_t keys, const base::Clock& clock);

  struct Choice {
    std::size_t key = 0;
    base::Duration wait{0};  // until this key is awake
  };
  // The awake key used longest ago; else the one that wakes first; nullopt if all are parked.
  [[nodiscard]] std::optional<Choice> take();
  // A key beside `key` could be taken without waiting.
  [[nodiscard]] bool another_awake(std::size_t key) const;
  void sleep(std::size_t key, base::Duration hint);
  void park(std::size_t key);
  // How many keys are not parked.
  [[nodiscard]] std::size_t usable() const;

 private:
  struct Entry {
    base::Instant awake_at{};
    std::uint64_t used = 0;
    bool parked = false;
  };
  const base::Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_ DURE_GUARDED_BY(mutex_);
  std::uint64_t turns_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_KEY_POOL_H_
