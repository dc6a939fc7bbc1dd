#include <pybind11/pybind11.h>

#include "bindings.h"
#include "dure/base/build_info.h"
#include "dure/base/clock.h"
#include "dure/base/hash.h"
#include "dure/base/random.h"
#include "dure/base/simd.h"
#include "status.h"

namespace dure::bindings {

void bind_base(pybind11::module_& core) {
  namespace py = pybind11;
  core.def("set_errors", &set_errors_module, py::arg("errors"),
           "Hands dure.errors to the core: bindings never import upward.");
  core.attr("version") = std::string(base::version());
  core.attr("compiler") = std::string(base::compiler());
  core.attr("build_type") = std::string(base::build_type());
  core.attr("libraries") = std::string(base::libraries());
  core.attr("simd") = std::string(base::name_of(base::simd_limit()));

  py::module_ room = core.def_submodule("base", "Clock, chance and hashes.");
  py::class_<base::Clock>(room, "Clock", "A source of time; dure.testing has a fake one.");
  py::class_<base::Random>(room, "Random", "A source of chance; dure.testing has a fake one.");
  room.def(
      "hash64", [](const py::bytes& data) { return base::hash64(std::string_view(data)); },
      py::arg("data"), "XXH3 64-bit.");
  room.def(
      "sha256",
      [](const py::bytes& data) {
        const base::Sha256Digest digest = base::sha256(std::string_view(data));
        return py::bytes(reinterpret_cast<const char*>(digest.data()), digest.size());
      },
      py::arg("data"), "SHA-256 digest.");
}

}  // namespace dure::bindings
