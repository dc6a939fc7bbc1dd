// dure/base/completion_queue.h - hands finished work from native threads to those who wait.
//
// Two kinds of waiting: an event loop watches a CompletionQueue's file descriptor and drains it in
// batches; a plain thread waits on a CompletionSlot. Producers see one interface, CompletionSink,
// and know nothing of Python: what a Completion holds is the business of who takes it out.
#ifndef DURE_BASE_COMPLETION_QUEUE_H_
#define DURE_BASE_COMPLETION_QUEUE_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/result.h"

namespace dure::base {

class Completion {
 public:
  virtual ~Completion() = default;
  std::uint64_t ticket = 0;  // which waiter this is for; an integer, never a pointer

 private:
  friend class CompletionList;
  Completion* next_ = nullptr;
};

// First in, first out. Linked through the completions, so that appending never allocates.
// Not thread-safe.
class CompletionList {
 public:
  CompletionList() = default;
  CompletionList(CompletionList&& other) noexcept { swap(other); }
  CompletionList& operator=(CompletionList&& other) noexcept {
    swap(other);
    return *this;
  }
  ~CompletionList() { clear(); }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void append(std::unique_ptr<Completion> one) noexcept;
  // The oldest; null if there is none.
  [[nodiscard]] std::unique_ptr<Completion> pop() noexcept;
  // The oldest `count`, or all if there are fewer.
  [[nodiscard]] CompletionList take(std::size_t count) noexcept;
  void clear() noexcept;
  void swap(CompletionList& other) noexcept;

 private:
  Completion* first_ = nullptr;  // owned, as is all that it links to
  Completion* last_ = nullptr;
  std::size_t size_ = 0;
};

// Thread-safe. Never blocks, never throws.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  // False if nobody waits any more: `done` is destroyed here.
  virtual bool push(std::unique_ptr<Completion> done) noexcept = 0;
};

class CompletionQueue;

// One turn of a thread that completes many things. While it lives, a queue that this thread pushes
// to is woken when it ends and not with its first completion (at once, if kMost of them wait): the
// reader finds a batch, and its processor is not taken from a turn that is not over. Not nested.
class WakeScope {
 public:
  static constexpr std::size_t kMost = 64;
  WakeScope() noexcept;
  ~WakeScope();
  WakeScope(const WakeScope&) = delete;
  WakeScope& operator=(const WakeScope&) = delete;

 private:
  friend class CompletionQueue;
  std::vector<std::shared_ptr<CompletionQueue>> queues_;
};

// One per event loop. push() from any thread; drain() and close() by the loop's thread.
class CompletionQueue final : public CompletionSink,
                              public std::enable_shared_from_this<CompletionQueue> {
 public:
  static constexpr std::size_t kBatch = 512;  // most that one drain takes: the loop stays lively

  // Fails with kIo if the process is out of file descriptors.
  [[nodiscard]] static Result<std::shared_ptr<CompletionQueue>> create();
  ~CompletionQueue() override;
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  // Readable whenever drain() has something to take (a WakeScope may put it off), and from then on
  // until a drain() that finds nothing: while the reader is at work nobody wakes it. -1 after
  // close().
  [[nodiscard]] int fd() const noexcept;

  bool push(std::unique_ptr<Completion> done) noexcept override;
  // At most kBatch completions, oldest first. None: all were taken, and the next one wakes again.
  [[nodiscard]] CompletionList drain() noexcept;
  // What is queued, and all that comes later, is dropped and counted. Idempotent.
  void close() noexcept;
  [[nodiscard]] std::uint64_t dropped() const noexcept;

  // In the child of a fork, where the mutex may be locked for ever: gives back the descriptor, no
  // more. The queue must not be used or destroyed there afterwards.
  void abandon_in_child() noexcept;

 private:
  friend class WakeScope;
  class Descriptor;
  explicit CompletionQueue(std::shared_ptr<const Descriptor> descriptor) noexcept
      : descriptor_(std::move(descriptor)) {}
  // What the caller writes to once it has given back the mutex: a reader that is woken at once, in
  // the writer's place, would meet it. Null: the reader is awake.
  [[nodiscard]] std::shared_ptr<const Descriptor> to_wake() noexcept DURE_REQUIRES(mutex_);
  // True if a scope of this thread will wake the reader later.
  [[nodiscard]] bool put_off() noexcept;
  void wake_if_waiting() noexcept;

  mutable std::mutex mutex_;
  // Let go by the owner under the mutex; closed by whoever holds it last.
  std::shared_ptr<const Descriptor> descriptor_;
  CompletionList waiting_ DURE_GUARDED_BY(mutex_);
  bool signalled_ DURE_GUARDED_BY(mutex_) = false;  // the descriptor is readable
  std::uint64_t dropped_ DURE_GUARDED_BY(mutex_) = 0;
  bool closed_ DURE_GUARDED_BY(mutex_) = false;
};

// One completion for one waiting thread. Thread-safe.
class CompletionSlot final : public CompletionSink {
 public:
  bool push(std::unique_ptr<Completion> done) noexcept override;
  // Waits at most `slice`; null if nothing came.
  [[nodiscard]] std::unique_ptr<Completion> wait_for(Duration slice);

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::unique_ptr<Completion> done_ DURE_GUARDED_BY(mutex_);
  bool filled_ DURE_GUARDED_BY(mutex_) = false;
};

}  // namespace dure::base

#endif  // DURE_BASE_COMPLETION_QUEUE_H_
