// bindings/call_objects.h - what Python holds of a call: a reply, a running call, a stream, a
// batch. Private to bind_client.
#ifndef DURE_BINDINGS_CALL_OBJECTS_H_
#define DURE_BINDINGS_CALL_OBJECTS_H_

#include <pybind11/pybind11.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dure/client/client.h"
#include "dure/fanout/batch.h"
#include "loop_bridge.h"

namespace dure::bindings {

namespace py = pybind11;

// REQUIRES: the GIL is held. The exception for a call's status; `.body` and `.usage` parsed.
py::object call_error(const base::Status& status);
[[noreturn]] void throw_call_error(const base::Status& status);

// Completes a Waiter with the outcome of a buffered call.
class ReplyObserver final : public client::Observer {
 public:
  explicit ReplyObserver(Waiter waiter) : waiter_(std::move(waiter)) {}
  net::Flow on_event(std::string_view json) noexcept override;
  void on_done(client::Outcome outcome) noexcept override;

 private:
  const Waiter waiter_;
};

// The ring between the I/O thread and one reader. Thread-safe.
class StreamRing final : public client::Observer {
 public:
  static constexpr std::size_t kHighWater = 256U << 10U;  // bytes

  void on_head(int status, const net::HeaderLines& headers) noexcept override;
  net::Flow on_event(std::string_view json) noexcept override;
  void on_done(client::Outcome outcome) noexcept override;

  // Wakes `waiter` when a head that nobody took, or a piece is there, or the stream has ended; at
  // once if so already.
  void wait(const Waiter& waiter);
  struct Taken {
    std::deque<std::string> pieces;
    bool ended = false;
    bool resume = false;  // the producer was paused: call Call::resume
  };
  [[nodiscard]] Taken take();
  struct Head {
    int status = 0;
    net::HeaderLines headers;
  };
  // Of a raw call; nullopt: none has come.
  [[nodiscard]] std::optional<Head> head() const;
  // REQUIRES: take() said ended.
  [[nodiscard]] const client::Outcome& outcome() const { return outcome_; }
  [[nodiscard]] bool ended() const;

 private:
  void wake(Waiter waiter) noexcept;

  mutable std::mutex mutex_;
  std::deque<std::string> pieces_ DURE_GUARDED_BY(mutex_);
  std::size_t bytes_ DURE_GUARDED_BY(mutex_) = 0;
  bool paused_ DURE_GUARDED_BY(mutex_) = false;
  bool ended_ DURE_GUARDED_BY(mutex_) = false;
  bool head_is_new_ DURE_GUARDED_BY(mutex_) = false;
  std::optional<Head> head_ DURE_GUARDED_BY(mutex_);
  Waiter waiter_ DURE_GUARDED_BY(mutex_);
  client::Outcome outcome_;  // written before ended_
};

// A stream as Python holds it; dropping it cancels what still runs. In the child of a fork it is
// the parent's: reading raises UnavailableError at once, and nothing else of it is touched. All
// under the GIL.
class Stream {
 public:
  Stream(std::shared_ptr<StreamRing> ring, std::shared_ptr<client::Call> call)
      : ring_(std::move(ring)), call_(std::move(call)) {}
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // A future that is done once take() has something to say.
  [[nodiscard]] py::object wait_async();
  void wait_sync();
  // The pieces that are there, as bytes. Raises what ended the stream once they are all taken.
  [[nodiscard]] py::list take();
  [[nodiscard]] bool ended() const { return ended_; }
  // None until the stream has ended.
  [[nodiscard]] py::object reply() const;
  // (status, headers) of a raw call's success; None before it came.
  [[nodiscard]] py::object head() const;
  void cancel();
  // Cancels because the client was closed: a reader who still comes is told so.
  void abandon();

 private:
  [[noreturn]] void throw_end() const;

  std::shared_ptr<StreamRing> ring_;
  std::shared_ptr<client::Call> call_;
  const ProcessMark mark_;
  bool ended_ = false;
  bool abandoned_ = false;
};

// A batch as Python holds it; dropping it cancels what still runs. After a fork as a Stream. All
// under the GIL.
class BatchHandle {
 public:
  BatchHandle(std::shared_ptr<client::Client> client, std::vector<fanout::Item> items,
              std::size_t limit);
  ~BatchHandle();
  BatchHandle(const BatchHandle&) = delete;
  BatchHandle& operator=(const BatchHandle&) = delete;

  [[nodiscard]] std::size_t total() const { return batch_->total(); }
  [[nodiscard]] std::size_t done() const { return batch_->done(); }
  // A future that is done when the batch is. Call once, or wait_sync.
  [[nodiscard]] py::object wait_async();
  // Waits at most `seconds`; True if the batch is finished. Raises on signals.
  [[nodiscard]] bool wait_sync(double seconds);
  // Replies and exceptions in the order of the requests.
  [[nodiscard]] py::list take();
  void cancel();

 private:
  struct Gate;  // says when the batch is finished
  std::shared_ptr<Gate> gate_;
  std::shared_ptr<fanout::Batch> batch_;
  const ProcessMark mark_;
};

void bind_call_objects(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_CALL_OBJECTS_H_
