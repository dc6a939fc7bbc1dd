#include "remote_answers.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "gil.h"
#include "status.h"

namespace dure::bindings {

struct RemoteAnswers::State {
  const int descriptor = eventfd(0, EFD_CLOEXEC);
  const pid_t owner = getpid();
  std::mutex mutex;
  std::deque<Job> jobs DURE_GUARDED_BY(mutex);
  std::unordered_map<std::uint64_t, Found> waiting DURE_GUARDED_BY(mutex);
  std::size_t bytes DURE_GUARDED_BY(mutex) = 0;  // of values in jobs
  std::uint64_t last_number DURE_GUARDED_BY(mutex) = 0;
  bool closed DURE_GUARDED_BY(mutex) = false;

  State() = default;
  ~State() {
    if (descriptor >= 0) ::close(descriptor);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

RemoteAnswers::RemoteAnswers() : state_(new State()) {
  if (state_->descriptor >= 0) return;
  delete state_;
  throw StatusException(
      base::Status(base::Code::kIo, "the system has no descriptor left for an event"));
}

RemoteAnswers::~RemoteAnswers() {
  if (state_->owner == getpid()) delete state_;  // the parent's lock may be held for ever
}

RemoteAnswers::State* RemoteAnswers::usable() const {
  return state_->owner == getpid() ? state_ : nullptr;
}

void RemoteAnswers::tell(State& state) { (void)eventfd_write(state.descriptor, 1); }

void RemoteAnswers::get(const flow::CacheKey& key, Found found) {
  State* const state = usable();
  if (state != nullptr) {
    const std::lock_guard lock(state->mutex);
    if (!state->closed && state->waiting.size() < kMostLooks) {
      const std::uint64_t number = ++state->last_number;
      state->waiting.emplace(number, std::move(found));
      state->jobs.push_back({.number = number, .key = key});
      found = nullptr;
      tell(*state);
    }
  }
  if (found != nullptr) found(nullptr);
}

void RemoteAnswers::put(const flow::CacheKey& key, flow::CacheValue value, base::Duration keep) {
  State* const state = usable();
  if (state == nullptr) return;
  const std::lock_guard lock(state->mutex);
  if (state->closed || state->bytes + value->size() > kMostBytes) return;
  state->bytes += value->size();
  state->jobs.push_back({.key = key, .value = std::move(value), .keep = keep});
  tell(*state);
}

int RemoteAnswers::descriptor() const { return state_->descriptor; }

py::object RemoteAnswers::take() {
  State* const state = usable();
  if (state == nullptr) return py::none();
  std::deque<Job> jobs;
  {
    const std::lock_guard lock(state->mutex);
    if (state->closed) return py::none();
    jobs.swap(state->jobs);
    state->bytes = 0;
  }
  py::list out;
  for (const Job& job : jobs) {
    const py::bytes key(reinterpret_cast<const char*>(job.key.data()), job.key.size());
    const double seconds = static_cast<double>(job.keep.count()) * 1e-9;
    if (job.value == nullptr) {
      out.append(py::make_tuple(job.number, key, py::none(), 0.0));
    } else {
      out.append(py::make_tuple(0, key, py::bytes(*job.value), seconds));
    }
  }
  return out;
}

void RemoteAnswers::finish(std::uint64_t number, const py::object& value) {
  State* const state = usable();
  if (state == nullptr) return;
  flow::CacheValue found;
  if (!value.is_none()) found = std::make_shared<const std::string>(value.cast<std::string>());
  without_gil([&] {
    Found told;
    {
      const std::lock_guard lock(state->mutex);
      const auto waits = state->waiting.find(number);
      if (waits == state->waiting.end()) return;
      told = std::move(waits->second);
      state->waiting.erase(waits);
    }
    told(found);
  });
}

void RemoteAnswers::close() {
  State* const state = usable();
  if (state == nullptr) return;
  without_gil([&] {
    std::unordered_map<std::uint64_t, Found> waiting;
    {
      const std::lock_guard lock(state->mutex);
      state->closed = true;
      state->jobs.clear();
      waiting.swap(state->waiting);
    }
    tell(*state);
    for (const auto& [number, found] : waiting) found(nullptr);
  });
}

void RemoteAnswers::reopen() {
  if (usable() == nullptr) state_ = new State();  // the parent's is left as it is
}

void bind_remote_answers(py::module_& room) {
  py::class_<flow::RemoteCache, std::shared_ptr<flow::RemoteCache>>(
      room, "RemoteCache", "Where answers are kept beside this host.");
  py::class_<RemoteAnswers, flow::RemoteCache, std::shared_ptr<RemoteAnswers>>(
      room, "RemoteAnswers", "A cache elsewhere, as a queue of jobs for a thread.")
      .def(py::init<>())
      .def("descriptor", &RemoteAnswers::descriptor)
      .def("take", &RemoteAnswers::take)
      .def("finish", &RemoteAnswers::finish, py::arg("number"), py::arg("value"))
      .def("close", &RemoteAnswers::close)
      .def("reopen", &RemoteAnswers::reopen);
}

}  // namespace dure::bindings
