// net/timer_heap.h - which timer is due next, for up to 10^5 of them: a 4-ary heap whose nodes know
// their place, so that a request that ends takes its timer along.
//
// Not thread-safe.
#ifndef DURE_SRC_NET_TIMER_HEAP_H_
#define DURE_SRC_NET_TIMER_HEAP_H_

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "dure/base/clock.h"

namespace dure::net {

class Timer {
 public:
  virtual ~Timer() = default;
  virtual void fire() noexcept = 0;
  [[nodiscard]] bool armed() const noexcept { return place_ != kNone; }
  [[nodiscard]] base::Instant at() const noexcept { return at_; }

 private:
  friend class TimerHeap;
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  base::Instant at_;
  std::size_t place_ = kNone;
};

// Timers are borrowed: disarm one before it dies.
class TimerHeap {
 public:
  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
  // REQUIRES: not empty.
  [[nodiscard]] base::Instant next() const noexcept { return heap_.front()->at_; }

  void arm(Timer& timer, base::Instant at) {
    disarm(timer);
    heap_.push_back(&timer);
    timer.at_ = at;
    rise(heap_.size() - 1);
  }
  void disarm(Timer& timer) noexcept {
    if (!timer.armed()) return;
    const std::size_t place = std::exchange(timer.place_, Timer::kNone);
    Timer* const last = heap_.back();
    heap_.pop_back();
    if (last == &timer) return;
    put(place, last);
    rise(place);
    sink(last->place_);
  }
  // Takes out and returns the first timer that is due, or null.
  [[nodiscard]] Timer* pop_due(base::Instant now) noexcept {
    if (heap_.empty() || heap_.front()->at_ > now) return nullptr;
    Timer* const due = heap_.front();
    disarm(*due);
    return due;
  }

 private:
  void put(std::size_t place, Timer* timer) noexcept {
    heap_[place] = timer;
    timer->place_ = place;
  }
  void rise(std::size_t place) noexcept {
    Timer* const timer = heap_[place];
    while (place > 0) {
      const std::size_t parent = (place - 1) / 4;
      if (heap_[parent]->at_ <= timer->at_) break;
      put(place, heap_[parent]);
      place = parent;
    }
    put(place, timer);
  }
  void sink(std::size_t place) noexcept {
    Timer* const timer = heap_[place];
    while (true) {
      const std::size_t first = 4 * place + 1;
      if (first >= heap_.size()) break;
      std::size_t least = first;
      for (std::size_t child = first + 1; child < std::min(first + 4, heap_.size()); ++child) {
        if (heap_[child]->at_ < heap_[least]->at_) least = child;
      }
      if (heap_[least]->at_ >= timer->at_) break;
      put(place, heap_[least]);
      place = least;
    }
    put(place, timer);
  }

  std::vector<Timer*> heap_;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_TIMER_HEAP_H_
