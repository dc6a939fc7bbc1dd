#include "later_rooms.h"

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

namespace dure::bindings {
namespace {

namespace py = pybind11;

class LaterRooms {
 public:
  LaterRooms(py::module_ core, std::span<const LaterRoom> rooms)
      : core_(std::move(core)), rooms_(rooms) {}

  // Other threads wait until all is there; the one that binds sees what there is so far.
  void bind() {
    if (done_.load() || binder_.load() == std::this_thread::get_id()) return;
    const py::gil_scoped_release off;
    std::call_once(once_, [this] {
      const py::gil_scoped_acquire on;
      binder_.store(std::this_thread::get_id());
      for (const LaterRoom& room : rooms_) room.bind(core_);
      done_.store(true);
    });
  }

 private:
  py::module_ core_;
  const std::span<const LaterRoom> rooms_;
  std::once_flag once_;
  std::atomic<std::thread::id> binder_;
  std::atomic<bool> done_{false};
};

bool is_dunder(const std::string& name) { return name.starts_with("__"); }

}  // namespace

void bind_on_first_use(py::module_& core, std::span<const LaterRoom> rooms) {
  auto* const later = new LaterRooms(core, rooms);  // for ever, as the module
  for (const LaterRoom& room : rooms) {
    py::module_ module = core.def_submodule(room.name);
    // The module's own dict: asking the module would come here again.
    const py::dict names = module.attr("__dict__");
    names["__getattr__"] = py::cpp_function([later, names](const std::string& name) -> py::object {
      if (!is_dunder(name)) later->bind();
      if (names.contains(name)) return names[name.c_str()];
      const std::string module_name = py::cast<std::string>(names["__name__"]);
      throw py::attribute_error("module '" + module_name + "' has no attribute '" + name + "'");
    });
    names["__dir__"] = py::cpp_function([later, names] {
      later->bind();
      py::list all;
      for (const auto& [name, value] : names) {
        const auto text = py::cast<std::string>(name);
        if (text != "__getattr__" && text != "__dir__") all.append(name);
      }
      return all;
    });
  }
}

}  // namespace dure::bindings
