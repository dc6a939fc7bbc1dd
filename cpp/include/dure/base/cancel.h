// dure/base/cancel.h - how long native work is ended before it is done.
//
// A flag: the owner sets it (Ctrl-C, a deadline, a dropped future); the worker polls and returns
// kCancelled, leaving what was finished so far in place.
//
// A check: pure computations (counting, cutting, verifying) call check_cancel() every few hundred
// microseconds. Whoever starts such work may install a CancelCheck on the thread that does it; its
// poll() throws to end the work. What was computed so far is dropped with the stack: nothing but
// the caller's own result is touched between two checks. Without a check it costs one look.
//
// CancelToken: thread-safe. CancelScope: owner thread only: the one that made it.
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

// Thread-safe: threads that share a piece of work share its check.
class CancelCheck {
 public:
  virtual ~CancelCheck() = default;
  // Throws if the work is to end.
  virtual void poll() = 0;
};

namespace detail {
inline constinit thread_local CancelCheck* cancel_check = nullptr;
}

// The check of this thread's work, to hand on to threads that help it; null: there is none.
[[nodiscard]] inline CancelCheck* current_cancel_check() noexcept { return detail::cancel_check; }

// Installs a check on this thread while it lives. REQUIRES: `check` is null or outlives it.
class CancelScope {
 public:
  explicit CancelScope(CancelCheck* check) noexcept : before_(detail::cancel_check) {
    detail::cancel_check = check;
  }
  ~CancelScope() { detail::cancel_check = before_; }
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  CancelCheck* before_;
};

// Every few hundred microseconds of a long computation. Throws what the check throws.
inline void check_cancel() {
  if (CancelCheck* check = detail::cancel_check) check->poll();
}

// check_cancel() on every `kEvery`-th call, for inner loops. One thread at a time.
template <unsigned kEvery>
class CancelTick {
 public:
  void operator()() {
    if (++count_ % kEvery == 0) check_cancel();
  }

 private:
  unsigned count_ = 0;
};

}  // namespace dure::base

#endif  // DURE_BASE_CANCEL_H_
