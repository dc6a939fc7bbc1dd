// bindings/py_ids.h - token ids as Python lists and arrays, and back.
//
// REQUIRES for all: the GIL is held.
#ifndef DURE_BINDINGS_PY_IDS_H_
#define DURE_BINDINGS_PY_IDS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "dure/tokenize/vocab.h"

namespace dure::bindings {

namespace py = pybind11;

// A new list. Ints of frequent ids are shared by all lists: these cost no allocation.
py::list id_list(std::span<const tokenize::Rank> ids);

// A read-only uint32 array that takes `ids` over.
py::array id_array(std::vector<tokenize::Rank> ids);
py::array id_array(std::unique_ptr<tokenize::Rank[]> ids, std::size_t size);

// Ids from any sequence of ints or integer array. Raises TypeError or OverflowError.
std::vector<tokenize::Rank> to_ids(py::handle sequence);
tokenize::Rank to_id(py::handle value);

// A read-only array of what `owner` keeps alive.
template <typename T>
py::array read_only_array(const T* values, std::size_t size, const py::capsule& owner) {
  py::array_t<T> array(static_cast<py::ssize_t>(size), values, owner);
  py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

// A read-only array that takes `values` over.
template <typename T>
py::array owned_array(std::vector<T> values) {
  auto* kept = new std::vector<T>(std::move(values));
  const py::capsule owner(kept, [](void* memory) { delete static_cast<std::vector<T>*>(memory); });
  return read_only_array(kept->data(), kept->size(), owner);
}

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_PY_IDS_H_
