#include "dure/fanout/batch.h"

#include <algorithm>
#include <utility>

namespace dure::fanout {

// Hears one call and puts what became of it in its place.
class Batch::Slot final : public client::Observer {
 public:
  Slot(std::shared_ptr<Batch> batch, std::size_t index) : batch_(std::move(batch)), index_(index) {}
  net::Flow on_event(std::string_view /*json*/) noexcept override { return net::Flow::kGo; }
  void on_done(client::Outcome outcome) noexcept override {
    batch_->end(index_, std::move(outcome));
    batch_->fill();
  }

 private:
  const std::shared_ptr<Batch> batch_;
  const std::size_t index_;
};

Batch::Batch(std::shared_ptr<client::Client> client, std::vector<Item> items, std::size_t limit,
             std::function<void()> on_done)
    : client_(std::move(client)),
      total_(items.size()),
      limit_(std::max<std::size_t>(1, limit)),
      on_done_(std::move(on_done)),
      items_(std::move(items)),
      outcomes_(total_),
      calls_(total_),
      ended_(total_) {}

std::shared_ptr<Batch> Batch::start(std::shared_ptr<client::Client> client, std::vector<Item> items,
                                    std::size_t limit, std::function<void()> on_done) {
  std::shared_ptr<Batch> batch(
      new Batch(std::move(client), std::move(items), limit, std::move(on_done)));
  if (batch->total_ == 0) {
    batch->on_done_();
  } else {
    batch->fill();
  }
  return batch;
}

std::size_t Batch::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

// Starts what may start now. Calls and callbacks happen outside the lock.
// A call that ends while it is started asks for the next one: the loop that runs already takes it.
void Batch::fill() {
  thread_local const Batch* filling = nullptr;
  if (filling == this) return;
  const Batch* const outer = std::exchange(filling, this);
  while (start_next()) {
  }
  filling = outer;
}

// False: nothing may be started now.
bool Batch::start_next() {
  std::size_t index = 0;
  Item item;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    if (next_ == total_ || running_ >= limit_) return false;
    index = next_++;
    item = std::move(items_[index]);
    cancelled = cancelled_;
    ++running_;
  }
  if (cancelled) item.refused = base::Status(base::Code::kCancelled, "cancelled");
  if (!item.refused.ok()) {
    client::Outcome outcome;
    outcome.status = std::move(item.refused);
    end(index, std::move(outcome));
    return true;
  }
  item.plan.whole = true;
  auto call =
      client_->start(std::move(item.plan), std::make_shared<Slot>(shared_from_this(), index));
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    if (!ended_[index]) calls_[index] = call;
    stop = cancelled_;
  }
  if (stop) call->cancel();
  return true;
}

void Batch::end(std::size_t index, client::Outcome outcome) {
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    outcomes_[index] = std::move(outcome);
    ended_[index] = true;
    calls_[index].reset();
    --running_;
    last = ++done_ == total_;
  }
  if (last) on_done_();
}

void Batch::cancel() {
  std::vector<std::shared_ptr<client::Call>> running;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (const auto& call : calls_) {
      if (call != nullptr) running.push_back(call);
    }
  }
  for (const auto& call : running) call->cancel();
}

std::vector<client::Outcome> Batch::take() {
  const std::lock_guard lock(mutex_);
  return std::move(outcomes_);
}

}  // namespace dure::fanout
