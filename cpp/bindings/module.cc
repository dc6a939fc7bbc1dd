// The extension module dure._core: every room binds itself, nothing is decided here.
#include <pybind11/pybind11.h>

#include "bindings.h"
#include "later_rooms.h"
#include "status.h"

PYBIND11_MODULE(_core, core) {
  using namespace dure::bindings;  // NOLINT(google-build-using-namespace): one function
  core.doc() = "The C++ core of dure. Private: import names from dure instead.";
  register_status_translator();
  bind_base(core);
  bind_tokenize(core);
  bind_net(core);  // what ends and what forks must know of it from the start
  static constexpr LaterRoom kLater[] = {{"index", bind_index},     {"chunk", bind_chunk},
                                         {"catalog", bind_catalog}, {"policy", bind_policy},
                                         {"money", bind_money},     {"flow", bind_flow},
                                         {"client", bind_client}};
  bind_on_first_use(core, kLater);
}
