// bindings/http_upload.h - a request whose body Python hands over in parts.
#ifndef DURE_BINDINGS_HTTP_UPLOAD_H_
#define DURE_BINDINGS_HTTP_UPLOAD_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "dure/base/annotations.h"
#include "dure/net/transport.h"
#include "loop_bridge.h"

namespace dure::bindings {

namespace py = pybind11;

// The parts of a body between one writer and the I/O thread, which takes them. Thread-safe.
class BodyPipe final : public net::BodySource {
 public:
  static constexpr std::size_t kHighWater = 256U << 10U;  // bytes: above it the writer waits

  explicit BodyPipe(std::uint64_t size) : size_(size) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  std::size_t read(std::span<std::byte> room) noexcept override;
  void add(std::string part);
  [[nodiscard]] std::size_t buffered() const;
  // Completes `waiter` once there is room; at once if there is.
  void wait_for_room(const Waiter& waiter);

 private:
  const std::uint64_t size_;
  mutable std::mutex mutex_;
  std::deque<std::string> parts_ DURE_GUARDED_BY(mutex_);
  std::size_t taken_ DURE_GUARDED_BY(mutex_) = 0;  // of the first part
  std::size_t buffered_ DURE_GUARDED_BY(mutex_) = 0;
  Waiter waiter_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<WakeDone> wake_ DURE_GUARDED_BY(mutex_);  // made beforehand: read() cannot fail
};

// As Python holds it. All under the GIL.
class HttpUpload {
 public:
  HttpUpload(std::shared_ptr<net::Transport> transport, std::shared_ptr<BodyPipe> pipe)
      : transport_(std::move(transport)), pipe_(std::move(pipe)) {}
  ~HttpUpload();
  HttpUpload(const HttpUpload&) = delete;
  HttpUpload& operator=(const HttpUpload&) = delete;

  // Once, before the others.
  void begun(net::RequestId id, py::object future) noexcept {
    id_ = id;
    future_ = std::move(future);
  }
  // Hands over the next part; a future to wait for before the next one, or None.
  py::object feed(const py::bytes& part);
  void cancel() { transport_->cancel(id_); }
  [[nodiscard]] std::size_t buffered() const { return pipe_->buffered(); }
  [[nodiscard]] const py::object& future() const { return future_; }

 private:
  std::shared_ptr<net::Transport> transport_;
  const ProcessMark mark_;
  const std::shared_ptr<BodyPipe> pipe_;
  net::RequestId id_ = 0;
  py::object future_;  // of the reply
};

void bind_http_upload(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_HTTP_UPLOAD_H_
