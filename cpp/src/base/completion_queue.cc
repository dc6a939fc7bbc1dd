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

// An eventfd.
class CompletionQueue::Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int fd() const noexcept { return fd_; }
  void wake() const noexcept {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the descriptor is readable anyway.
    [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
  }

 private:
  const int fd_;
};

int CompletionQueue::fd() const noexcept { return descriptor_ == nullptr ? -1 : descriptor_->fd(); }

void CompletionQueue::wake_if_waiting() noexcept {
  std::shared_ptr<const Descriptor> reader;
  {
    const std::lock_guard lock(mutex_);
    if (!closed_ && !waiting_.empty()) reader = to_wake();
  }
  if (reader != nullptr) reader->wake();
}

Result<std::shared_ptr<CompletionQueue>> CompletionQueue::create() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) {
    return fail(Code::kIo, std::string("no eventfd for this loop: ") + std::strerror(errno) +
                               "; raise the limit of open files");
  }
  return std::shared_ptr<CompletionQueue>(
      new CompletionQueue(std::make_shared<const Descriptor>(fd)));
}

CompletionQueue::~CompletionQueue() { close(); }

std::shared_ptr<const CompletionQueue::Descriptor> CompletionQueue::to_wake() noexcept {
  return std::exchange(signalled_, true) ? nullptr : descriptor_;
}

bool CompletionQueue::push(std::unique_ptr<Completion> done) noexcept {
  std::shared_ptr<const Descriptor> reader;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      ++dropped_;
      return false;
    }
    waiting_.append(std::move(done));
    const std::size_t size = waiting_.size();
    if (size == 1 ? !put_off() : size == WakeScope::kMost) reader = to_wake();
  }
  if (reader != nullptr) reader->wake();
  return true;
}

// The descriptor is read only where the list is found empty: no wake-up is lost, and none is
// written for a reader who looks again anyway. A producer that has yet to write what it announced
// makes the reader look once for nothing.
CompletionList CompletionQueue::drain() noexcept {
  const std::lock_guard lock(mutex_);
  if (closed_) return {};
  if (waiting_.empty()) {
    signalled_ = false;
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(descriptor_->fd(), &count, sizeof count);
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
  descriptor_ = nullptr;
}

void CompletionQueue::abandon_in_child() noexcept { ::close(fd()); }

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
