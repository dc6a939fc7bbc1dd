#include "http_upload.h"

#include <algorithm>
#include <cstring>

#include "gil.h"
#include "held.h"

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

namespace {

PyObject* call_feed(PyObject* self, PyObject* part) {
  return as_python([self, part] {
    if (!PyBytes_Check(part)) throw py::type_error("a part must be bytes");
    return Held<HttpUpload>::of(self).feed(py::reinterpret_borrow<py::bytes>(part));
  });
}
PyObject* call_cancel(PyObject* self, PyObject*) {
  return as_python([self] {
    Held<HttpUpload>::of(self).cancel();
    return py::none();
  });
}
PyObject* get_future(PyObject* self, void*) {
  return Py_NewRef(Held<HttpUpload>::of(self).future().ptr());
}
PyObject* get_buffered(PyObject* self, void*) {
  return PyLong_FromSize_t(Held<HttpUpload>::of(self).buffered());
}

PyMethodDef methods[] = {{"feed", &call_feed, METH_O, nullptr},
                         {"cancel", &call_cancel, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyGetSetDef properties[] = {{"future", &get_future, nullptr, nullptr, nullptr},
                            {"buffered", &get_buffered, nullptr, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(&Held<HttpUpload>::dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_doc, const_cast<char*>("A request whose body is handed over in parts.")},
    {0, nullptr}};

}  // namespace

void bind_http_upload(py::module_& room) { Held<HttpUpload>::bind(room, "HttpUpload", slots); }

}  // namespace dure::bindings
