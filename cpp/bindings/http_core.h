// bindings/http_core.h - the low-level HTTP client as Python sees it: one transport, whole replies
// and streams. The face is dure.aio.HttpClient.
#ifndef DURE_BINDINGS_HTTP_CORE_H_
#define DURE_BINDINGS_HTTP_CORE_H_

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/net/sse.h"
#include "dure/net/transport.h"
#include "loop_bridge.h"

namespace dure::bindings {

namespace py = pybind11;

// The pieces of a streamed reply between the I/O thread, which fills, and one reader, who takes.
// Above the high-water mark the server is held back. In the child of a fork it is the parent's:
// next(), wait() and head() throw kUnavailable at once. Thread-safe, but for those three.
class HttpStream final : public net::Handler, public std::enable_shared_from_this<HttpStream> {
 public:
  HttpStream(std::weak_ptr<net::Transport> transport, bool events);

  void on_head(int status, net::HeaderView headers) noexcept override;
  net::Flow on_body(std::span<const std::byte> part) noexcept override;
  void on_end(base::Status status, const net::Timing& timing) noexcept override;

  // These under the GIL. A DirectWait of the next piece: bytes, or an HttpEvent. Throws, or raises
  // where it is awaited: StopAsyncIteration at the end, the stream's failure once all that came
  // before it has been taken, kInvalidArgument while another task waits. REQUIRES: head() has given
  // the head.
  py::object next();
  // The next piece, if one is there by then, or as next(). For next().
  py::object arrived();
  // Awaited: until head() has something new to say.
  py::object wait();
  // (status, headers), or None while the head has not come. Throws the stream's failure.
  py::object head();
  void set_id(net::RequestId id) { id_ = id; }
  void cancel();

 private:
  struct Piece {
    std::string type, data, id;
  };
  // Null: nothing is there. Throws as next().
  py::object take();
  py::object to_python(const Piece& piece) const;
  [[nodiscard]] bool has_news() const DURE_REQUIRES(mutex_);
  void add(Piece piece) DURE_REQUIRES(mutex_);
  void wake() noexcept;
  py::object wait_for(std::unique_ptr<PyCompletion> done);
  // Throws kInvalidArgument while another task waits; forgets a wait that was cancelled.
  void require_no_reader();

  const std::weak_ptr<net::Transport> transport_;
  const ProcessMark mark_;
  const bool events_;
  std::atomic<net::RequestId> id_{0};  // set right after submit, read by the I/O thread
  std::mutex mutex_;
  std::optional<net::SseParser> parser_ DURE_GUARDED_BY(mutex_);
  std::vector<Piece> pieces_ DURE_GUARDED_BY(mutex_);
  std::size_t buffered_ DURE_GUARDED_BY(mutex_) = 0;
  bool paused_ DURE_GUARDED_BY(mutex_) = false;
  bool head_new_ DURE_GUARDED_BY(mutex_) = false;
  bool ended_ DURE_GUARDED_BY(mutex_) = false;
  base::Status failure_ DURE_GUARDED_BY(mutex_);
  int status_ DURE_GUARDED_BY(mutex_) = 0;
  net::HeaderLines headers_ DURE_GUARDED_BY(mutex_);
  Waiter waiter_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<PyCompletion> wake_ DURE_GUARDED_BY(mutex_);  // made beforehand, for waiter_
  std::weak_ptr<LoopBridge> bridge_;  // of the reader who waits, or waited last; under the GIL
  std::uint64_t ticket_ = 0;          // of that wait; likewise
  std::vector<Piece> taken_;          // by the reader, who has gone through some; under the GIL
  std::size_t at_ = 0;                // of those
};

void bind_http_core(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_HTTP_CORE_H_
