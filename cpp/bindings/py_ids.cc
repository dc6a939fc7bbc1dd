#include "py_ids.h"

#include <limits>
#include <string>

#include "gil.h"

namespace dure::bindings {
namespace {

using tokenize::Rank;

constexpr std::size_t kLookEvery = 1'048'576;  // ints between looks at signals
constexpr std::size_t kShared = 65'536;        // the ids of 92 % of most texts, and more

// One int object for each low id, made when the id first appears; kept for ever. Of the rare ids
// kept ones would cost more memory than time.
PyObject* shared_int(Rank id) {
  static auto& ints = *new std::vector<PyObject*>(kShared, nullptr);
  if (id >= kShared) {
    PyObject* value = PyLong_FromUnsignedLong(id);
    if (value == nullptr) throw py::error_already_set();
    return value;
  }
  PyObject*& value = ints[id];
  if (value == nullptr) {
    value = PyLong_FromUnsignedLong(id);
    if (value == nullptr) throw py::error_already_set();
  }
  Py_INCREF(value);
  return value;
}

}  // namespace

py::list id_list(std::span<const Rank> ids) {
  py::list list(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i % kLookEvery == kLookEvery - 1) check_signals();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), shared_int(ids[i]));
  }
  return list;
}

py::array id_array(std::vector<Rank> ids) { return owned_array(std::move(ids)); }

py::array id_array(std::unique_ptr<Rank[]> ids, std::size_t size) {
  const py::capsule owner(ids.get(), [](void* memory) { delete[] static_cast<Rank*>(memory); });
  return read_only_array(ids.release(), size, owner);
}

Rank to_id(py::handle value) {
  const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long id = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) {  // the words of tiktoken's conversion
    PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C long");
    throw py::error_already_set();
  }
  if (id < 0 || id > std::numeric_limits<Rank>::max()) {
    PyErr_SetString(PyExc_OverflowError, "out of range integral type conversion attempted");
    throw py::error_already_set();
  }
  return static_cast<Rank>(id);
}

std::vector<Rank> to_ids(py::handle sequence) {
  if (PyUnicode_Check(sequence.ptr())) {
    throw py::type_error("tokens must be a sequence of int, not str");
  }
  if (PySequence_Check(sequence.ptr()) == 0) {
    throw py::type_error(std::string("tokens must be a sequence of int, not ") +
                         Py_TYPE(sequence.ptr())->tp_name);
  }
  const py::object fast = py::reinterpret_steal<py::object>(
      PySequence_Fast(sequence.ptr(), "tokens must be a sequence of int"));
  if (!fast) throw py::error_already_set();
  std::vector<Rank> ids;
  ids.reserve(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(fast.ptr())));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.ptr()); ++i) {
    ids.push_back(to_id(PySequence_Fast_GET_ITEM(fast.ptr(), i)));
  }
  return ids;
}

}  // namespace dure::bindings
