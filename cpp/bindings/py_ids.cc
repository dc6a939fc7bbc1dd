#include "py_ids.h"

#include <algorithm>
#include <limits>
#include <string>

#include "gil.h"

namespace dure::bindings {
namespace {

using tokenize::Rank;

constexpr std::size_t kLookEvery = 65'536;  // ints between looks at signals

PyObject* new_int(Rank id) {
  PyObject* const value = PyLong_FromUnsignedLong(id);
  if (value == nullptr) throw py::error_already_set();
  return value;
}

// Ints that all lists share, made when their id first appears; kept for ever. Each of the lowest
// ids has its own, which are three quarters of the ids of most texts. Of the others one for each
// slot is kept, the last that was asked for: 2 % are made anew, and to keep all would take more
// memory than that time is worth.
class SharedInts {
 public:
  // A new reference.
  PyObject* get(Rank id) {
    if (id >= kLow) [[unlikely]]
      return get_high(id);
    PyObject*& value = low_.get()[id];
    if (value == nullptr) [[unlikely]]
      value = new_int(id);
    Py_INCREF(value);
    return value;
  }

 private:
  static constexpr std::size_t kLow = 16'384;
  static constexpr unsigned kSlotBits = 14;

  PyObject* get_high(Rank id) {
    const std::size_t slot = (id * 0x9E3779B1U) >> (32U - kSlotBits);
    PyObject*& value = high_.get()[slot];
    if (ids_.get()[slot] != id) {
      PyObject* const fresh = new_int(id);
      Py_XSETREF(value, fresh);
      ids_.get()[slot] = id;
    }
    Py_INCREF(value);
    return value;
  }

  template <typename T>
  static std::unique_ptr<T[]> zeros(std::size_t count) {
    return std::make_unique<T[]>(count);
  }
  std::unique_ptr<PyObject*[]> low_ = zeros<PyObject*>(kLow);
  std::unique_ptr<PyObject*[]> high_ = zeros<PyObject*>(std::size_t{1} << kSlotBits);
  std::unique_ptr<Rank[]> ids_ = zeros<Rank>(std::size_t{1} << kSlotBits);  // 0: the slot is free
};

}  // namespace

py::list id_list(std::span<const Rank> ids) {
  static auto& ints = *new SharedInts;
  py::list list(ids.size());
  for (std::size_t begin = 0; begin < ids.size(); begin += kLookEvery) {
    if (begin != 0) check_signals();
    const std::size_t end = std::min(ids.size(), begin + kLookEvery);
    for (std::size_t i = begin; i < end; ++i) {
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), ints.get(ids[i]));
    }
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
