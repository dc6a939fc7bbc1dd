#include "http_core.h"

#include <pybind11/stl.h>

#include <array>
#include <limits>
#include <span>

#include "direct_wait.h"
#include "dure/net/egress.h"
#include "dure/net/http_transport.h"
#include "gil.h"
#include "held.h"
#include "http_batch.h"
#include "http_reply.h"
#include "http_upload.h"
#include "no_memory.h"
#include "request_writer.h"
#include "status.h"

namespace dure::bindings {
namespace {

constexpr std::size_t kHighWater = 256U << 10U;  // bytes held for a slow reader
constexpr base::Duration kStopLimit = std::chrono::seconds(2);

// What a reply's handler fills and its waiter receives: one object, so that the end of a request
// takes no memory.
class ReplyDone final : public PyCompletion {
 public:
  py::object make_result() override {
    if (status.code() == base::Code::kTruncated) {
      (void)std::move(status).with("text", std::move(reply.content));
    }
    if (!status.ok()) throw StatusException(std::move(status));
    return to_python(std::move(reply));
  }

  base::Status status;
  HttpReply reply;
};

// Gathers a reply on the I/O thread and completes one waiter with it.
class ReplyHandler final : public net::Handler {
 public:
  // Before the request is submitted: whom to tell.
  void serve(Waiter waiter) { waiter_ = std::move(waiter); }
  void on_head(int status, net::HeaderView headers) noexcept override {
    guarded([&] {
      done_->reply.status = status;
      done_->reply.headers = headers.lines();
    });
  }
  net::Flow on_body(std::span<const std::byte> part) noexcept override {
    guarded([&] {
      done_->reply.content.append(reinterpret_cast<const char*>(part.data()), part.size());
    });
    return net::Flow::kGo;
  }
  void on_end(base::Status status, const net::Timing& timing) noexcept override {
    done_->reply.timing = timing;
    if (!status.ok()) done_->status = std::move(status);
    waiter_.complete(std::move(done_));
  }

 private:
  template <typename Step>
  void guarded(Step step) noexcept {
    try {
      step();
    } catch (...) {
      done_->status = {base::Code::kOutOfMemory, "no memory"};
    }
  }

  Waiter waiter_;
  std::unique_ptr<ReplyDone> done_ = std::make_unique<ReplyDone>();
};

// Gives a stream's reader the next piece.
class PieceDone final : public PyCompletion {
 public:
  explicit PieceDone(std::weak_ptr<HttpStream> stream) : stream_(std::move(stream)) {}
  py::object make_result() override {
    const auto stream = stream_.lock();
    return stream != nullptr ? stream->arrived() : py::none();
  }

 private:
  const std::weak_ptr<HttpStream> stream_;
};

base::Duration duration(double seconds) {
  return std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(seconds));
}

using Timeouts = std::array<double, 4>;  // connect, first_byte, idle, total; seconds, 0: none

net::Request make_request(std::string method, std::string url, net::Headers headers,
                          std::string_view body, const Timeouts& timeouts) {
  net::Request request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.headers = std::move(headers);
  request.body = std::string(body);
  request.deadlines = {.connect = duration(timeouts[0]),
                       .first_byte = duration(timeouts[1]),
                       .idle = duration(timeouts[2]),
                       .total = duration(timeouts[3])};
  return request;
}

// One transport. The thread starts at the first request.
class HttpCore {
 public:
  HttpCore(std::string ca, std::string certificate, std::string key, std::string unix_socket,
           const std::optional<std::string>& proxy, std::vector<std::string> ca_fallbacks,
           const std::string& transport, const std::optional<std::vector<std::string>>& allowed)
      : guarded_(allowed.has_value()) {
    const auto engine = net::engine_of(transport);
    if (!engine) {
      throw StatusException(
          base::invalid_argument("transport", "transport must be \"a\" or \"b\""));
    }
    net::TransportOptions options;
    options.ca_file = std::move(ca);
    options.ca_fallbacks = std::move(ca_fallbacks);
    options.client_certificate = std::move(certificate);
    options.client_key = std::move(key);
    options.unix_socket = std::move(unix_socket);
    if (allowed) options.egress = value_or_throw(net::EgressGuard::create(*allowed));
    if (proxy) {
      options.proxy.http = options.proxy.https = *proxy;
    } else {
      options.proxy = net::ProxyRules::from_environment();
    }
    transport_ = net::make_transport(std::move(options), base::system_clock(), *engine);
  }

  // The bound function behind `HttpCore.request`: called once a request, so of the C API.
  [[nodiscard]] py::object request_function() const;

  py::object upload(std::string method, std::string url, net::Headers headers, std::uint64_t size,
                    const Timeouts& timeouts) {
    auto pipe = std::make_shared<BodyPipe>(size);
    const auto handler = std::make_shared<ReplyHandler>();
    net::Request request =
        make_request(std::move(method), std::move(url), std::move(headers), {}, timeouts);
    request.guarded = guarded_;
    request.source = pipe;
    const auto upload = std::make_shared<HttpUpload>(transport_, std::move(pipe));
    py::object handed_out = Held<HttpUpload>::wrap(upload);
    auto [future, waiter] = LoopBridge::current().make_future();
    handler->serve(std::move(waiter));  // from here on somebody waits: nothing may fail
    upload->begun(transport_->submit(std::move(request), handler), std::move(future));
    return handed_out;
  }

  py::object batch(std::string method, std::string url, net::Headers headers,
                   const std::vector<py::bytes>& bodies, const Timeouts& timeouts,
                   std::size_t limit) {
    (void)LoopBridge::current();  // before anything is sent: there must be one to wait in
    std::vector<std::string> copies(bodies.begin(), bodies.end());
    net::Request like =
        make_request(std::move(method), std::move(url), std::move(headers), {}, timeouts);
    like.guarded = guarded_;
    const std::shared_ptr<HttpBatch> batch(
        new HttpBatch(transport_, std::move(like), std::move(copies), limit),
        NoGilDelete());  // it may be the last to hold the transport
    py::object handed_out = Held<HttpBatch>::wrap(batch);
    without_gil([&] { batch->start(); });
    return handed_out;
  }

  py::object request_sync(std::string method, std::string url, net::Headers headers,
                          const py::bytes& body, const Timeouts& timeouts) {
    SyncWait wait;
    net::Request request = make_request(std::move(method), std::move(url), std::move(headers),
                                        std::string_view(body), timeouts);
    request.guarded = guarded_;
    const auto handler = std::make_shared<ReplyHandler>();
    handler->serve(wait.waiter());
    const net::RequestId id = transport_->submit(std::move(request), handler);
    return wait.get([&] { transport_->cancel(id); });
  }

  py::object stream(std::string method, std::string url, net::Headers headers,
                    const py::bytes& body, const Timeouts& timeouts, bool events) {
    (void)LoopBridge::current();  // before anything is sent: there must be one to wait in
    auto stream = std::make_shared<HttpStream>(transport_, events);
    net::Request request = make_request(std::move(method), std::move(url), std::move(headers),
                                        std::string_view(body), timeouts);
    request.guarded = guarded_;
    request.stream = true;
    request.caps.body = std::numeric_limits<std::uint64_t>::max();  // its reader holds a piece only
    py::object handed_out = Held<HttpStream>::wrap(stream);
    stream->set_id(transport_->submit(std::move(request), stream));
    return handed_out;
  }

  void cancel(net::RequestId id) { transport_->cancel(id); }
  bool close() {
    return without_gil([this] { return transport_->stop(kStopLimit); });
  }

 private:
  bool guarded_;  // what is asked for comes from outside: the transport's EgressGuard decides
  std::shared_ptr<net::Transport> transport_;
};

// --- HttpCore.request(method, url, headers, body, timeouts) -> (future, id) ---

// Never shows the value: it may be a key.
std::string_view text_of(PyObject* value, std::string_view argument) {
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &size) : nullptr;
  if (text != nullptr) return {text, static_cast<std::size_t>(size)};
  PyErr_Clear();
  throw StatusException(base::invalid_argument(
      argument, std::string(argument) + " must be text (str) without lone surrogates"));
}

// A dict or a sequence of pairs.
net::Headers headers_of(PyObject* given) {
  net::Headers headers;
  if (PyDict_Check(given)) {
    headers.reserve(static_cast<std::size_t>(PyDict_GET_SIZE(given)));
    PyObject *name = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(given, &at, &name, &value) != 0;) {
      headers.emplace_back(text_of(name, "headers"), text_of(value, "headers"));
    }
    return headers;
  }
  for (const py::handle pair : py::reinterpret_borrow<py::sequence>(given)) {
    const auto both = py::reinterpret_borrow<py::sequence>(pair);
    const py::object name = both[0], value = both[1];
    headers.emplace_back(text_of(name.ptr(), "headers"), text_of(value.ptr(), "headers"));
  }
  return headers;
}

Timeouts timeouts_of(PyObject* given) {
  if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 4) {
    throw py::type_error("timeouts must be a tuple of four numbers");
  }
  Timeouts timeouts{};
  for (std::size_t at = 0; at < timeouts.size(); ++at) {
    timeouts[at] = PyFloat_AsDouble(PyTuple_GET_ITEM(given, static_cast<Py_ssize_t>(at)));
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  }
  return timeouts;
}

// Bytes go out as they are; dicts and lists as JSON, and are called so unless the headers say more.
void set_body(PyObject* given, net::Request& request) {
  if (PyBytes_Check(given)) {
    request.body.assign(PyBytes_AS_STRING(given),
                        static_cast<std::size_t>(PyBytes_GET_SIZE(given)));
    return;
  }
  request.body = write_json(given, "json");
  if (!net::HeaderView(request.headers).get("content-type")) {
    request.headers.emplace_back("Content-Type", "application/json");
  }
}

struct Sender {  // what the bound function holds
  std::shared_ptr<net::Transport> transport;
  bool guarded;
};

py::object request(const Sender& sender, std::span<PyObject* const> given) {
  if (given.size() != 5) {
    throw py::type_error("request takes method, url, headers, body and timeouts");
  }
  net::Request made =
      make_request(std::string(text_of(given[0], "method")), std::string(text_of(given[1], "url")),
                   headers_of(given[2]), {}, timeouts_of(given[4]));
  set_body(given[3], made);
  made.guarded = sender.guarded;
  auto handler = std::make_shared<ReplyHandler>();
  auto [future, waiter] = LoopBridge::current().make_wait();
  handler->serve(std::move(waiter));  // from here on somebody waits: nothing may fail
  const net::RequestId id = sender.transport->submit(std::move(made), std::move(handler));
  const auto number = py::reinterpret_steal<py::object>(PyLong_FromUnsignedLongLong(id));
  return py::reinterpret_steal<py::object>(PyTuple_Pack(2, future.ptr(), number.ptr()));
}

PyObject* call_request(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  try {
    const auto* const sender = static_cast<Sender*>(PyCapsule_GetPointer(self, nullptr));
    return request(*sender, {arguments, static_cast<std::size_t>(count)}).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const StatusException& error) {
    const py::object raised = to_exception(error.status());
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
  } catch (const std::bad_alloc&) {
    raise_no_memory();
  }
  return nullptr;
}

PyMethodDef request_method = {
    "request", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_request)),
    METH_FASTCALL, "request($self, method, url, headers, body, timeouts, /)\n--\n\n(future, id)."};

py::object HttpCore::request_function() const {
  const py::capsule self(new Sender{transport_, guarded_},
                         [](void* held) { NoGilDelete{}(static_cast<Sender*>(held)); });
  PyObject* const made = PyCFunction_New(&request_method, self.ptr());
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

}  // namespace

namespace {

// Leaked: it lives as long as the process.
PyTypeObject* event_type() {
  static const auto* const type =
      new py::object(py::module_::import("dure.aio._http").attr("HttpEvent"));
  return reinterpret_cast<PyTypeObject*>(type->ptr());
}

py::str usual_type() {
  static const auto* const text = new py::str("message");
  return *text;
}

}  // namespace

HttpStream::HttpStream(std::weak_ptr<net::Transport> transport, bool events)
    : transport_(std::move(transport)), events_(events) {
  if (!events_) return;
  parser_.emplace([this](const net::SseEvent& event) {
    add({std::string(event.type), std::string(event.data), std::string(event.id)});
  });
}

void HttpStream::add(Piece piece) {
  buffered_ += piece.data.size() + sizeof(Piece);
  pieces_.push_back(std::move(piece));
}

bool HttpStream::has_news() const { return !pieces_.empty() || head_new_ || ended_; }

// Completes outside the mutex: the loop's queue has its own.
void HttpStream::wake() noexcept {
  Waiter waiter;
  std::unique_ptr<PyCompletion> done;
  {
    const std::lock_guard lock(mutex_);
    if (!has_news()) return;
    waiter = std::exchange(waiter_, Waiter());
    done = std::move(wake_);
  }
  if (waiter) waiter.complete(std::move(done));
}

void HttpStream::on_head(int status, net::HeaderView headers) noexcept {
  {
    const std::lock_guard lock(mutex_);
    try {
      headers_ = headers.lines();
    } catch (...) {
      failure_ = {base::Code::kOutOfMemory, "no memory"};
    }
    status_ = status;
    head_new_ = true;
  }
  wake();
}

net::Flow HttpStream::on_body(std::span<const std::byte> part) noexcept {
  bool hold = false;
  {
    const std::lock_guard lock(mutex_);
    try {
      if (!failure_.ok()) return net::Flow::kGo;
      if (parser_) {
        failure_ = parser_->feed(part);
      } else {
        add({{}, std::string(reinterpret_cast<const char*>(part.data()), part.size()), {}});
      }
    } catch (...) {
      failure_ = {base::Code::kOutOfMemory, "no memory"};
    }
    if (!failure_.ok()) {
      if (const auto transport = transport_.lock()) transport->cancel(id_);
    }
    hold = paused_ = buffered_ > kHighWater;
  }
  wake();
  return hold ? net::Flow::kPause : net::Flow::kGo;
}

void HttpStream::on_end(base::Status status, const net::Timing&) noexcept {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (failure_.ok()) failure_ = std::move(status);
  }
  wake();
}

py::object HttpStream::take() {
  mark_.require_own();
  if (at_ < taken_.size()) return to_python(taken_[at_++]);
  taken_.clear();
  at_ = 0;
  bool resume = false;
  base::Status failure;
  {
    const std::lock_guard lock(mutex_);
    if (pieces_.empty() && !ended_) return {};
    if (pieces_.empty()) failure = failure_;
    pieces_.swap(taken_);
    buffered_ = 0;
    resume = std::exchange(paused_, false);
  }
  if (resume) {
    if (const auto transport = transport_.lock()) transport->resume(id_);
  }
  if (!taken_.empty()) return to_python(taken_[at_++]);
  if (!failure.ok()) throw StatusException(std::move(failure));
  PyErr_SetNone(PyExc_StopAsyncIteration);
  throw py::error_already_set();
}

py::object HttpStream::to_python(const Piece& piece) const {
  if (!events_) return py::bytes(piece.data);
  PyObject* const event = event_type()->tp_alloc(event_type(), 3);  // as tuple.__new__ does
  if (event == nullptr) throw py::error_already_set();
  const auto made = py::reinterpret_steal<py::object>(event);
  const bool usual = piece.type == "message";
  PyTuple_SET_ITEM(event, 0, (usual ? usual_type() : py::str(piece.type)).release().ptr());
  PyTuple_SET_ITEM(event, 1, py::str(piece.data).release().ptr());
  PyTuple_SET_ITEM(event, 2, py::str(piece.id).release().ptr());
  return made;
}

void HttpStream::require_no_reader() {
  mark_.require_own();
  const std::shared_ptr<LoopBridge> before = bridge_.lock();
  if (before == nullptr) return;
  if (before->waits(ticket_)) {
    throw StatusException(
        base::invalid_argument("stream", "another task reads this stream: one reads at a time"));
  }
  before->forget(ticket_);  // a wait that was cancelled
  bridge_.reset();
}

py::object HttpStream::wait() { return wait_for(std::make_unique<WakeDone>()); }

py::object HttpStream::next() {
  require_no_reader();
  if (py::object piece = take()) return DirectWait::resolved(std::move(piece));
  return wait_for(std::make_unique<PieceDone>(weak_from_this()));
}

py::object HttpStream::arrived() {
  py::object piece = take();
  if (piece) return piece;
  throw StatusException({base::Code::kInternal, "a stream's reader was woken for nothing"});
}

py::object HttpStream::wait_for(std::unique_ptr<PyCompletion> done) {
  mark_.require_own();
  require_no_reader();
  LoopBridge& bridge = LoopBridge::current();
  auto [future, waiter] = bridge.make_wait();
  bridge_ = bridge.weak_from_this();
  ticket_ = waiter.ticket();
  {
    const std::lock_guard lock(mutex_);
    waiter_ = std::move(waiter);
    wake_ = std::move(done);
  }
  wake();  // something may have come between the reader's look and now
  return future;
}

py::object HttpStream::head() {
  mark_.require_own();
  int status = 0;
  net::HeaderLines headers;
  base::Status failure;
  {
    const std::lock_guard lock(mutex_);
    head_new_ = false;
    status = status_;
    headers = headers_;
    if (ended_) failure = failure_;
  }
  if (status == 0 && !failure.ok()) throw StatusException(std::move(failure));
  if (status == 0) return py::none();
  return py::make_tuple(status, header_list(headers));
}

void HttpStream::cancel() {
  if (const auto transport = transport_.lock()) transport->cancel(id_);
}

namespace {

PyObject* itself(PyObject* self) { return Py_NewRef(self); }

// What __anext__ gives: an awaitable that asyncio takes for no future of its own, so that it may be
// gathered and waited for. A piece is taken when it is awaited: one that nobody awaits is not lost.
struct NextPiece {
  PyObject_HEAD PyObject* stream;  // a Held<HttpStream>
  PyObject* wait;                  // the DirectWait that goes on; null: not begun, or ended
  bool begun;
};

PyTypeObject* next_piece_type = nullptr;  // leaked; set once

NextPiece& piece_of(PyObject* self) { return *reinterpret_cast<NextPiece*>(self); }

PySendResult send_piece(PyObject* self, PyObject*, PyObject** result) {
  NextPiece& piece = piece_of(self);
  *result = nullptr;
  if (!std::exchange(piece.begun, true)) {
    piece.wait = as_python([&] { return Held<HttpStream>::of(piece.stream).next(); });
    if (piece.wait == nullptr) return PYGEN_ERROR;
  }
  if (piece.wait == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "this piece was awaited already");
    return PYGEN_ERROR;
  }
  const PySendResult sent = PyIter_Send(piece.wait, Py_None, result);
  if (sent != PYGEN_NEXT) Py_CLEAR(piece.wait);
  return sent;
}

// For whoever steps it by hand, as anext() with a default does.
PyObject* step_piece(PyObject* self) {
  PyObject* result = nullptr;
  if (send_piece(self, nullptr, &result) != PYGEN_RETURN) return result;
  const auto value = py::reinterpret_steal<py::object>(result);
  const auto stop =
      py::reinterpret_steal<py::object>(PyObject_CallOneArg(PyExc_StopIteration, value.ptr()));
  if (stop) PyErr_SetObject(PyExc_StopIteration, stop.ptr());
  return nullptr;
}

int traverse_piece(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(piece_of(self).stream);
  Py_VISIT(piece_of(self).wait);
  return 0;
}

int clear_piece(PyObject* self) {
  Py_CLEAR(piece_of(self).stream);
  Py_CLEAR(piece_of(self).wait);
  return 0;
}

void dealloc_piece(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear_piece(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot piece_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&dealloc_piece)},
                             {Py_tp_traverse, reinterpret_cast<void*>(&traverse_piece)},
                             {Py_tp_clear, reinterpret_cast<void*>(&clear_piece)},
                             {Py_tp_iter, reinterpret_cast<void*>(&itself)},
                             {Py_tp_iternext, reinterpret_cast<void*>(&step_piece)},
                             {Py_am_await, reinterpret_cast<void*>(&itself)},
                             {Py_am_send, reinterpret_cast<void*>(&send_piece)},
                             {0, nullptr}};

PyType_Spec piece_spec = {
    "dure._core.net.NextPiece", sizeof(NextPiece), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, piece_slots};

PyObject* call_next(PyObject* self) {
  PyObject* const piece = next_piece_type->tp_alloc(next_piece_type, 0);
  if (piece != nullptr) piece_of(piece).stream = Py_NewRef(self);
  return piece;
}
PyObject* call_wait(PyObject* self, PyObject*) {
  return as_python([self] { return Held<HttpStream>::of(self).wait(); });
}
PyObject* call_head(PyObject* self, PyObject*) {
  return as_python([self] { return Held<HttpStream>::of(self).head(); });
}
PyObject* call_cancel(PyObject* self, PyObject*) {
  return as_python([self] {
    Held<HttpStream>::of(self).cancel();
    return py::none();
  });
}

PyMethodDef stream_methods[] = {{"wait", &call_wait, METH_NOARGS, nullptr},
                                {"head", &call_head, METH_NOARGS, nullptr},
                                {"cancel", &call_cancel, METH_NOARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

PyType_Slot stream_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(&Held<HttpStream>::dealloc)},
    {Py_am_aiter, reinterpret_cast<void*>(&itself)},
    {Py_am_anext, reinterpret_cast<void*>(&call_next)},
    {Py_tp_methods, stream_methods},
    {Py_tp_doc, const_cast<char*>("A streamed HTTP reply, and the iterator of its pieces.")},
    {0, nullptr}};

void bind_http_stream(py::module_& room) {
  Held<HttpStream>::bind(room, "HttpStream", stream_slots);
  const auto piece = py::reinterpret_steal<py::object>(PyType_FromSpec(&piece_spec));
  if (!piece) throw py::error_already_set();
  next_piece_type = reinterpret_cast<PyTypeObject*>(piece.inc_ref().ptr());
}

}  // namespace

void bind_http_core(py::module_& room) {
  bind_http_reply(room);
  bind_http_stream(room);
  bind_http_batch(room);
  bind_http_upload(room);
  py::class_<HttpCore, std::shared_ptr<HttpCore>>(room, "HttpCore", "One native transport.")
      .def(py::init([](std::string ca, std::string certificate, std::string key,
                       std::string unix_socket, const std::optional<std::string>& proxy,
                       std::vector<std::string> ca_fallbacks, const std::string& transport,
                       const std::optional<std::vector<std::string>>& allowed) {
             auto* const core = new HttpCore(std::move(ca), std::move(certificate), std::move(key),
                                             std::move(unix_socket), proxy, std::move(ca_fallbacks),
                                             transport, allowed);
             return std::shared_ptr<HttpCore>(core, NoGilDelete());  // it joins its thread
           }),
           py::arg("ca"), py::arg("certificate"), py::arg("key"), py::arg("unix_socket"),
           py::arg("proxy"), py::arg("ca_fallbacks"), py::arg("transport") = "",
           py::arg("allowed") = py::none())
      .def_property_readonly("request", &HttpCore::request_function)
      .def("upload", &HttpCore::upload, py::arg("method"), py::arg("url"), py::arg("headers"),
           py::arg("size"), py::arg("timeouts"))
      .def("batch", &HttpCore::batch, py::arg("method"), py::arg("url"), py::arg("headers"),
           py::arg("bodies"), py::arg("timeouts"), py::arg("limit"))
      .def("request_sync", &HttpCore::request_sync, py::arg("method"), py::arg("url"),
           py::arg("headers"), py::arg("body"), py::arg("timeouts"))
      .def("stream", &HttpCore::stream, py::arg("method"), py::arg("url"), py::arg("headers"),
           py::arg("body"), py::arg("timeouts"), py::arg("events"))
      .def("cancel", &HttpCore::cancel, py::arg("request"))
      .def("close", &HttpCore::close);
}

}  // namespace dure::bindings
