// dure/flow/fair_queue.h - who goes next when a peer takes only so many at once.
//
//   auto entry = queue.enter({.party = "acme", .priority = 0, .cost = 1200}, wake);
//   // kGo: a slot is ours; kWaits: `wake` runs once we have one; kFull: come back in entry.wait
//   queue.leave(entry.ticket);                 // while waiting: gives the place up
//   queue.release(began, FairQueue::End::kOk); // after kGo or wake: the slot is free again
//
// Priority classes are strict, except that who has waited for `ageing` rises by one class. Inside
// a class parties share by start-time fair queueing: each pays with the cost of what it asks, so
// one that asks for much does not push aside one that asks for little. How many slots there are is
// learned (AdaptiveLimit). Nothing polls: a slot that becomes free wakes the next.
//
// Thread-safe. `wake` runs outside the lock, in whichever thread released; it must not block.
#ifndef DURE_FLOW_FAIR_QUEUE_H_
#define DURE_FLOW_FAIR_QUEUE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/flow/adaptive_limit.h"

namespace dure::flow {

class FairQueue {
 public:
  static constexpr std::size_t kClasses = 2;
  struct Rules {
    std::size_t most_waiting = 100'000;
    base::Duration ageing = std::chrono::seconds(10);
    LimitRules limit = {};
  };
  // `clock` outlives the queue.
  explicit FairQueue(const base::Clock& clock) : FairQueue(clock, Rules{}) {}
  FairQueue(const base::Clock& clock, Rules rules)
      : clock_(clock), rules_(rules), limit_(rules.limit) {}

  struct Ask {
    std::string_view party;
    std::size_t priority = 0;  // 0 goes first; below kClasses
    double cost = 1;           // > 0, in any one unit
    base::Duration patience = std::chrono::hours(24);
  };
  enum class Answer : std::uint8_t { kGo, kWaits, kFull };
  struct Entry {
    Answer answer = Answer::kGo;
    std::uint64_t ticket = 0;  // while it waits
    base::Duration wait{0};    // kFull: when there may be room
  };
  [[nodiscard]] Entry enter(const Ask& ask, std::function<void()> wake);
  // False: it had a slot already, or left before.
  bool leave(std::uint64_t ticket);

  enum class End : std::uint8_t { kOk, kOverload, kOther };
  void release(base::Instant began, End end);

  [[nodiscard]] int in_use() const;
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] int limit() const;

 private:
  struct Waiting {
    std::uint64_t ticket = 0;
    base::Instant since;
    std::function<void()> wake;
    double start = 0;
    std::string party;
  };
  struct Place {
    std::size_t priority = 0;
    std::pair<double, std::uint64_t> order;
  };
  // By start tag, then by arrival.
  using Line = std::map<std::pair<double, std::uint64_t>, Waiting>;

  [[nodiscard]] double start_tag(const Ask& ask) DURE_REQUIRES(mutex_);
  [[nodiscard]] base::Duration expected_wait() const DURE_REQUIRES(mutex_);
  void age(base::Instant now) DURE_REQUIRES(mutex_);
  void wake_next(std::vector<std::function<void()>>& woken) DURE_REQUIRES(mutex_);
  void forget_parties() DURE_REQUIRES(mutex_);

  const base::Clock& clock_;
  const Rules rules_;
  mutable std::mutex mutex_;
  AdaptiveLimit limit_ DURE_GUARDED_BY(mutex_);
  int in_use_ DURE_GUARDED_BY(mutex_) = 0;
  double virtual_time_ DURE_GUARDED_BY(mutex_) = 0;
  double service_ns_ DURE_GUARDED_BY(mutex_) = 0;  // how long a slot is held, over a hundred
  double held_ DURE_GUARDED_BY(mutex_) = 0;        // slots that were, at most a hundred
  std::uint64_t last_ticket_ DURE_GUARDED_BY(mutex_) = 0;
  std::array<Line, kClasses> lines_ DURE_GUARDED_BY(mutex_);
  std::array<std::map<std::uint64_t, std::pair<double, std::uint64_t>>, kClasses> arrivals_
      DURE_GUARDED_BY(mutex_);  // by ticket: the oldest stands first
  std::unordered_map<std::uint64_t, Place> places_ DURE_GUARDED_BY(mutex_);
  std::unordered_map<std::string, double> finish_ DURE_GUARDED_BY(mutex_);  // last tag of a party
};

}  // namespace dure::flow

#endif  // DURE_FLOW_FAIR_QUEUE_H_
