// bindings/no_memory.h - the error of a want of memory, made without asking the core for any.
#ifndef DURE_BINDINGS_NO_MEMORY_H_
#define DURE_BINDINGS_NO_MEMORY_H_

#include <pybind11/pybind11.h>

namespace dure::bindings {

namespace py = pybind11;

// REQUIRES: the GIL is held. An OutOfMemoryError; a MemoryError, if not even that can be made.
py::object no_memory_exception();
// REQUIRES: the GIL is held. Sets it as the error of this thread.
void raise_no_memory();

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_NO_MEMORY_H_
