// bindings/http_batch.h - many requests of one kind, and one who waits for all of them.
#ifndef DURE_BINDINGS_HTTP_BATCH_H_
#define DURE_BINDINGS_HTTP_BATCH_H_

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/net/transport.h"
#include "http_reply.h"
#include "loop_bridge.h"

namespace dure::bindings {

namespace py = pybind11;

// Sends `like` once with each body, at most `limit` under way; each is followed by the next on the
// I/O thread, without Python. In the child of a fork it is the parent's: wait() and take() throw
// kUnavailable. Thread-safe; what returns Python objects needs the GIL.
class HttpBatch final : public std::enable_shared_from_this<HttpBatch> {
 public:
  HttpBatch(std::shared_ptr<net::Transport> transport, net::Request like,
            std::vector<std::string> bodies, std::size_t limit);
  HttpBatch(const HttpBatch&) = delete;
  HttpBatch& operator=(const HttpBatch&) = delete;

  // Call once, first.
  void start() { fill(); }
  // Awaited, once: until every request has ended.
  [[nodiscard]] py::object wait();
  // Replies and exceptions in the order of the bodies. REQUIRES: wait() has come to its end.
  [[nodiscard]] py::list take();
  // What is under way ends soon, what is not is never sent.
  void cancel();

 private:
  static constexpr net::RequestId kEnded = ~net::RequestId{0};
  class Slot;
  struct Result {
    base::Status status;
    HttpReply reply;
  };
  void fill();
  // False: nothing may be sent now, and this was the last look.
  bool send_next();
  void send(std::size_t index);
  void ended(std::size_t index, Result result) noexcept;

  const std::shared_ptr<net::Transport> transport_;
  const net::Request like_;
  const std::size_t limit_;
  const ProcessMark mark_;
  std::mutex mutex_;
  std::vector<std::string> bodies_ DURE_GUARDED_BY(mutex_);
  std::vector<Result> results_ DURE_GUARDED_BY(mutex_);
  std::vector<net::RequestId> ids_ DURE_GUARDED_BY(mutex_);  // zero: not sent yet
  std::size_t next_ DURE_GUARDED_BY(mutex_) = 0;
  std::size_t running_ DURE_GUARDED_BY(mutex_) = 0;
  std::size_t done_ DURE_GUARDED_BY(mutex_) = 0;
  bool filling_ DURE_GUARDED_BY(mutex_) = false;
  bool cancelled_ DURE_GUARDED_BY(mutex_) = false;
  Waiter waiter_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<WakeDone> wake_ DURE_GUARDED_BY(mutex_);  // made beforehand
};

void bind_http_batch(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_HTTP_BATCH_H_
