#include "dure/client/events.h"

#include <iterator>
#include <utility>

namespace dure::client {

void CallEvents::keep(std::size_t events) {
  const std::lock_guard lock(mutex_);
  most_ = events;
  while (waiting_.size() > events) {
    waiting_.pop_front();
    ++dropped_;
  }
}

void CallEvents::add(CallEvent event) {
  const std::lock_guard lock(mutex_);
  const std::size_t most = most_;
  if (most == 0) return;
  if (waiting_.size() >= most) {
    waiting_.pop_front();
    ++dropped_;
  }
  waiting_.push_back(std::move(event));
}

std::vector<CallEvent> CallEvents::take() {
  const std::lock_guard lock(mutex_);
  std::vector<CallEvent> taken(std::make_move_iterator(waiting_.begin()),
                               std::make_move_iterator(waiting_.end()));
  waiting_.clear();
  return taken;
}

std::uint64_t CallEvents::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace dure::client
