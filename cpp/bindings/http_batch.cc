#include "http_batch.h"

#include <new>
#include <utility>

#include "gil.h"
#include "held.h"
#include "status.h"

namespace dure::bindings {

// One request of the batch, on the I/O thread.
class HttpBatch::Slot final : public net::Handler {
 public:
  Slot(std::shared_ptr<HttpBatch> batch, std::size_t index)
      : batch_(std::move(batch)), index_(index) {}
  void on_head(int status, net::HeaderView headers) noexcept override {
    guarded([&] {
      result_.reply.status = status;
      result_.reply.headers = headers.lines();
    });
  }
  net::Flow on_body(std::span<const std::byte> part) noexcept override {
    guarded([&] {
      result_.reply.content.append(reinterpret_cast<const char*>(part.data()), part.size());
    });
    return net::Flow::kGo;
  }
  void on_end(base::Status status, const net::Timing& timing) noexcept override {
    result_.reply.timing = timing;
    if (!status.ok()) result_.status = std::move(status);
    batch_->ended(index_, std::move(result_));
    batch_->fill();
  }

 private:
  template <typename Step>
  void guarded(Step step) noexcept {
    try {
      step();
    } catch (...) {
      result_.status = {base::Code::kOutOfMemory, "no memory"};
    }
  }

  const std::shared_ptr<HttpBatch> batch_;
  const std::size_t index_;
  Result result_;
};

HttpBatch::HttpBatch(std::shared_ptr<net::Transport> transport, net::Request like,
                     std::vector<std::string> bodies, std::size_t limit)
    : transport_(std::move(transport)),
      like_(std::move(like)),
      limit_(limit),
      bodies_(std::move(bodies)),
      results_(bodies_.size()),
      ids_(bodies_.size()),
      wake_(std::make_unique<WakeDone>()) {}

// A request that ends while it is submitted asks for the next one: whoever fills already sends it.
void HttpBatch::fill() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(filling_, true)) return;
  }
  while (send_next()) {
  }
}

bool HttpBatch::send_next() {
  std::size_t index = 0;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    if (next_ == bodies_.size() || running_ >= limit_) return filling_ = false;
    index = next_++;
    ++running_;
    cancelled = cancelled_;
  }
  try {
    if (!cancelled) {
      send(index);
    } else {
      ended(index, {{base::Code::kCancelled, "cancelled"}, {}});
    }
  } catch (const std::bad_alloc&) {
    ended(index, {{base::Code::kOutOfMemory, "no memory"}, {}});
  }
  return true;
}

void HttpBatch::send(std::size_t index) {
  net::Request request = like_;
  const auto slot = std::make_shared<Slot>(shared_from_this(), index);
  {
    const std::lock_guard lock(mutex_);
    request.body = std::move(bodies_[index]);
  }
  const net::RequestId id = transport_->submit(std::move(request), slot);
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    if (ids_[index] != kEnded) ids_[index] = id;
    stop = cancelled_;
  }
  if (stop) transport_->cancel(id);
}

void HttpBatch::ended(std::size_t index, Result result) noexcept {
  Waiter waiter;
  std::unique_ptr<WakeDone> wake;
  {
    const std::lock_guard lock(mutex_);
    results_[index] = std::move(result);
    ids_[index] = kEnded;
    --running_;
    if (++done_ < results_.size() || !waiter_) return;
    waiter = std::exchange(waiter_, Waiter());
    wake = std::move(wake_);
  }
  waiter.complete(std::move(wake));
}

py::object HttpBatch::wait() {
  mark_.require_own();
  auto [future, waiter] = LoopBridge::current().make_wait();
  std::unique_ptr<WakeDone> wake;
  {
    const std::lock_guard lock(mutex_);
    if (done_ == results_.size()) {
      wake = std::move(wake_);
    } else {
      waiter_ = waiter;
    }
  }
  if (wake != nullptr) waiter.complete(std::move(wake));
  return future;
}

py::list HttpBatch::take() {
  mark_.require_own();
  std::vector<Result> results;
  {
    const std::lock_guard lock(mutex_);
    results = std::move(results_);
  }
  py::list list(results.size());
  for (std::size_t at = 0; at < results.size(); ++at) {
    Result& result = results[at];
    if (result.status.code() == base::Code::kTruncated) {
      (void)std::move(result.status).with("text", std::move(result.reply.content));
    }
    list[at] =
        result.status.ok() ? to_python(std::move(result.reply)) : to_exception(result.status);
  }
  return list;
}

void HttpBatch::cancel() {
  if (mark_.inherited()) return;
  std::vector<net::RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (const net::RequestId id : ids_) {
      if (id != 0 && id != kEnded) ids.push_back(id);
    }
  }
  for (const net::RequestId id : ids) transport_->cancel(id);
}

namespace {

PyObject* call_wait(PyObject* self, PyObject*) {
  return as_python([self] { return Held<HttpBatch>::of(self).wait(); });
}
PyObject* call_take(PyObject* self, PyObject*) {
  return as_python([self] { return Held<HttpBatch>::of(self).take(); });
}
PyObject* call_cancel(PyObject* self, PyObject*) {
  return as_python([self] {
    without_gil([&] { Held<HttpBatch>::of(self).cancel(); });
    return py::none();
  });
}

PyMethodDef methods[] = {{"wait", &call_wait, METH_NOARGS, nullptr},
                         {"take", &call_take, METH_NOARGS, nullptr},
                         {"cancel", &call_cancel, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&Held<HttpBatch>::dealloc)},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("Many requests under way.")},
                       {0, nullptr}};

}  // namespace

void bind_http_batch(py::module_& room) { Held<HttpBatch>::bind(room, "HttpBatch", slots); }

}  // namespace dure::bindings
