// bindings/status.h - the one translation of a base::Status into a Python exception.
//
// A binding writes `value_or_throw(room_function(...))`; the exception class is looked up in
// dure.errors by code and leaf, its attributes are the Status's details.
#ifndef DURE_BINDINGS_STATUS_H_
#define DURE_BINDINGS_STATUS_H_

#include <pybind11/pybind11.h>

#include <exception>
#include <utility>

#include "dure/base/result.h"

namespace dure::bindings {

namespace py = pybind11;

// Carries a Status through pybind11's dispatcher. Thrown in bindings only.
class StatusException final : public std::exception {
 public:
  explicit StatusException(base::Status status) : status_(std::move(status)) {}
  [[nodiscard]] const base::Status& status() const noexcept { return status_; }
  [[nodiscard]] const char* what() const noexcept override { return status_.message().c_str(); }

 private:
  base::Status status_;
};

template <typename T>
T value_or_throw(base::Result<T>&& result) {
  if (!result) throw StatusException(std::move(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline void ok_or_throw(base::Status&& status) {
  if (!status.ok()) throw StatusException(std::move(status));
}

// REQUIRES: the GIL is held. The Python exception object for `status`, for a future's
// set_exception or for a failed slot of a batch. `status` is not ok.
py::object to_exception(const base::Status& status);

// Registers the translator for this module. `errors`: the module dure.errors.
void register_status_translator();
void set_errors_module(py::module_ errors);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_STATUS_H_
