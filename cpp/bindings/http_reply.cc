#include "http_reply.h"

#include <new>
#include <string_view>
#include <utility>

#include "no_memory.h"
#include "request_writer.h"
#include "status.h"

namespace dure::bindings {
namespace {

struct ReplyObject {
  PyObject_HEAD HttpReply reply;
  PyObject* content;  // made of reply.content when first asked for, in its place
};

PyTypeObject* reply_type = nullptr;  // leaked; set once, by bind_http_reply

const HttpReply& reply_of(PyObject* self) { return reinterpret_cast<ReplyObject*>(self)->reply; }

void dealloc(PyObject* self) {
  auto* const object = reinterpret_cast<ReplyObject*>(self);
  PyTypeObject* const type = Py_TYPE(self);
  object->reply.~HttpReply();
  Py_XDECREF(object->content);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* get_status(PyObject* self, void*) { return PyLong_FromLong(reply_of(self).status); }

PyObject* get_headers(PyObject* self, void*) {
  try {
    return header_list(reply_of(self).headers).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

PyObject* get_content(PyObject* self, void*) {
  auto* const object = reinterpret_cast<ReplyObject*>(self);
  if (object->content == nullptr) {
    std::string& bytes = object->reply.content;
    object->content =
        PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
    if (object->content == nullptr) return nullptr;
    bytes = std::string();
  }
  return Py_NewRef(object->content);
}

PyObject* get_seconds(PyObject* self, void*) {
  const net::Timing& timing = reply_of(self).timing;
  const bool known = timing.submitted.ns != 0 && timing.ended.ns != 0;
  const auto span = (timing.ended - timing.submitted).count();
  return PyFloat_FromDouble(known ? static_cast<double>(span) * 1e-9 : 0.0);
}

PyObject* get_reused(PyObject* self, void*) {
  return PyBool_FromLong(reply_of(self).timing.reused_connection ? 1 : 0);
}

std::string_view bytes_of(const ReplyObject& object) {
  if (object.content == nullptr) return object.reply.content;
  return {PyBytes_AS_STRING(object.content),
          static_cast<std::size_t>(PyBytes_GET_SIZE(object.content))};
}

PyObject* call_json(PyObject* self, PyObject*) {
  const auto& object = *reinterpret_cast<ReplyObject*>(self);
  try {
    return read_json(bytes_of(object)).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const StatusException& failure) {
    const py::object raised = to_exception(
        base::Status(base::Code::kUpstream, "the body is no JSON: " + failure.status().message())
            .with("status_code", std::int64_t{object.reply.status}));
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
  } catch (const std::bad_alloc&) {
    raise_no_memory();
  }
  return nullptr;
}

PyGetSetDef properties[] = {
    {"status", &get_status, nullptr, "The HTTP status.", nullptr},
    {"headers", &get_headers, nullptr, "Names and values, in the order of their lines.", nullptr},
    {"content", &get_content, nullptr, "The body.", nullptr},
    {"seconds", &get_seconds, nullptr, "From the call to the last byte.", nullptr},
    {"reused_connection", &get_reused, nullptr, "No connection was made for it.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"json", &call_json, METH_NOARGS, "json($self, /)\n--\n\nThe Python objects of the body."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
                       {Py_tp_getset, properties},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("A whole HTTP reply.")},
                       {0, nullptr}};

PyType_Spec spec = {"dure._core.net.HttpReply", sizeof(ReplyObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

py::object latin1(std::string_view text) {
  PyObject* const made =
      PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

}  // namespace

py::list header_list(const net::HeaderLines& headers) {
  py::list list(headers.size());
  for (std::size_t at = 0; at < headers.size(); ++at) {
    list[at] = py::make_tuple(latin1(headers.name(at)), latin1(headers.value(at)));
  }
  return list;
}

py::object to_python(HttpReply reply) {
  PyObject* const self = reply_type->tp_alloc(reply_type, 0);
  if (self == nullptr) throw py::error_already_set();
  auto* const object = reinterpret_cast<ReplyObject*>(self);
  new (&object->reply) HttpReply(std::move(reply));
  object->content = nullptr;
  return py::reinterpret_steal<py::object>(self);
}

void bind_http_reply(py::module_& room) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  reply_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  Py_INCREF(reply_type);
  room.attr("HttpReply") = type;
}

}  // namespace dure::bindings
