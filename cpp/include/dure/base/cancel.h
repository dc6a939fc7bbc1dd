// dure/base/cancel.h - a flag that long native work looks at between steps.
//
// The owner sets it (Ctrl-C, a deadline, a dropped future); the worker polls and returns
// kCancelled, leaving what was finished so far in place.
//
// Thread-safe.
#ifndef DURE_BASE_CANCEL_H_
#define DURE_BASE_CANCEL_H_

#include <atomic>

namespace dure::base {

class CancelToken {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool cancelled() const noexcept {
    return cancelled_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace dure::base

#endif  // DURE_BASE_CANCEL_H_
