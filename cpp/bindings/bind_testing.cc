// The extension module dure._testing: native fakes, never loaded by `import dure`.
#include <pybind11/chrono.h>
#include <pybind11/pybind11.h>

#include "fake_clock.h"
#include "fake_random.h"
#include "status.h"

PYBIND11_MODULE(_testing, module) {
  namespace py = pybind11;
  using namespace dure;  // NOLINT(google-build-using-namespace): one function
  module.doc() = "Native fakes for dure's injected seams. Import them from dure.testing.";
  py::module_::import("dure._core");  // registers base::Clock and base::Random first
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
}
