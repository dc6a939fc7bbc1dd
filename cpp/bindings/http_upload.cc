#include "http_upload.h"

#include <algorithm>
#include <cstring>

#include "gil.h"

namespace dure::bindings {

std::size_t BodyPipe::read(std::span<std::byte> room) noexcept {
  std::size_t count = 0;
  Waiter waiter;
  std::unique_ptr<WakeDone> wake;
  {
    const std::lock_guard lock(mutex_);
    while (count < room.size() && !parts_.empty()) {
      const std::string& first = parts_.front();
      const std::size_t size = std::min(room.size() - count, first.size() - taken_);
      std::memcpy(room.data() + count, first.data() + taken_, size);
      count += size;
      taken_ += size;
      if (taken_ < first.size()) break;
      parts_.pop_front();
      taken_ = 0;
    }
    buffered_ -= count;
    if (waiter_ && buffered_ <= kHighWater) {
      waiter = std::exchange(waiter_, Waiter());
      wake = std::move(wake_);
    }
  }
  if (waiter) waiter.complete(std::move(wake));
  return count;
}

void BodyPipe::add(std::string part) {
  if (part.empty()) return;
  const std::lock_guard lock(mutex_);
  const std::size_t size = part.size();
  parts_.push_back(std::move(part));
  buffered_ += size;
}

std::size_t BodyPipe::buffered() const {
  const std::lock_guard lock(mutex_);
  return buffered_;
}

void BodyPipe::wait_for_room(const Waiter& waiter) {
  auto wake = std::make_unique<WakeDone>();
  {
    const std::lock_guard lock(mutex_);
    if (buffered_ > kHighWater) {
      waiter_ = waiter;
      wake_ = std::move(wake);
      return;
    }
  }
  waiter.complete(std::move(wake));
}

HttpUpload::~HttpUpload() {
  without_gil([this] { transport_.reset(); });  // the last one joins its thread
}

py::object HttpUpload::feed(const py::bytes& part) {
  mark_.require_own();
  pipe_->add(std::string(std::string_view(part)));
  transport_->resume(id_);
  if (pipe_->buffered() <= BodyPipe::kHighWater) return py::none();
  auto [future, waiter] = LoopBridge::current().make_future();
  pipe_->wait_for_room(waiter);
  return future;
}

void bind_http_upload(py::module_& room) {
  py::class_<HttpUpload, std::unique_ptr<HttpUpload>>(
      room, "HttpUpload", "A request whose body is handed over in parts.")
      .def("feed", &HttpUpload::feed, py::arg("part"))
      .def("cancel", &HttpUpload::cancel)
      .def_property_readonly("future", &HttpUpload::future)
      .def_property_readonly("buffered", &HttpUpload::buffered);
}

}  // namespace dure::bindings
