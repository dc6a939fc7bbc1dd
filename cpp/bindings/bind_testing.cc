// The extension module dure._testing: native fakes, never loaded by `import dure`.
#include <pybind11/chrono.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "fake_clock.h"
#include "fake_random.h"
#include "fake_transport.h"
#include "status.h"

namespace dure::bindings {
namespace {

namespace py = pybind11;
using testing::FakeReply;
using testing::FakeTransport;

// How a scripted transfer ends, by name.
FakeReply with_end(FakeReply reply, const std::string& end) {
  if (end == "hang") {
    reply.hang = true;
  } else if (end == "reset") {
    reply.end = base::Status(base::Code::kTruncated, "the connection was reset");
  } else if (end == "refused") {
    reply.sent = false;
    reply.status = 0;
    reply.end = base::Status(base::Code::kUnavailable, "connection refused")
                    .with("stage", std::string("connect"));
  } else if (end != "ok") {
    throw StatusException(base::invalid_argument("end", "end must be ok, hang, reset or refused"));
  }
  return reply;
}

py::list requests(const FakeTransport& transport) {
  py::list out;
  for (const net::Request& request : transport.requests()) {
    py::dict one;
    one["method"] = request.method;
    one["url"] = request.url;
    one["headers"] = request.headers;
    one["body"] = py::bytes(request.body);
    out.append(one);
  }
  return out;
}

void bind_fake_transport(py::module_& module) {
  py::class_<FakeTransport, net::Transport, std::shared_ptr<FakeTransport>>(
      module, "FakeTransport", "A network that answers what `reply` scripted, in that order.")
      .def(py::init([](const base::Clock* clock) {
             return std::make_shared<FakeTransport>(clock != nullptr ? *clock
                                                                     : base::system_clock());
           }),
           py::arg("clock") = nullptr, py::keep_alive<1, 2>())
      .def(
          "reply",
          [](FakeTransport& self, std::vector<std::string> parts, int status, net::Headers headers,
             const std::string& end) {
            self.reply(with_end(
                {.status = status, .headers = std::move(headers), .parts = std::move(parts)}, end));
          },
          py::arg("parts") = std::vector<std::string>{}, py::kw_only(), py::arg("status") = 200,
          py::arg("headers") = net::Headers{}, py::arg("end") = "ok")
      .def("pump", &FakeTransport::pump, py::call_guard<py::gil_scoped_release>(),
           "Runs what is due; returns how many things ran.")
      .def_property_readonly("requests", &requests)
      .def_property_readonly("open", &FakeTransport::open);
}

}  // namespace
}  // namespace dure::bindings

PYBIND11_MODULE(_testing, module) {
  namespace py = pybind11;
  using namespace dure;  // NOLINT(google-build-using-namespace): one function
  module.doc() = "Native fakes for dure's injected seams. Import them from dure.testing.";
  // base has Clock and Random; client, as all rooms that are bound when asked for, Transport.
  (void)py::getattr(py::module_::import("dure._core").attr("client"), "Transport");
  bindings::register_status_translator();

  py::class_<testing::FakeClock, base::Clock>(module, "FakeClock",
                                              "Time that moves only by `advance`.")
      .def(py::init<>())
      .def(
          "advance",
          [](testing::FakeClock& clock, double seconds) {
            clock.advance(
                std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(seconds)));
          },
          py::arg("seconds"))
      .def("now",
           [](const testing::FakeClock& clock) {
             return static_cast<double>(clock.now().ns) * 1e-9;
           })
      .def("wall_us", [](const testing::FakeClock& clock) { return clock.wall().us; });
  py::class_<testing::FakeRandom, base::Random>(module, "FakeRandom", "Chance that a seed repeats.")
      .def(py::init<std::uint64_t>(), py::arg("seed") = 0)
      .def("next", &testing::FakeRandom::next);
  bindings::bind_fake_transport(module);
}
