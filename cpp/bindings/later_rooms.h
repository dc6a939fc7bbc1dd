// bindings/later_rooms.h - rooms that are bound when the first name of one of them is asked for.
//
// Their modules are there from the start, so that they can be imported; their names are not: making
// the types of all rooms takes as long as reading a vocabulary, and who counts tokens needs few.
//
// REQUIRES: the GIL is held.
#ifndef DURE_BINDINGS_LATER_ROOMS_H_
#define DURE_BINDINGS_LATER_ROOMS_H_

#include <pybind11/pybind11.h>

#include <span>

namespace dure::bindings {

struct LaterRoom {
  const char* name;
  void (*bind)(pybind11::module_& core);
};

// All are bound together, in this order, once a process. REQUIRES: `rooms` lives for ever.
void bind_on_first_use(pybind11::module_& core, std::span<const LaterRoom> rooms);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_LATER_ROOMS_H_
