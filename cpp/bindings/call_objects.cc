#include "call_objects.h"

#include <pybind11/stl.h>

#include <chrono>
#include <condition_variable>

#include "gil.h"
#include "http_reply.h"
#include "request_writer.h"
#include "status.h"

namespace dure::bindings {
namespace {

class ReplyDone final : public PyCompletion {
 public:
  explicit ReplyDone(client::Outcome outcome) : outcome_(std::move(outcome)) {}
  py::object make_result() override {
    if (!outcome_.status.ok()) throw_call_error(outcome_.status);
    return py::cast(std::move(outcome_));
  }

 private:
  client::Outcome outcome_;
};

double seconds(base::Duration duration) { return static_cast<double>(duration.count()) * 1e-9; }

// Replaces an attribute that holds JSON text by its value, if it is JSON.
void parse_attribute(const py::object& error, const base::Status& status, const char* name) {
  const auto* detail = status.detail(name);
  const auto* text = detail != nullptr ? std::get_if<std::string>(detail) : nullptr;
  if (text == nullptr) return;
  try {
    error.attr(name) = read_json(*text);
  } catch (const StatusException&) {  // no JSON: the text stays
    return;
  }
}

// The parent of a fork goes on with it: the child never takes it apart.
template <typename T>
void leave_to_parent(std::shared_ptr<T>& shared) {
  new std::shared_ptr<T>(std::move(shared));
}

py::bytes as_bytes(const std::string& text) { return py::bytes(text.data(), text.size()); }

}  // namespace

py::object call_error(const base::Status& status) {
  const py::object error = to_exception(status);
  parse_attribute(error, status, "body");
  parse_attribute(error, status, "usage");
  return error;
}

void throw_call_error(const base::Status& status) {
  if (status.code() == base::Code::kCancelled) throw StatusException(status);
  const py::object error = call_error(status);
  PyErr_SetObject(py::type::of(error).ptr(), error.ptr());
  throw py::error_already_set();
}

net::Flow ReplyObserver::on_event(std::string_view /*json*/) noexcept { return net::Flow::kGo; }

void ReplyObserver::on_done(client::Outcome outcome) noexcept {
  waiter_.complete(std::make_unique<ReplyDone>(std::move(outcome)));
}

void StreamRing::on_head(int status, const net::HeaderLines& headers) noexcept {
  Waiter waiter;
  {
    const std::lock_guard lock(mutex_);
    head_ = Head{status, headers};
    head_is_new_ = true;
    waiter = std::exchange(waiter_, {});
  }
  wake(std::move(waiter));
}

std::optional<StreamRing::Head> StreamRing::head() const {
  const std::lock_guard lock(mutex_);
  return head_;
}

net::Flow StreamRing::on_event(std::string_view json) noexcept {
  Waiter waiter;
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    pieces_.emplace_back(json);
    bytes_ += json.size();
    full = paused_ = bytes_ > kHighWater;
    waiter = std::exchange(waiter_, {});
  }
  wake(std::move(waiter));
  return full ? net::Flow::kPause : net::Flow::kGo;
}

void StreamRing::on_done(client::Outcome outcome) noexcept {
  Waiter waiter;
  {
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
    ended_ = true;
    waiter = std::exchange(waiter_, {});
  }
  wake(std::move(waiter));
}

void StreamRing::wake(Waiter waiter) noexcept {
  if (waiter) waiter.complete(std::make_unique<WakeDone>());
}

void StreamRing::wait(const Waiter& waiter) {
  {
    const std::lock_guard lock(mutex_);
    if (pieces_.empty() && !ended_ && !head_is_new_) {
      waiter_ = waiter;
      return;
    }
  }
  wake(waiter);
}

StreamRing::Taken StreamRing::take() {
  const std::lock_guard lock(mutex_);
  Taken taken;
  taken.pieces.swap(pieces_);
  taken.ended = ended_;
  head_is_new_ = false;
  taken.resume = std::exchange(paused_, false);
  bytes_ = 0;
  return taken;
}

bool StreamRing::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

Stream::~Stream() {
  cancel();
  if (!mark_.inherited()) return;
  leave_to_parent(ring_);
  leave_to_parent(call_);
}

py::object Stream::wait_async() {
  mark_.require_own();
  auto [future, waiter] = LoopBridge::current().make_wait();
  ring_->wait(waiter);
  return future;
}

void Stream::wait_sync() {
  mark_.require_own();
  SyncWait wait;
  ring_->wait(wait.waiter());
  wait.get([this] { cancel(); });
}

py::list Stream::take() {
  mark_.require_own();
  StreamRing::Taken taken = ring_->take();
  if (taken.resume) without_gil([this] { call_->resume(); });
  py::list out;
  for (const std::string& piece : taken.pieces) out.append(as_bytes(piece));
  if (taken.ended && taken.pieces.empty()) {
    ended_ = true;
    if (!ring_->outcome().status.ok()) throw_end();
  }
  return out;
}

void Stream::throw_end() const {
  const base::Status& status = ring_->outcome().status;
  if (!abandoned_ || status.code() != base::Code::kCancelled) throw_call_error(status);
  throw_call_error(base::Status(base::Code::kUnavailable,
                                "the client was closed before this stream was read to its end; "
                                "what had come of it is settled: keep the client open as long as "
                                "its streams are read")
                       .with("stage", std::string("closed")));
}

py::object Stream::reply() const {
  return !mark_.inherited() && ring_->ended() ? py::cast(ring_->outcome()) : py::none();
}

py::object Stream::head() const {
  if (mark_.inherited()) return py::none();
  const auto head = ring_->head();
  if (!head) return py::none();
  return py::make_tuple(head->status, header_list(head->headers));
}

void Stream::cancel() {
  if (mark_.inherited() || ring_->ended()) return;
  without_gil([this] { call_->cancel(); });
}

void Stream::abandon() {
  if (mark_.inherited() || ring_->ended()) return;
  abandoned_ = true;
  cancel();
}

struct BatchHandle::Gate {
  std::mutex mutex;
  std::condition_variable opened;
  bool open DURE_GUARDED_BY(mutex) = false;
  Waiter waiter DURE_GUARDED_BY(mutex);

  void release() noexcept {
    Waiter woken;
    {
      const std::lock_guard lock(mutex);
      open = true;
      woken = std::exchange(waiter, {});
    }
    opened.notify_all();
    if (woken) woken.complete(std::make_unique<WakeDone>());
  }
};

BatchHandle::BatchHandle(std::shared_ptr<client::Client> client, std::vector<fanout::Item> items,
                         std::size_t limit)
    : gate_(std::make_shared<Gate>()) {
  without_gil([&] {
    batch_ = fanout::Batch::start(std::move(client), std::move(items), limit,
                                  [gate = gate_] { gate->release(); });
  });
}

BatchHandle::~BatchHandle() {
  cancel();
  if (!mark_.inherited()) return;
  leave_to_parent(gate_);
  leave_to_parent(batch_);
}

py::object BatchHandle::wait_async() {
  mark_.require_own();
  auto [future, waiter] = LoopBridge::current().make_future();
  bool open = false;
  {
    const std::lock_guard lock(gate_->mutex);
    open = gate_->open;
    if (!open) gate_->waiter = waiter;
  }
  if (open) waiter.complete(std::make_unique<WakeDone>());
  return future;
}

bool BatchHandle::wait_sync(double seconds) {
  mark_.require_own();
  bool open = false;
  without_gil([&] {
    std::unique_lock lock(gate_->mutex);
    open = gate_->opened.wait_for(lock, std::chrono::duration<double>(seconds),
                                  [this] { return gate_->open; });
  });
  check_signals();
  mark_.require_own();  // a signal's handler may have forked
  return open;
}

py::list BatchHandle::take() {
  mark_.require_own();
  py::list out;
  for (client::Outcome& outcome : batch_->take()) {
    out.append(outcome.status.ok() ? py::cast(std::move(outcome)) : call_error(outcome.status));
  }
  return out;
}

void BatchHandle::cancel() {
  if (mark_.inherited() || batch_ == nullptr || batch_->finished()) return;
  without_gil([this] { batch_->cancel(); });
}

void bind_call_objects(py::module_& room) {
  using client::Outcome;
  using client::Record;
  py::class_<Record>(room, "Record", "What a call came to.")
      .def_readonly("call_id", &Record::call_id)
      .def_readonly("key_id", &Record::key_id)
      .def_readonly("model", &Record::model)
      .def_readonly("cost_pico", &Record::cost)
      .def_readonly("warnings", &Record::warnings)
      .def_readonly("attempts", &Record::attempts)
      .def_readonly("ambiguous", &Record::ambiguous)
      .def_readonly("input_tokens", &Record::input_tokens)
      .def_readonly("output_tokens", &Record::output_tokens)
      .def_readonly("cached", &Record::cached)
      .def_readonly("coalesced", &Record::coalesced)
      .def_readonly("hedged", &Record::hedged)
      .def_readonly("gathered", &Record::gathered)
      .def_readonly("saved_pico", &Record::saved)
      .def_property_readonly("flags",
                             [](const Record& record) {
                               std::vector<std::string> names;
                               for (const auto name : money::flag_names(record.flags)) {
                                 names.emplace_back(name);
                               }
                               return names;
                             })
      .def_property_readonly("latency",
                             [](const Record& record) { return seconds(record.latency); })
      .def_property_readonly("first_event",
                             [](const Record& record) { return seconds(record.first_event); });
  py::class_<Outcome>(room, "Reply", "A complete reply.")
      .def_readonly("status", &Outcome::http_status)
      .def_property_readonly("headers",
                             [](const Outcome& reply) { return header_list(reply.headers); })
      .def_readonly("record", &Outcome::record)
      .def_property_readonly("body", [](const Outcome& reply) { return as_bytes(reply.body); })
      .def(
          "json", [](const Outcome& reply) { return read_json(reply.body); },
          "The Python objects of the body.")
      .def(
          "member",
          [](const Outcome& reply, std::string_view name) {
            return read_json_member(reply.body, name);
          },
          py::arg("name"), "One member of the body; None if it is not there.");
  py::class_<Stream>(room, "Stream", "Chunks of an answer as they come.")
      .def("wait_async", &Stream::wait_async)
      .def("wait_sync", &Stream::wait_sync)
      .def("take", &Stream::take)
      .def("cancel", &Stream::cancel)
      .def("abandon", &Stream::abandon)
      .def_property_readonly("ended", &Stream::ended)
      .def_property_readonly("head", &Stream::head)
      .def_property_readonly("reply", &Stream::reply);
  py::class_<BatchHandle>(room, "Batch", "Many calls under way.")
      .def("wait_async", &BatchHandle::wait_async)
      .def("wait_sync", &BatchHandle::wait_sync, py::arg("seconds"))
      .def("take", &BatchHandle::take)
      .def("cancel", &BatchHandle::cancel)
      .def_property_readonly("done", &BatchHandle::done)
      .def_property_readonly("total", &BatchHandle::total);
}

}  // namespace dure::bindings
