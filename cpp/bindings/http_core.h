// bindings/http_core.h - the low-level HTTP client as Python sees it: one transport, whole replies
// and streams. The face is dure.aio.HttpClient.
#ifndef DURE_BINDINGS_HTTP_CORE_H_
#define DURE_BINDINGS_HTTP_CORE_H_

#include <pybind11/pybind11.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "dure/base/annotations.h"
#include "dure/net/sse.h"
#include "dure/net/transport.h"
#include "loop_bridge.h"

namespace dure::bindings {

namespace py = pybind11;

// The pieces of a streamed reply between the I/O thread, which fills, and one reader, who takes.
// Above the high-water mark the server is held back. In the child of a fork it is the parent's:
// take(), wait(), next() and head() throw kUnavailable at once. Thread-safe.
class HttpStream final : public net::Handler, public std::enable_shared_from_this<HttpStream> {
 public:
  HttpStream(std::weak_ptr<net::Transport> transport, bool events);

  void on_head(int status, net::HeaderView headers) noexcept override;
  net::Flow on_body(std::span<const std::byte> part) noexcept override;
  void on_end(base::Status status, const net::Timing& timing) noexcept override;

  // Under the GIL. What has come since the last call, never waiting: a list, or None at the end of
  // the stream. Throws the stream's failure once all that came before it has been taken.
  py::object take();
  // Awaited: until take() or head() has something new to say.
  py::object wait();
  // Awaited: what take() says then; an empty list if it was the head that came.
  py::object next();
  // (status, headers), or None while the head has not come. Throws like take().
  py::object head();
  void set_id(net::RequestId id) { id_ = id; }
  void cancel();

 private:
  struct Piece {
    std::string type, data, id;
  };
  [[nodiscard]] bool has_news() const DURE_REQUIRES(mutex_);
  void add(Piece piece) DURE_REQUIRES(mutex_);
  void wake() noexcept;
  py::object wait_for(std::unique_ptr<PyCompletion> done);

  const std::weak_ptr<net::Transport> transport_;
  const ProcessMark mark_;
  const bool events_;
  std::atomic<net::RequestId> id_{0};  // set right after submit, read by the I/O thread
  std::mutex mutex_;
  std::optional<net::SseParser> parser_ DURE_GUARDED_BY(mutex_);
  std::deque<Piece> pieces_ DURE_GUARDED_BY(mutex_);
  std::size_t buffered_ DURE_GUARDED_BY(mutex_) = 0;
  bool paused_ DURE_GUARDED_BY(mutex_) = false;
  bool head_new_ DURE_GUARDED_BY(mutex_) = false;
  bool ended_ DURE_GUARDED_BY(mutex_) = false;
  base::Status failure_ DURE_GUARDED_BY(mutex_);
  int status_ DURE_GUARDED_BY(mutex_) = 0;
  net::HeaderLines headers_ DURE_GUARDED_BY(mutex_);
  Waiter waiter_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<PyCompletion> wake_ DURE_GUARDED_BY(mutex_);  // made beforehand, for waiter_
};

void bind_http_core(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_HTTP_CORE_H_
