// bindings/http_reply.h - a whole reply of the low-level HTTP client as a Python object.
//
// A type of the C API and no pybind11 class: it is made once a request, and a quarter of what such
// an object costs there is its entry in a table of instances that nothing here needs.
#ifndef DURE_BINDINGS_HTTP_REPLY_H_
#define DURE_BINDINGS_HTTP_REPLY_H_

#include <pybind11/pybind11.h>

#include <string>

#include "dure/net/transport.h"

namespace dure::bindings {

namespace py = pybind11;

struct HttpReply {
  int status = 0;
  net::HeaderLines headers;
  std::string content;
  net::Timing timing;
};

// REQUIRES for all: the GIL is held.
py::object to_python(HttpReply reply);
// As pairs of text; obsolete bytes as Latin-1, as browsers read them.
py::list header_list(const net::HeaderLines& headers);
void bind_http_reply(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_HTTP_REPLY_H_
