// dure/flow/key_pool.h - several credentials of one account, used in turn.
//
// Keys that share a quota (a name; a key without one is its own) sleep together when it tells them
// to slow down; among those awake, quotas with more left go first, then turns by weight. A key that
// was refused is parked until it is replaced; one that is drained or removed is chosen no more.
// Knows no secrets: it hands out positions, which stay for ever; the caller holds what they stand
// for. On shared cells what one process of the host learns of a key or a quota holds for all: a key
// that another parked is parked here too, unless it was loaded later.
//
// Thread-safe.
#ifndef DURE_FLOW_KEY_POOL_H_
#define DURE_FLOW_KEY_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/flow/health.h"

namespace dure::flow {

struct KeyRule {
  std::string quota = {};  // empty: its own
  double weight = 1;       // > 0: turns beside those of the others
};

class KeyPool {
 public:
  // `clock` outlives the pool.
  explicit KeyPool(const base::Clock& clock) : clock_(clock) {}
  // `keys` of them, each with a quota of its own.
  KeyPool(std::size_t keys, const base::Clock& clock);

  // Returns its position. `health`: of the key; `quota`: of the quota that it names (the key's own
  // where it names none); nullptr: known here alone.
  std::size_t add(KeyRule rule = {}, std::shared_ptr<KeyHealth> health = nullptr,
                  std::shared_ptr<KeyHealth> quota = nullptr);

  struct Choice {
    std::size_t key = 0;
    base::Duration wait{0};  // until this key is awake
  };
  // The awake key whose turn it is; else the one that wakes first; nullopt if none is of use. Not
  // one of `but`.
  [[nodiscard]] std::optional<Choice> take(const std::vector<std::size_t>& but = {});
  // A key of another quota than that of `key` could be taken without waiting.
  [[nodiscard]] bool another_awake(std::size_t key) const;
  // The quota of `key` sleeps.
  void sleep(std::size_t key, base::Duration hint);
  // How much of its quota is left, 0 to 1, as the provider said last; forgotten after a minute.
  void note_left(std::size_t key, double share);
  void park(std::size_t key);
  // Is chosen no more, until revive.
  void retire(std::size_t key);
  // Of use again: neither parked nor retired, and awake.
  void revive(std::size_t key);
  // How many keys are neither parked nor retired.
  [[nodiscard]] std::size_t usable() const;

  struct State {
    KeyRule rule;
    bool parked = false;
    bool retired = false;
    base::Duration asleep{0};  // for so long yet
    double left = 1;           // of its quota
    std::uint64_t taken = 0;   // how often it was chosen
  };
  [[nodiscard]] State state(std::size_t key) const;

 private:
  struct Quota {
    std::string name;
    std::shared_ptr<KeyHealth> health;
    double noted = 1;
    base::Instant noted_at{};
    [[nodiscard]] double left(base::Instant now) const;
    [[nodiscard]] base::Instant awake_at() const { return {health->awake_at.load()}; }
  };
  struct Entry {
    std::size_t quota = 0;
    double weight = 1;
    double next = 0;  // when its turn comes, in shares of a turn
    std::uint64_t taken = 0;
    std::shared_ptr<KeyHealth> health;
    base::Instant loaded{};  // what was learned before is of no account
    bool retired = false;
    [[nodiscard]] bool parked() const { return health->parked_at.load() > loaded.ns; }
    [[nodiscard]] bool usable() const { return !retired && !parked(); }
  };
  [[nodiscard]] std::size_t quota_of(const std::string& name, std::shared_ptr<KeyHealth> health)
      DURE_REQUIRES(mutex_);

  const base::Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<Quota> quotas_ DURE_GUARDED_BY(mutex_);
  std::vector<Entry> entries_ DURE_GUARDED_BY(mutex_);
  double now_ DURE_GUARDED_BY(mutex_) = 0;  // the turn that was taken last
};

}  // namespace dure::flow

#endif  // DURE_FLOW_KEY_POOL_H_
