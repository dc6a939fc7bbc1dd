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

// Interpreter exit: no thread comes back into Python any more, then native threads end. The other
// way round, a daemon thread whose call ends here would raise and print into a closing interpreter,
// which aborts ("could not acquire lock for <stderr> at interpreter shutdown").
void shut_down() {
  close_exit_guard();
  without_gil([] { net::stop_all_transports(std::chrono::seconds(2)); });
}

}  // namespace

void bind_net(pybind11::module_& core) {
  namespace py = pybind11;
  py::module_ room = core.def_submodule("net", "Requests and streams on a native thread.");
  init_loop_bridge(room);
  bind_http_core(room);
  room.def("curl_erases_what_it_frees", &net::curl_erases_what_it_frees,
           "Whether libcurl is our own copy, which erases keys before it frees them.");
  py::module_::import("atexit").attr("register")(py::cpp_function(&shut_down));
}

}  // namespace dure::bindings
