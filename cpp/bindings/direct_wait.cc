#include "direct_wait.h"

#include <cstdint>
#include <utility>

namespace dure::bindings {
namespace {

enum class State : std::uint8_t { kPending, kResult, kException, kCancelled };

struct WaitObject {
  PyObject_HEAD PyObject* loop;
  PyObject* callback;  // the task's wake-up; null: nobody waits
  PyObject* context;   // that it runs in
  PyObject* value;     // the result, the exception, or the message of the cancel
  State state;
  bool blocking;  // asyncio's protocol: it was yielded by an await and not by a plain yield
};

PyTypeObject* wait_type = nullptr;  // leaked; set once

// Leaked: they are used as long as the process lives.
struct Kept {
  py::object cancelled_error = py::module_::import("asyncio").attr("CancelledError");
  py::object invalid_state = py::module_::import("asyncio").attr("InvalidStateError");
  py::object call_soon = py::str("call_soon");
  py::object with_context = py::make_tuple("context");
};

const Kept& kept() {
  static const Kept* const all = new Kept();  // made under the GIL by make(), never concurrently
  return *all;
}

WaitObject& of(PyObject* self) { return *reinterpret_cast<WaitObject*>(self); }

// The loop calls the waiter in a later turn. False: a Python error is set.
bool schedule(WaitObject& wait) {
  if (wait.callback == nullptr) return true;
  const auto callback = py::reinterpret_steal<py::object>(std::exchange(wait.callback, nullptr));
  const auto context = py::reinterpret_steal<py::object>(std::exchange(wait.context, nullptr));
  PyObject* const given[] = {wait.loop, callback.ptr(), reinterpret_cast<PyObject*>(&wait),
                             context.ptr()};
  PyObject* const names = context ? kept().with_context.ptr() : nullptr;
  const auto handle = py::reinterpret_steal<py::object>(
      PyObject_VectorcallMethod(kept().call_soon.ptr(), given, 3, names));
  return static_cast<bool>(handle);
}

// The waiter runs now, in its context. False: a Python error is set.
bool run(WaitObject& wait) {
  if (wait.callback == nullptr) return true;
  if (wait.context != nullptr && PyContext_Enter(wait.context) != 0) {
    if (PyErr_ExceptionMatches(PyExc_RuntimeError) == 0) return false;
    PyErr_Clear();  // its context is in use: below a loop that runs inside a task
    return schedule(wait);
  }
  const auto callback = py::reinterpret_steal<py::object>(std::exchange(wait.callback, nullptr));
  const auto context = py::reinterpret_steal<py::object>(std::exchange(wait.context, nullptr));
  const auto none = py::reinterpret_steal<py::object>(
      PyObject_CallOneArg(callback.ptr(), reinterpret_cast<PyObject*>(&wait)));
  if (!context) return static_cast<bool>(none);
  if (none) return PyContext_Exit(context.ptr()) == 0;
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  if (PyContext_Exit(context.ptr()) != 0) PyErr_Clear();
  PyErr_Restore(type, value, trace);
  return false;
}

void settle(WaitObject& wait, State state, PyObject* value) {
  wait.state = state;
  wait.value = Py_NewRef(value);
}

PyObject* raise_kept(const WaitObject& wait) {
  if (wait.state == State::kCancelled) {
    PyErr_SetObject(kept().cancelled_error.ptr(), wait.value == Py_None ? nullptr : wait.value);
  } else {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(wait.value)), wait.value);
  }
  return nullptr;
}

// --- asyncio's protocol ---

PyObject* call_result(PyObject* self, PyObject*) {
  const WaitObject& wait = of(self);
  if (wait.state == State::kResult) return Py_NewRef(wait.value);
  if (wait.state != State::kPending) return raise_kept(wait);
  PyErr_SetString(kept().invalid_state.ptr(), "nothing has come yet");
  return nullptr;
}

PyObject* call_exception(PyObject* self, PyObject* none) {
  const WaitObject& wait = of(self);
  if (wait.state == State::kResult) Py_RETURN_NONE;
  return wait.state == State::kException ? Py_NewRef(wait.value) : call_result(self, none);
}

PyObject* call_done(PyObject* self, PyObject*) {
  return PyBool_FromLong(of(self).state != State::kPending ? 1 : 0);
}

PyObject* call_cancelled(PyObject* self, PyObject*) {
  return PyBool_FromLong(of(self).state == State::kCancelled ? 1 : 0);
}

PyObject* call_get_loop(PyObject* self, PyObject*) {
  return Py_NewRef(of(self).loop != nullptr ? of(self).loop : Py_None);
}

// cancel(msg=None), by place or by name.
PyObject* call_cancel(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* names) {
  const Py_ssize_t all = count + (names != nullptr ? PyTuple_GET_SIZE(names) : 0);
  if (all > 1) {
    PyErr_SetString(PyExc_TypeError, "cancel takes one message");
    return nullptr;
  }
  WaitObject& wait = of(self);
  if (wait.state != State::kPending) Py_RETURN_FALSE;
  settle(wait, State::kCancelled, all == 1 ? given[0] : Py_None);
  if (!schedule(wait)) return nullptr;
  Py_RETURN_TRUE;
}

// add_done_callback(call, *, context=None)
PyObject* call_add_done_callback(PyObject* self, PyObject* const* given, Py_ssize_t count,
                                 PyObject* names) {
  const Py_ssize_t named = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  WaitObject& wait = of(self);
  if (count != 1 || named > 1 || wait.callback != nullptr) {
    PyErr_SetString(PyExc_TypeError, "one task waits here, and nothing else");
    return nullptr;
  }
  wait.callback = Py_NewRef(given[0]);
  wait.context = named == 1 && given[1] != Py_None ? Py_NewRef(given[1]) : nullptr;
  if (wait.state != State::kPending && !schedule(wait)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* get_blocking(PyObject* self, void*) { return PyBool_FromLong(of(self).blocking ? 1 : 0); }

int set_blocking(PyObject* self, PyObject* value, void*) {
  const int truth = value != nullptr ? PyObject_IsTrue(value) : 0;
  if (truth < 0) return -1;
  of(self).blocking = truth == 1;
  return 0;
}

PySendResult send(PyObject* self, PyObject*, PyObject** result) {
  WaitObject& wait = of(self);
  *result = nullptr;
  if (wait.state == State::kResult) {
    *result = Py_NewRef(wait.value);
    return PYGEN_RETURN;
  }
  if (wait.state != State::kPending) {
    raise_kept(wait);
    return PYGEN_ERROR;
  }
  if (wait.blocking) {
    PyErr_SetString(PyExc_RuntimeError, "somebody waits here already");
    return PYGEN_ERROR;
  }
  wait.blocking = true;
  *result = Py_NewRef(self);
  return PYGEN_NEXT;
}

// For whoever steps an iterator by hand; an await uses send().
PyObject* next(PyObject* self) {
  PyObject* result = nullptr;
  if (send(self, nullptr, &result) != PYGEN_RETURN) return result;
  const auto value = py::reinterpret_steal<py::object>(result);
  const auto stop =
      py::reinterpret_steal<py::object>(PyObject_CallOneArg(PyExc_StopIteration, value.ptr()));
  if (stop) PyErr_SetObject(PyExc_StopIteration, stop.ptr());
  return nullptr;
}

PyObject* itself(PyObject* self) { return Py_NewRef(self); }

// --- memory ---

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(of(self).loop);
  Py_VISIT(of(self).callback);
  Py_VISIT(of(self).context);
  Py_VISIT(of(self).value);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(of(self).loop);
  Py_CLEAR(of(self).callback);
  Py_CLEAR(of(self).context);
  Py_CLEAR(of(self).value);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

template <typename Function>
PyCFunction as_method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"result", &call_result, METH_NOARGS, nullptr},
    {"exception", &call_exception, METH_NOARGS, nullptr},
    {"done", &call_done, METH_NOARGS, nullptr},
    {"cancelled", &call_cancelled, METH_NOARGS, nullptr},
    {"get_loop", &call_get_loop, METH_NOARGS, nullptr},
    {"cancel", as_method(&call_cancel), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"add_done_callback", as_method(&call_add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef properties[] = {
    {"_asyncio_future_blocking", &get_blocking, &set_blocking, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
                       {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                       {Py_tp_iter, reinterpret_cast<void*>(&itself)},
                       {Py_tp_iternext, reinterpret_cast<void*>(&next)},
                       {Py_am_await, reinterpret_cast<void*>(&itself)},
                       {Py_am_send, reinterpret_cast<void*>(&send)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, properties},
                       {0, nullptr}};

PyType_Spec spec = {"dure._core.net.DirectWait", sizeof(WaitObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

void DirectWait::init() {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  wait_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  Py_INCREF(wait_type);
}

py::object DirectWait::make(const py::object& loop) {
  PyObject* const self = wait_type->tp_alloc(wait_type, 0);  // all zero: pending
  if (self == nullptr) throw py::error_already_set();
  of(self).loop = Py_NewRef(loop.ptr());
  kept();  // here and not at import, which loads no asyncio
  return py::reinterpret_steal<py::object>(self);
}

py::object DirectWait::resolved(py::object result) {
  PyObject* const self = wait_type->tp_alloc(wait_type, 0);
  if (self == nullptr) throw py::error_already_set();
  of(self).value = result.release().ptr();
  of(self).state = State::kResult;
  return py::reinterpret_steal<py::object>(self);
}

bool DirectWait::is(const py::object& object) { return Py_TYPE(object.ptr()) == wait_type; }

bool DirectWait::done(const py::object& wait) { return of(wait.ptr()).state != State::kPending; }

void DirectWait::resume(const py::object& wait, const py::object& result) {
  if (done(wait)) return;
  settle(of(wait.ptr()), State::kResult, result.ptr());
  if (!run(of(wait.ptr()))) throw py::error_already_set();
}

void DirectWait::fail(const py::object& wait, const py::object& exception) {
  if (done(wait)) return;
  settle(of(wait.ptr()), State::kException, exception.ptr());
  if (!run(of(wait.ptr()))) throw py::error_already_set();
}

void DirectWait::fail_later(const py::object& wait, const py::object& exception) {
  if (done(wait)) return;
  settle(of(wait.ptr()), State::kException, exception.ptr());
  if (!schedule(of(wait.ptr()))) throw py::error_already_set();
}

ContextLeft::ContextLeft()
    : context_(py::reinterpret_borrow<py::object>(PyThreadState_Get()->context)) {
  if (context_ && PyContext_Exit(context_.ptr()) == 0) return;
  if (context_) PyErr_Clear();  // made by the interpreter and never entered: there is none to leave
  context_ = py::object();
}

ContextLeft::~ContextLeft() {
  if (context_ && PyContext_Enter(context_.ptr()) != 0) PyErr_Clear();
}

}  // namespace dure::bindings
