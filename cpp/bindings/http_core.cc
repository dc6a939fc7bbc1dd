#include "http_core.h"

#include <pybind11/stl.h>

#include <array>
#include <tuple>

#include "dure/net/http_transport.h"
#include "gil.h"
#include "status.h"

namespace dure::bindings {
namespace {

constexpr std::size_t kHighWater = 256U << 10U;  // bytes held for a slow reader
constexpr base::Duration kStopLimit = std::chrono::seconds(2);

class ReplyDone final : public PyCompletion {
 public:
  explicit ReplyDone(std::shared_ptr<HttpReply> reply) : reply_(std::move(reply)) {}
  py::object make_result() override { return py::cast(std::move(reply_)); }

 private:
  std::shared_ptr<HttpReply> reply_;
};

// Gathers a reply on the I/O thread and completes one waiter with it.
class ReplyHandler final : public net::Handler {
 public:
  explicit ReplyHandler(Waiter waiter) : waiter_(std::move(waiter)) {}
  void on_head(int status, net::HeaderView headers) noexcept override {
    guarded([&] {
      reply_->status = status;
      reply_->headers = headers.all();
    });
  }
  net::Flow on_body(std::span<const std::byte> part) noexcept override {
    guarded(
        [&] { reply_->content.append(reinterpret_cast<const char*>(part.data()), part.size()); });
    return net::Flow::kGo;
  }
  void on_end(base::Status status, const net::Timing& timing) noexcept override {
    reply_->timing = timing;
    if (status.ok()) status = std::move(failure_);
    if (status.ok()) {
      waiter_.complete(std::make_unique<ReplyDone>(std::move(reply_)));
    } else {
      waiter_.complete(std::make_unique<FailedDone>(std::move(status)));
    }
  }

 private:
  template <typename Step>
  void guarded(Step step) noexcept {
    try {
      step();
    } catch (...) {
      failure_ = {base::Code::kOutOfMemory, "no memory"};
    }
  }

  const Waiter waiter_;
  std::shared_ptr<HttpReply> reply_ = std::make_shared<HttpReply>();
  base::Status failure_;
};

base::Duration duration(double seconds) {
  return std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(seconds));
}

using Timeouts = std::array<double, 4>;  // connect, first_byte, idle, total; seconds, 0: none

net::Request make_request(std::string method, std::string url, net::Headers headers,
                          const py::bytes& body, const Timeouts& timeouts, bool stream) {
  net::Request request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.headers = std::move(headers);
  request.body = std::string(std::string_view(body));
  request.deadlines = {.connect = duration(timeouts[0]),
                       .first_byte = duration(timeouts[1]),
                       .idle = duration(timeouts[2]),
                       .total = duration(timeouts[3])};
  request.stream = stream;
  return request;
}

// One transport. The thread starts at the first request.
class HttpCore {
 public:
  HttpCore(std::string ca, std::string certificate, std::string key, std::string unix_socket,
           const std::optional<std::string>& proxy, std::vector<std::string> ca_fallbacks,
           const std::string& transport) {
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
    if (proxy) {
      options.proxy.http = options.proxy.https = *proxy;
    } else {
      options.proxy = net::ProxyRules::from_environment();
    }
    transport_ = net::make_transport(std::move(options), base::system_clock(), *engine);
  }

  py::tuple request(std::string method, std::string url, net::Headers headers,
                    const py::bytes& body, const Timeouts& timeouts) {
    auto [future, waiter] = LoopBridge::current().make_future();
    const net::RequestId id = transport_->submit(
        make_request(std::move(method), std::move(url), std::move(headers), body, timeouts, false),
        std::make_shared<ReplyHandler>(std::move(waiter)));
    return py::make_tuple(std::move(future), id);
  }

  py::object request_sync(std::string method, std::string url, net::Headers headers,
                          const py::bytes& body, const Timeouts& timeouts) {
    SyncWait wait;
    const net::RequestId id = transport_->submit(
        make_request(std::move(method), std::move(url), std::move(headers), body, timeouts, false),
        std::make_shared<ReplyHandler>(wait.waiter()));
    return wait.get([&] { transport_->cancel(id); });
  }

  std::shared_ptr<HttpStream> stream(std::string method, std::string url, net::Headers headers,
                                     const py::bytes& body, const Timeouts& timeouts, bool events) {
    auto stream = std::make_shared<HttpStream>(transport_, events);
    stream->set_id(transport_->submit(
        make_request(std::move(method), std::move(url), std::move(headers), body, timeouts, true),
        stream));
    return stream;
  }

  void cancel(net::RequestId id) { transport_->cancel(id); }
  bool close() {
    return without_gil([this] { return transport_->stop(kStopLimit); });
  }

 private:
  std::shared_ptr<net::Transport> transport_;
};

py::list header_list(const net::Headers& headers) {
  py::list list;
  for (const auto& [name, value] : headers) {  // obsolete bytes as Latin-1, as browsers read them
    list.append(py::make_tuple(py::reinterpret_steal<py::object>(PyUnicode_DecodeLatin1(
                                   name.data(), static_cast<Py_ssize_t>(name.size()), nullptr)),
                               py::reinterpret_steal<py::object>(PyUnicode_DecodeLatin1(
                                   value.data(), static_cast<Py_ssize_t>(value.size()), nullptr))));
  }
  return list;
}

double seconds(base::Instant from, base::Instant to) {
  return from.ns == 0 || to.ns == 0 ? 0.0 : static_cast<double>((to - from).count()) * 1e-9;
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
  {
    const std::lock_guard lock(mutex_);
    if (!has_news()) return;
    waiter = std::exchange(waiter_, Waiter());
  }
  if (waiter) waiter.complete(std::make_unique<WakeDone>());
}

void HttpStream::on_head(int status, net::HeaderView headers) noexcept {
  {
    const std::lock_guard lock(mutex_);
    try {
      headers_ = headers.all();
    } catch (...) {
      failure_ = {base::Code::kOutOfMemory, "no memory for the head"};
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
      failure_ = {base::Code::kOutOfMemory, "no memory for the stream"};
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
  std::deque<Piece> pieces;
  base::Status failure;
  bool ended = false;
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    pieces.swap(pieces_);
    buffered_ = 0;
    ended = ended_;
    failure = failure_;
    resume = std::exchange(paused_, false);
  }
  if (resume) {
    if (const auto transport = transport_.lock()) transport->resume(id_);
  }
  if (pieces.empty() && ended) {
    if (!failure.ok()) throw StatusException(std::move(failure));
    return py::none();
  }
  py::list list(pieces.size());
  for (std::size_t at = 0; at < pieces.size(); ++at) {
    const Piece& piece = pieces[at];
    list[at] = events_ ? py::object(py::make_tuple(piece.type, piece.data, piece.id))
                       : py::object(py::bytes(piece.data));
  }
  return list;
}

py::object HttpStream::wait() {
  auto [future, waiter] = LoopBridge::current().make_future();
  {
    const std::lock_guard lock(mutex_);
    waiter_ = std::move(waiter);
  }
  wake();  // something may have come between the reader's look and now
  return future;
}

py::object HttpStream::head() {
  int status = 0;
  net::Headers headers;
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

void bind_http_core(py::module_& room) {
  py::class_<HttpReply, std::shared_ptr<HttpReply>>(room, "HttpReply", "A whole HTTP reply.")
      .def_readonly("status", &HttpReply::status)
      .def_property_readonly("headers",
                             [](const HttpReply& self) { return header_list(self.headers); })
      .def_property_readonly("content",
                             [](const HttpReply& self) { return py::bytes(self.content); })
      .def_property_readonly(
          "seconds",
          [](const HttpReply& self) { return seconds(self.timing.submitted, self.timing.ended); })
      .def_property_readonly("reused_connection",
                             [](const HttpReply& self) { return self.timing.reused_connection; })
      .def("json", [](const HttpReply& self) {
        return py::module_::import("json").attr("loads")(py::bytes(self.content));
      });
  py::class_<HttpStream, std::shared_ptr<HttpStream>>(room, "HttpStream", "A streamed HTTP reply.")
      .def("take", &HttpStream::take)
      .def("wait", &HttpStream::wait)
      .def("head", &HttpStream::head)
      .def("cancel", &HttpStream::cancel);
  py::class_<HttpCore, std::shared_ptr<HttpCore>>(room, "HttpCore", "One native transport.")
      .def(py::init<std::string, std::string, std::string, std::string,
                    const std::optional<std::string>&, std::vector<std::string>,
                    const std::string&>(),
           py::arg("ca"), py::arg("certificate"), py::arg("key"), py::arg("unix_socket"),
           py::arg("proxy"), py::arg("ca_fallbacks"), py::arg("transport") = "")
      .def("request", &HttpCore::request, py::arg("method"), py::arg("url"), py::arg("headers"),
           py::arg("body"), py::arg("timeouts"))
      .def("request_sync", &HttpCore::request_sync, py::arg("method"), py::arg("url"),
           py::arg("headers"), py::arg("body"), py::arg("timeouts"))
      .def("stream", &HttpCore::stream, py::arg("method"), py::arg("url"), py::arg("headers"),
           py::arg("body"), py::arg("timeouts"), py::arg("events"))
      .def("cancel", &HttpCore::cancel, py::arg("request"))
      .def("close", &HttpCore::close);
}

}  // namespace dure::bindings
