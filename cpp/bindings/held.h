// bindings/held.h - Python types of the C API for objects that are handed out while something is
// under way.
//
// pybind11 notes every object that it hands out in a table; where memory for that note runs out it
// destroys the object twice. A Held object is a Python object with a pointer in it, and no more.
#ifndef DURE_BINDINGS_HELD_H_
#define DURE_BINDINGS_HELD_H_

#include <pybind11/pybind11.h>

#include <memory>
#include <new>
#include <string>
#include <utility>

#include "no_memory.h"
#include "status.h"

namespace dure::bindings {

namespace py = pybind11;

// Runs a function of such a type; what it throws becomes the error of this thread. GIL held.
template <typename Step>
PyObject* as_python(Step step) noexcept {
  try {
    try {
      return step().release().ptr();
    } catch (const StatusException& error) {
      const py::object raised = to_exception(error.status());
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
    }
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {  // in the handler above, too
    raise_no_memory();
  }
  return nullptr;
}

// All under the GIL.
template <typename T>
class Held {
 public:
  // Makes the type `name` of the module; once.
  static void bind(py::module_& room, const char* name, PyType_Slot* slots) {
    const std::string full = "dure._core.net." + std::string(name);
    PyType_Spec spec = {full.c_str(), sizeof(Object), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
    const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
    if (!type) throw py::error_already_set();
    type_ = reinterpret_cast<PyTypeObject*>(type.ptr());
    Py_INCREF(type_);
    room.attr(name) = type;
  }
  static py::object wrap(std::shared_ptr<T> value) {
    PyObject* const self = type_->tp_alloc(type_, 0);
    if (self == nullptr) throw py::error_already_set();
    new (&reinterpret_cast<Object*>(self)->value) std::shared_ptr<T>(std::move(value));
    return py::reinterpret_steal<py::object>(self);
  }
  static T& of(PyObject* self) { return *reinterpret_cast<Object*>(self)->value; }
  // For Py_tp_dealloc.
  static void dealloc(PyObject* self) {
    PyTypeObject* const type = Py_TYPE(self);
    using Pointer = std::shared_ptr<T>;
    reinterpret_cast<Object*>(self)->value.~Pointer();
    type->tp_free(self);
    Py_DECREF(type);
  }

 private:
  struct Object {
    PyObject_HEAD std::shared_ptr<T> value;
  };
  static inline PyTypeObject* type_ = nullptr;  // leaked
};

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_HELD_H_
