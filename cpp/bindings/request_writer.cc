#include "request_writer.h"

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "json/reader.h"
#include "json/writer.h"
#include "status.h"

namespace dure::bindings {
namespace {

constexpr int kMaxDepth = 256;

// Where in the value we are: a chain on the stack, spelled out only when something is wrong.
struct Place {
  const Place* parent = nullptr;
  py::handle key;
  Py_ssize_t index = -1;

  [[nodiscard]] std::string path() const {
    std::string above = parent != nullptr ? parent->path() : std::string{};
    if (index >= 0) return above + "[" + std::to_string(index) + "]";
    if (!key) return above;
    const std::string name = name_of(key);
    return above.empty() ? name : above + "." + name;
  }

  // Only text and numbers are shown: the repr of others holds their address, or what they like.
  static std::string name_of(py::handle key) {
    PyObject* const raw = key.ptr();
    if (PyUnicode_Check(raw)) {
      const auto quoted = py::reinterpret_steal<py::object>(PyUnicode_Type.tp_repr(raw));
      if (!quoted) throw py::error_already_set();
      const auto name = quoted.cast<std::string>();
      return name.substr(1, name.size() - 2);
    }
    const bool number = PyLong_CheckExact(raw) || PyFloat_CheckExact(raw) || PyBool_Check(raw);
    if (number) return py::repr(key).cast<std::string>();
    return "<" + std::string(Py_TYPE(raw)->tp_name) + ">";
  }
};

// The beginning and the end of a path that is too long to be read.
std::string readable(const std::string& path) {
  constexpr std::size_t kMost = 120;
  if (path.size() <= kMost) return path;
  return path.substr(0, kMost / 2) + "..." + path.substr(path.size() - kMost / 4);
}

class Walk {
 public:
  explicit Walk(std::string_view argument) : argument_(argument) {}

  void value(py::handle object, const Place& place, int depth) {
    PyObject* raw = object.ptr();
    if (depth > kMaxDepth) fail(place, "is nested deeper than 256 levels, or holds itself");
    if (raw == Py_None) return out_.null();
    if (PyBool_Check(raw)) return out_.boolean(raw == Py_True);
    if (PyUnicode_Check(raw)) return out_.string(text(object, place));
    if (PyLong_Check(raw)) return integer(object, place);
    if (PyFloat_Check(raw)) return real(PyFloat_AS_DOUBLE(raw), place);
    if (PyDict_Check(raw)) return mapping(object, place, depth);
    if (PyList_Check(raw) || PyTuple_Check(raw)) return sequence(object, place, depth);
    other(object, place, depth);
  }

  [[nodiscard]] std::string take() && { return std::move(out_).take(); }

 private:
  [[noreturn]] void fail(const Place& place, const std::string& what) const {
    const std::string path = place.path();
    throw StatusException(base::invalid_argument(
                              argument_, (path.empty() ? "the value" : readable(path)) + " " + what)
                              .with("path", path));
  }

  std::string_view text(py::handle object, const Place& place) const {
    Py_ssize_t size = 0;
    const char* bytes = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
    if (bytes == nullptr) {
      PyErr_Clear();
      fail(place, "holds a lone surrogate, which no JSON can carry: clean the text");
    }
    return {bytes, static_cast<std::size_t>(size)};
  }

  void integer(py::handle object, const Place& place) {
    int overflow = 0;
    const long long small = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
    if (overflow == 0) return out_.integer(small);
    const unsigned long long large = PyLong_AsUnsignedLongLong(object.ptr());
    if (PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      fail(place, "is beyond 64 bits, which no JSON reader must take: send it as text");
    }
    out_.raw(std::to_string(large));
  }

  void real(double number, const Place& place) {
    if (!std::isfinite(number)) fail(place, "is NaN or infinite, which JSON cannot carry");
    out_.real(number);
  }

  void mapping(py::handle object, const Place& place, int depth) {
    out_.begin_object();
    PyObject* key = nullptr;
    PyObject* item = nullptr;
    Py_ssize_t position = 0;
    while (PyDict_Next(object.ptr(), &position, &key, &item) != 0) {
      // Held: a to_dict below may change the dict.
      const auto held_key = py::reinterpret_borrow<py::object>(key);
      const auto held_item = py::reinterpret_borrow<py::object>(item);
      const Place here{&place, held_key, -1};
      if (!PyUnicode_Check(key)) fail(here, "is a key that is no text");
      out_.key(text(held_key, here));
      value(held_item, here, depth + 1);
    }
    out_.end_object();
  }

  void sequence(py::handle object, const Place& place, int depth) {
    out_.begin_array();
    // The size is read anew each time: a to_dict of an element may change the list.
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object.ptr()); ++i) {
      const auto item =
          py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(object.ptr(), i));
      value(item, Place{&place, {}, i}, depth + 1);
    }
    out_.end_array();
  }

  // An object says itself what it is made of; one that is nested too deeply cannot.
  template <typename Make>
  py::object made(const Place& place, Make make) const {
    try {
      return make();
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_RecursionError)) throw;
    }
    fail(place, "is nested too deeply to be taken apart, or holds itself");
  }

  void other(py::handle object, const Place& place, int depth) {
    if (py::hasattr(object, "to_dict")) {
      return value(made(place, [&] { return py::object(object.attr("to_dict")()); }), place,
                   depth + 1);
    }
    if (py::hasattr(object, "model_dump")) {
      py::dict options;
      options["exclude_unset"] = true;
      options["mode"] = "json";
      return value(made(place, [&] { return py::object(object.attr("model_dump")(**options)); }),
                   place, depth + 1);
    }
    fail(place, "is of type " + py::type::of(object).attr("__name__").cast<std::string>() +
                    ", which JSON cannot carry: give dict, list, str, int, float, bool or None");
  }

  const std::string argument_;
  json::Writer out_{1024};
};

// Keys of the wire's objects are few and come again: the last string made for each place of a table
// is kept. Guarded by the GIL; leaked, it is as long-lived as the interpreter.
class Keys {
 public:
  static Keys& instance() {
    static auto* const kept = new Keys();
    return *kept;
  }

  py::object get(std::string_view key) {
    if (key.size() > kLongest) return make(key);
    Entry& entry = entries_[place(key)];
    if (!entry.object || entry.text != key) {
      entry.object = make(key);
      entry.text = key;
    }
    return entry.object;
  }

 private:
  static constexpr std::size_t kLongest = 31;
  struct Entry {
    std::string text;
    py::object object;
  };
  static std::size_t place(std::string_view key) noexcept {
    std::size_t sum = key.size();
    for (const char c : key) sum = sum * 31 + static_cast<unsigned char>(c);
    return sum % 512;
  }
  static py::object make(std::string_view key) { return py::str(key.data(), key.size()); }
  std::array<Entry, 512> entries_;
};

py::object to_python(const json::Value& value) {
  switch (value.kind()) {
    case json::Kind::kMissing:
    case json::Kind::kNull:
      return py::none();
    case json::Kind::kBool:
      return py::bool_(*value.boolean());
    case json::Kind::kInteger:
      if (const auto whole = value.integer()) return py::int_(*whole);
      return py::reinterpret_steal<py::object>(
          PyLong_FromString(value.text().c_str(), nullptr, 10));
    case json::Kind::kReal:
      return py::float_(*value.number());
    case json::Kind::kString: {
      const std::string_view text = *value.string();
      return py::reinterpret_steal<py::object>(
          PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
    }
    case json::Kind::kArray: {
      py::list out;
      for (const json::Value& item : value.items()) out.append(to_python(item));
      return out;
    }
    case json::Kind::kObject: {
      py::dict out;
      for (const auto& [key, item] : value.members()) {
        const py::object name = Keys::instance().get(key);
        const py::object held = to_python(item);
        if (PyDict_SetItem(out.ptr(), name.ptr(), held.ptr()) != 0) throw py::error_already_set();
      }
      return out;
    }
  }
  return py::none();
}

}  // namespace

std::string write_json(py::handle value, std::string_view argument) {
  Walk walk(argument);
  walk.value(value, Place{}, 0);
  return std::move(walk).take();
}

py::object read_json(std::string_view text) {
  json::Parser parser;
  const json::Value root = value_or_throw(parser.parse(text));
  return to_python(root);
}

py::object read_json_member(std::string_view text, std::string_view name) {
  json::Parser parser;
  const json::Value root = value_or_throw(parser.parse(text));
  return to_python(root[name]);
}

}  // namespace dure::bindings
