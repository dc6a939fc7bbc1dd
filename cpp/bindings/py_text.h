// bindings/py_text.h - the characters of a Python str, read without the interpreter's lock.
//
// REQUIRES for all: the str outlives the reader. A str does not change, so its characters may be
// read while the lock is released.
#ifndef DURE_BINDINGS_PY_TEXT_H_
#define DURE_BINDINGS_PY_TEXT_H_

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <string_view>

#include "dure/text/transcode.h"

namespace dure::bindings {

namespace py = pybind11;

// The str's own array. Raises TypeError, naming `argument`, for anything but a str.
// REQUIRES: the GIL is held.
inline text::CodeUnits code_units(py::handle value, const char* argument) {
  if (!PyUnicode_Check(value.ptr())) {
    throw py::type_error(std::string(argument) + " must be str, not " +
                         Py_TYPE(value.ptr())->tp_name);
  }
#if PY_VERSION_HEX < 0x030C0000
  if (PyUnicode_READY(value.ptr()) != 0) throw py::error_already_set();
#endif
  return {PyUnicode_DATA(value.ptr()), static_cast<std::size_t>(PyUnicode_GET_LENGTH(value.ptr())),
          static_cast<unsigned>(PyUnicode_KIND(value.ptr())), PyUnicode_IS_ASCII(value.ptr()) != 0};
}

// The whole text as UTF-8: the str's own bytes if it is ASCII, else a copy.
// Not for a str with surrogates: ok() is false then.
class Utf8Text {
 public:
  explicit Utf8Text(const text::CodeUnits& units) {
    if (units.ascii) {
      view_ = units.as_ascii();
      return;
    }
    copy_ = std::make_unique_for_overwrite<char[]>(units.size * units.most_bytes());
    const text::Transcoded done = text::to_utf8(units, 0, units.size, copy_.get());
    ok_ = done.read == units.size;
    view_ = std::string_view(copy_.get(), done.written);
  }
  Utf8Text(const Utf8Text&) = delete;
  Utf8Text& operator=(const Utf8Text&) = delete;
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::string_view view() const noexcept { return view_; }

 private:
  std::unique_ptr<char[]> copy_;
  std::string_view view_;
  bool ok_ = true;
};

// What tiktoken does with a str that is no valid text: surrogate pairs become their character,
// lone ones U+FFFD. REQUIRES: the GIL is held.
inline py::str without_surrogates(py::handle value) {
  return value.attr("encode")("utf-16", "surrogatepass").attr("decode")("utf-16", "replace");
}

// Raises the UnicodeEncodeError that Python raises for a surrogate. REQUIRES: the GIL is held.
[[noreturn]] inline void raise_surrogate(py::handle value) {
  value.attr("encode")("utf-8");
  throw py::value_error("surrogates not allowed");
}

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_PY_TEXT_H_
