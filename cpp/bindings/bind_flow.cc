#include <pybind11/pybind11.h>

#include "bindings.h"
#include "dure/flow/rate_limiter.h"
#include "status.h"

namespace dure::bindings {

void bind_flow(pybind11::module_& core) {
  namespace py = pybind11;
  py::module_ room = core.def_submodule("flow", "Rates: admits work at a bounded speed.");
  py::class_<flow::RateLimit>(room, "RateLimit", "So many per second, so many at once.")
      .def(py::init<double, double>(), py::arg("per_second"), py::arg("burst"))
      .def_readonly("per_second", &flow::RateLimit::per_second)
      .def_readonly("burst", &flow::RateLimit::burst);
  py::class_<flow::RateLimiter>(room, "RateLimiter", "Token buckets, one per key.")
      .def(py::init([](const flow::RateLimit& limit, const base::Clock* clock) {
             return value_or_throw(flow::RateLimiter::create(
                 limit, clock != nullptr ? *clock : base::system_clock()));
           }),
           py::arg("limit"), py::arg("clock") = nullptr, py::keep_alive<1, 3>())
      // Keeps the GIL: microseconds, never blocks, touches no Python object.
      .def(
          "try_acquire",
          [](flow::RateLimiter& self, std::string_view key, double n) {
            const base::Duration wait = value_or_throw(self.try_acquire(key, n));
            return static_cast<double>(wait.count()) / 1e9;
          },
          py::arg("key"), py::arg("n") = 1.0,
          "Takes n and returns 0.0; or takes nothing and returns the seconds to wait.");
}

}  // namespace dure::bindings
