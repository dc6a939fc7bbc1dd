#include <pybind11/pybind11.h>

#include <chrono>

#include "bindings.h"
#include "dure/net/curl_transport.h"
#include "exit_guard.h"
#include "gil.h"
#include "http_core.h"
#include "loop_bridge.h"

namespace dure::bindings {
namespace {

// Interpreter exit: native threads end first, then no thread comes back into Python any more.
void shut_down() {
  without_gil([] { net::stop_all_transports(std::chrono::seconds(2)); });
  close_exit_guard();
}

}  // namespace

void bind_net(pybind11::module_& core) {
  namespace py = pybind11;
  py::module_ room = core.def_submodule("net", "Requests and streams on a native thread.");
  init_loop_bridge(room);
  bind_http_core(room);
  py::module_::import("atexit").attr("register")(py::cpp_function(&shut_down));
}

}  // namespace dure::bindings
