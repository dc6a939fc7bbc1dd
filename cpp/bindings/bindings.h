// bindings/bindings.h - one function per room; module.cc calls each once.
#ifndef DURE_BINDINGS_BINDINGS_H_
#define DURE_BINDINGS_BINDINGS_H_

#include <pybind11/pybind11.h>

namespace dure::bindings {

void bind_base(pybind11::module_& core);
void bind_tokenize(pybind11::module_& core);
void bind_index(pybind11::module_& core);
void bind_chunk(pybind11::module_& core);
void bind_catalog(pybind11::module_& core);
void bind_policy(pybind11::module_& core);
void bind_money(pybind11::module_& core);
void bind_net(pybind11::module_& core);
void bind_flow(pybind11::module_& core);
void bind_client(pybind11::module_& core);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_BINDINGS_H_
