// bindings/request_writer.h - Python objects to JSON and back, in one walk without `json`.
#ifndef DURE_BINDINGS_REQUEST_WRITER_H_
#define DURE_BINDINGS_REQUEST_WRITER_H_

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

namespace dure::bindings {

namespace py = pybind11;

// REQUIRES: the GIL is held. The JSON text of dicts with str keys, lists, tuples, str, int, float,
// bool, None, and objects with to_dict() or model_dump(). Throws InvalidArgumentError (`argument`,
// `.path` such as messages[0].content) for NaN, infinity, a lone surrogate, another type, more than
// 256 levels.
[[nodiscard]] std::string write_json(py::handle value, std::string_view argument);

// REQUIRES: the GIL is held. The Python objects of a JSON text. Throws InvalidArgumentError.
[[nodiscard]] py::object read_json(std::string_view text);
// The same of one member of an object; None if it is not there. Only that one becomes objects.
[[nodiscard]] py::object read_json_member(std::string_view text, std::string_view name);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_REQUEST_WRITER_H_
