// The extension module dure._core: every room binds itself, nothing is decided here.
#include <pybind11/pybind11.h>

#include "bindings.h"
#include "status.h"

PYBIND11_MODULE(_core, core) {
  core.doc() = "The C++ core of dure. Private: import names from dure instead.";
  dure::bindings::register_status_translator();
  dure::bindings::bind_base(core);
  dure::bindings::bind_tokenize(core);
  dure::bindings::bind_index(core);
  dure::bindings::bind_chunk(core);
  dure::bindings::bind_catalog(core);
  dure::bindings::bind_policy(core);
  dure::bindings::bind_money(core);
  dure::bindings::bind_net(core);
  dure::bindings::bind_flow(core);
  dure::bindings::bind_client(core);
}
