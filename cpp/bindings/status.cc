#include "status.h"

#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "no_memory.h"

namespace dure::bindings {
namespace {

// In the order of base::Code.
constexpr std::array<const char*, 17> kClasses{
    "DureError",           "InvalidArgumentError", "NotFoundError",        "InvalidModelError",
    "BudgetExceededError", "RateLimitError",       "QueueFullError",       "DeadlineError",
    "UnavailableError",    "UpstreamError",        "TruncatedStreamError", "StorageError",
    "StoreCorruptError",   "OutOfMemoryError",     "UnsupportedError",     "InternalError",
    "CancelledError"};

// Leaked on purpose: it must outlive every translation, also at interpreter exit.
PyObject*& errors_module() {
  static PyObject* module = nullptr;
  return module;
}

py::object exception_class(const base::Status& status) {
  if (status.code() == base::Code::kCancelled) {
    return py::module_::import("asyncio").attr("CancelledError");
  }
  PyObject* errors = errors_module();
  const py::object module = errors != nullptr ? py::reinterpret_borrow<py::object>(errors)
                                              : py::object(py::module_::import("dure.errors"));
  const char* name = status.leaf().empty() ? kClasses[static_cast<std::size_t>(status.code())]
                                           : status.leaf().c_str();
  return module.attr(name);
}

// Messages may quote damaged files: what is no UTF-8 is replaced.
py::str readable(const std::string& text) {
  PyObject* made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(made);
}

py::object to_python(const base::Status::Value& value) {
  const auto cast = [](const auto& held) -> py::object {
    if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::string>) {
      return readable(held);
    } else {
      return py::cast(held);
    }
  };
  return std::visit(cast, value);
}

}  // namespace

void set_errors_module(py::module_ errors) { errors_module() = errors.release().ptr(); }

py::object to_exception(const base::Status& status) {
  py::object error = exception_class(status)(readable(status.message()));
  if (status.code() == base::Code::kCancelled) return error;
  error.attr("http_status") = status.http_status();
  if (status.retry_after()) error.attr("retry_after") = *status.retry_after();
  if (!status.provider_code().empty()) error.attr("code") = status.provider_code();
  for (const auto& [name, value] : status.details()) error.attr(name.c_str()) = to_python(value);
  return error;
}

py::object no_memory_exception() {
  PyObject* const errors = errors_module();
  PyObject* error = nullptr;
  PyObject* const type =
      errors != nullptr ? PyObject_GetAttrString(errors, "OutOfMemoryError") : nullptr;
  if (type != nullptr) {
    error = PyObject_CallFunction(type, "s", "out of memory: use smaller batches, or more memory");
    Py_DECREF(type);
  }
  if (error == nullptr) {
    PyErr_Clear();
    error = PyObject_CallNoArgs(PyExc_MemoryError);
  }
  if (error == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(error);
}

void raise_no_memory() {
  const py::object error = no_memory_exception();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
}

void register_status_translator() {
  py::register_local_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const StatusException& failure) {
      const py::object error = to_exception(failure.status());
      PyErr_SetObject(py::type::of(error).ptr(), error.ptr());
    } catch (const std::bad_alloc&) {
      raise_no_memory();
    }
  });
}

}  // namespace dure::bindings
