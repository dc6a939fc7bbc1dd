#include "dure/base/completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace dure::base {

void CompletionList::append(std::unique_ptr<Completion> one) noexcept {
  Completion* node = one.release();
  node->next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = node;
  last_ = node;
  ++size_;
}

std::unique_ptr<Completion> CompletionList::pop() noexcept {
  if (first_ == nullptr) return nullptr;
  std::unique_ptr<Completion> oldest(first_);
  first_ = oldest->next_;
  if (first_ == nullptr) last_ = nullptr;
  oldest->next_ = nullptr;
  --size_;
  return oldest;
}

CompletionList CompletionList::take(std::size_t count) noexcept {
  CompletionList taken;
  if (count >= size_) {
    taken.swap(*this);
    return taken;
  }
  while (taken.size_ < count) taken.append(pop());
  return taken;
}

void CompletionList::clear() noexcept {
  while (pop() != nullptr) {
  }
}

void CompletionList::swap(CompletionList& other) noexcept {
  std::swap(first_, other.first_);
  std::swap(last_, other.last_);
  std::swap(size_, other.size_);
}

namespace {
thread_local WakeScope* scope = nullptr;
}  // namespace

WakeScope::WakeScope() noexcept { scope = this; }

WakeScope::~WakeScope() {
  scope = nullptr;
  for (const auto& queue : queues_) queue->wake_if_waiting();
}

bool CompletionQueue::put_off() noexcept {
  if (scope == nullptr) return false;
  try {
    scope->queues_.push_back(shared_from_this());
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

void CompletionQueue::wake_if_waiting() noexcept {
  const std::lock_guard lock(mutex_);
  if (!closed_ && !waiting_.empty()) wake();
}

Result<std::shared_ptr<CompletionQueue>> CompletionQueue::create() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) {
    return fail(Code::kIo, std::string("no eventfd for this loop: ") + std::strerror(errno) +
                               "; raise the limit of open files");
  }
  return std::shared_ptr<CompletionQueue>(new CompletionQueue(fd));
}

CompletionQueue::~CompletionQueue() { close(); }

void CompletionQueue::wake() noexcept {
  if (std::exchange(signalled_, true)) return;
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable anyway.
  [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
}

bool CompletionQueue::push(std::unique_ptr<Completion> done) noexcept {
  const std::lock_guard lock(mutex_);
  if (closed_) {
    ++dropped_;
    return false;
  }
  waiting_.append(std::move(done));
  if (waiting_.size() == 1 ? !put_off() : waiting_.size() == WakeScope::kMost) wake();
  return true;
}

// The descriptor is read only where the list is found empty, under the mutex that producers hold
// when they write: no wake-up is lost, and none is written for a reader who looks again anyway.
CompletionList CompletionQueue::drain() noexcept {
  const std::lock_guard lock(mutex_);
  if (closed_) return {};
  if (waiting_.empty() && std::exchange(signalled_, false)) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(fd_, &count, sizeof count);
  }
  return waiting_.take(kBatch);
}

void CompletionQueue::close() noexcept {
  CompletionList lost;  // destroyed outside the mutex
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  lost.swap(waiting_);
  dropped_ += lost.size();
  ::close(fd_);
  fd_ = -1;
}

void CompletionQueue::abandon_in_child() noexcept { ::close(std::exchange(fd_, -1)); }

std::uint64_t CompletionQueue::dropped() const noexcept {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

bool CompletionSlot::push(std::unique_ptr<Completion> done) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (filled_) return false;
    filled_ = true;
    done_ = std::move(done);
  }
  arrived_.notify_all();
  return true;
}

std::unique_ptr<Completion> CompletionSlot::wait_for(Duration slice) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, slice, [this] { return done_ != nullptr; });
  return std::move(done_);
}

}  // namespace dure::base
