// index/fair_mutex.h - a shared lock in which a waiting writer goes before new readers, so that
// steady searches cannot keep a commit from being published.
//
// Thread-safe. Not recursive. Works with std::shared_lock and std::unique_lock.
#ifndef DURE_INDEX_FAIR_MUTEX_H_
#define DURE_INDEX_FAIR_MUTEX_H_

#include <mutex>
#include <shared_mutex>

namespace dure::index {

class FairMutex {
 public:
  void lock() {
    const std::lock_guard<std::mutex> gate(gate_);
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }
  void lock_shared() {
    const std::lock_guard<std::mutex> gate(gate_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  std::mutex gate_;
  std::shared_mutex mutex_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_FAIR_MUTEX_H_
