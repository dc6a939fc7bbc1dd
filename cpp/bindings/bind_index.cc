#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "dure/index/chunk_id.h"
#include "dure/index/hash_embedder.h"
#include "dure/index/kernels.h"
#include "dure/index/words.h"
#include "gil.h"
#include "status.h"

namespace dure::bindings {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// The UTF-8 of each str; borrowed from the objects, which `texts` keeps.
std::vector<std::string_view> views_of(const py::sequence& texts) {
  std::vector<std::string_view> views;
  views.reserve(texts.size());
  for (const py::handle text : texts) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    views.emplace_back(data, static_cast<std::size_t>(size));
  }
  return views;
}

py::array_t<float> embed_all(const index::HashEmbedder& embedder, const py::sequence& texts) {
  if (py::isinstance<py::str>(texts)) {
    throw StatusException(
        base::invalid_argument("texts", "texts is a list of str; embed_query takes one str"));
  }
  const py::list kept(texts);  // nobody else can drop an item meanwhile
  const std::vector<std::string_view> views = views_of(kept);
  py::array_t<float> out({views.size(), embedder.dim()});
  float* rows = out.mutable_data();
  without_gil([&] {
    for (std::size_t i = 0; i < views.size(); ++i) {
      embedder.embed(views[i], rows + i * embedder.dim());
    }
  });
  return out;
}

py::array_t<float> embed_one(const index::HashEmbedder& embedder, std::string_view text) {
  py::array_t<float> out(static_cast<py::ssize_t>(embedder.dim()));
  float* row = out.mutable_data();
  without_gil([&] { embedder.embed(text, row); });
  return out;
}

index::ContentHash content_of(const py::bytes& bytes) {
  const auto view = std::string_view(bytes);
  index::ContentHash hash{};
  if (view.size() != hash.size()) {
    throw StatusException(base::invalid_argument(
        "content", "a content hash has 32 bytes: make it by dure.retrieval.content_hash"));
  }
  std::copy(view.begin(), view.end(), hash.begin());
  return hash;
}

void bind_embedder(py::module_& room) {
  using Embedder = index::HashEmbedder;
  const auto none = [](const Embedder&) { return py::none(); };
  const auto empty = [](const Embedder&) { return ""; };
  py::class_<Embedder>(room, "HashEmbedder",
                       "Vectors for texts without any model: signed feature hashing of words.")
      .def(py::init([](std::int64_t dim, std::uint64_t seed) {
             return value_or_throw(Embedder::create(dim, seed));
           }),
           py::arg("dim") = 384, py::arg("seed") = 0)
      .def_property_readonly("dim", &Embedder::dim)
      .def_property_readonly("seed", &Embedder::seed)
      .def_property_readonly("model_id", [](const Embedder&) { return "dure-hash"; })
      .def_property_readonly(
          "revision",
          [](const Embedder& embedder) { return "1:seed=" + std::to_string(embedder.seed()); })
      .def_property_readonly("normalized", [](const Embedder&) { return true; })
      .def_property_readonly("query_prefix", empty)
      .def_property_readonly("document_prefix", empty)
      .def_property_readonly("max_input_tokens", none)
      .def_property_readonly("max_batch_inputs", none)
      .def_property_readonly("max_batch_tokens", none)
      .def("embed_documents", &embed_all, py::arg("texts"), "float32 [n, dim], each of length one.")
      .def("encode", &embed_all, py::arg("texts"), "The same as embed_documents.")
      .def("embed_query", &embed_one, py::arg("text"), "float32 [dim] of length one.")
      .def("__repr__", [](const Embedder& embedder) {
        return "HashEmbedder(dim=" + std::to_string(embedder.dim()) +
               ", seed=" + std::to_string(embedder.seed()) + ")";
      });
}

}  // namespace

void bind_index(py::module_& core) {
  py::module_ room = core.def_submodule("index", "Search by meaning and by words.");
  bind_embedder(room);
  room.def("words", &index::words, py::arg("text"), "The words of a text as search sees them.");
  room.def(
      "simd", [] { return index::kernels().name; },
      "The instructions in use: scalar, avx2, avx512 or vnni.");
  room.def(
      "chunk_id",
      [](std::string_view document, const py::bytes& content, std::uint64_t occurrence) {
        return index::chunk_id(document, content_of(content), occurrence);
      },
      py::arg("document"), py::arg("content"), py::arg("occurrence"),
      "The id of the chunk with that content in that document.");
  room.def("document_id", &index::document_id, py::arg("text"),
           "The id of a document that nobody named.");
}

}  // namespace dure::bindings
