// dure/base/busy_mutex.h - a mutex for sections of a microsecond: who finds it taken looks again
// for a while before it sleeps.
//
// A sleeper costs two system calls and waits for the scheduler, tens of microseconds for a section
// that ends in a part of one; once one sleeps, every unlock wakes somebody, and the next one sleeps
// too. If the holder itself is off its processor, yielding lets it on: for longer than a turn of
// the scheduler takes, so that only a holder who waits for a disk sends others to sleep.
//
// Thread-safe. BasicLockable; not recursive.
#ifndef DURE_BASE_BUSY_MUTEX_H_
#define DURE_BASE_BUSY_MUTEX_H_

#include <mutex>
#include <thread>

namespace dure::base {

class BusyMutex {
 public:
  BusyMutex() = default;
  BusyMutex(const BusyMutex&) = delete;
  BusyMutex& operator=(const BusyMutex&) = delete;

  void lock() {
    if (mutex_.try_lock()) return;
    for (int look = 0; look < kLooks; ++look) {
      for (int i = 0; i < kPauses; ++i) pause();
      if (mutex_.try_lock()) return;
    }
    for (int look = 0; look < kYields; ++look) {
      std::this_thread::yield();
      if (mutex_.try_lock()) return;
    }
    mutex_.lock();
  }
  [[nodiscard]] bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  static constexpr int kLooks = 16;
  static constexpr int kPauses = 4;
  static constexpr int kYields = 4096;

  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  std::mutex mutex_;
};

}  // namespace dure::base

#endif  // DURE_BASE_BUSY_MUTEX_H_
