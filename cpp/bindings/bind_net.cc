#include <pybind11/pybind11.h>

#include "bindings.h"
#include "exit_guard.h"
#include "loop_bridge.h"

namespace dure::bindings {

void bind_net(pybind11::module_& core) {
  namespace py = pybind11;
  init_loop_bridge(core);
  py::module_::import("atexit").attr("register")(py::cpp_function([] { close_exit_guard(); }));
}

}  // namespace dure::bindings
