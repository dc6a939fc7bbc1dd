#include "fake_transport.h"

#include <optional>
#include <utility>

namespace dure::testing {

struct FakeTransport::Transfer {
  std::shared_ptr<net::Handler> handler;
  std::optional<FakeReply> reply;
  std::size_t next_part = 0;
  bool began = false;
  bool paused = false;
  bool cancelled = false;
  net::Timing timing;
};

// One thing to do outside the lock.
struct FakeTransport::Step {
  std::shared_ptr<net::Work> work;
  std::shared_ptr<Transfer> transfer;
  bool ends = false;
};

FakeTransport::~FakeTransport() { stop({}); }

void FakeTransport::reply(FakeReply reply) {
  const std::lock_guard lock(mutex_);
  for (auto& [id, transfer] : transfers_) {
    if (!transfer->reply) {
      transfer->reply = std::move(reply);
      return;
    }
  }
  replies_.push_back(std::move(reply));
}

std::size_t FakeTransport::pump() { return drain(); }

std::vector<net::Request> FakeTransport::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::vector<base::Instant> FakeTransport::times() const {
  const std::lock_guard lock(mutex_);
  return times_;
}

std::size_t FakeTransport::open() const {
  const std::lock_guard lock(mutex_);
  return transfers_.size();
}

std::optional<base::Instant> FakeTransport::next_at() const {
  const std::lock_guard lock(mutex_);
  return work_.empty() ? std::nullopt : std::optional(work_.begin()->first);
}

net::RequestId FakeTransport::submit(net::Request request, std::shared_ptr<net::Handler> handler) {
  net::RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = ++last_id_;
    requests_.push_back(std::move(request));
    times_.push_back(clock_.now());
    auto transfer = std::make_shared<Transfer>();
    transfer->handler = std::move(handler);
    transfer->timing.submitted = clock_.now();
    if (!replies_.empty()) {
      transfer->reply = std::move(replies_.front());
      replies_.pop_front();
    }
    transfers_.emplace(id, std::move(transfer));
  }
  (void)drain();
  return id;
}

void FakeTransport::cancel(net::RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    found->second->cancelled = true;
  }
  (void)drain();
}

void FakeTransport::resume(net::RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    found->second->paused = false;
  }
  (void)drain();
}

void FakeTransport::run_at(base::Instant at, std::shared_ptr<net::Work> work) {
  {
    const std::lock_guard lock(mutex_);
    if (!stopped_) work_.emplace(at, std::move(work));
  }
  work.reset();  // outside the lock: dropped work may call back
  (void)drain();
}

bool FakeTransport::stop(base::Duration /*limit*/) {
  decltype(work_) work;
  decltype(transfers_) transfers;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    work.swap(work_);
    transfers.swap(transfers_);
  }
  for (auto& [id, transfer] : transfers) {
    transfer->handler->on_end(base::Status(base::Code::kUnavailable, "the transport stopped"),
                              transfer->timing);
  }
  return true;
}

bool FakeTransport::take_step(Step& step) {
  const base::Instant now = clock_.now();
  if (!work_.empty() && work_.begin()->first <= now) {
    step.work = std::move(work_.begin()->second);
    work_.erase(work_.begin());
    return true;
  }
  for (auto it = transfers_.begin(); it != transfers_.end(); ++it) {
    Transfer& transfer = *it->second;
    const bool over = transfer.reply && transfer.began && !transfer.reply->hang &&
                      transfer.next_part == transfer.reply->parts.size();
    const bool hangs = !transfer.reply || (transfer.began && transfer.reply->hang &&
                                           transfer.next_part == transfer.reply->parts.size());
    if (!transfer.cancelled && (hangs || transfer.paused)) continue;
    step.transfer = it->second;
    step.ends = over || transfer.cancelled;
    if (step.ends) transfers_.erase(it);
    return true;
  }
  return false;
}

void FakeTransport::play(Step& step, base::Instant now) {
  if (step.work != nullptr) return step.work->run();
  Transfer& transfer = *step.transfer;
  if (step.ends) {
    transfer.timing.ended = now;
    transfer.timing.reused_connection = !transfer.cancelled && transfer.reply->reused;
    base::Status end = transfer.cancelled ? base::Status(base::Code::kCancelled, "cancelled")
                                          : transfer.reply->end;
    return transfer.handler->on_end(std::move(end), transfer.timing);
  }
  if (!transfer.began) {
    transfer.began = true;
    if (transfer.reply->sent) transfer.handler->on_sent();
    if (transfer.reply->sent) transfer.timing.sent = now;
    if (transfer.reply->status != 0) {
      transfer.handler->on_head(transfer.reply->status, net::HeaderView(transfer.reply->headers));
    }
    return;
  }
  const std::string& part = transfer.reply->parts[transfer.next_part++];
  if (transfer.handler->on_body(std::as_bytes(std::span(part))) == net::Flow::kPause) {
    transfer.paused = true;
  }
}

std::size_t FakeTransport::drain() {
  std::size_t ran = 0;
  {
    const std::lock_guard lock(mutex_);
    if (running_) return 0;
    running_ = true;
  }
  while (true) {
    Step step;
    {
      const std::lock_guard lock(mutex_);
      if (!take_step(step)) {
        running_ = false;
        return ran;
      }
    }
    play(step, clock_.now());
    ++ran;
  }
}

}  // namespace dure::testing
