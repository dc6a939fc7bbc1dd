// bindings/remote_answers.h - a cache elsewhere, as a queue of jobs for a thread of Python.
//
// The core asks without waiting and without the GIL: a look-up or an answer to keep becomes a job,
// a descriptor says that there are some. A thread of Python waits for the descriptor, takes the
// jobs, asks whatever server it knows, and tells what it found. Nobody who takes no job holds a
// call up for longer than the core's patience.
//
// Thread-safe. In the child of a fork nothing is found until `reopen`.
#ifndef DURE_BINDINGS_REMOTE_ANSWERS_H_
#define DURE_BINDINGS_REMOTE_ANSWERS_H_

#include <pybind11/pybind11.h>
#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "dure/base/annotations.h"
#include "dure/flow/cache.h"

namespace dure::bindings {

namespace py = pybind11;

class RemoteAnswers final : public flow::RemoteCache {
 public:
  static constexpr std::size_t kMostLooks = 10'000;      // that wait
  static constexpr std::size_t kMostBytes = 64U << 20U;  // to be kept that wait

  // Throws kIo if the system has no descriptor left.
  RemoteAnswers();
  ~RemoteAnswers() override;
  RemoteAnswers(const RemoteAnswers&) = delete;
  RemoteAnswers& operator=(const RemoteAnswers&) = delete;

  void get(const flow::CacheKey& key, Found found) override;
  void put(const flow::CacheKey& key, flow::CacheValue value, base::Duration keep) override;

  // The rest is Python's.
  // Readable as an eventfd once there are jobs, and after close.
  [[nodiscard]] int descriptor() const;
  // All jobs that wait: (number, key, None, 0.0) asks for `finish`, (0, key, value, seconds) is to
  // be kept. None: it was closed.
  [[nodiscard]] py::object take();
  // The answer to a look-up; what nobody waits for any more is left.
  void finish(std::uint64_t number, const py::object& value);
  // Whoever waits hears that nothing was found; so does everybody later. Idempotent.
  void close();
  // In the child of a fork, before anything else: an empty queue of its own.
  void reopen();

 private:
  struct Job {
    std::uint64_t number = 0;
    flow::CacheKey key{};
    flow::CacheValue value = nullptr;
    base::Duration keep{0};
  };
  struct State;
  [[nodiscard]] State* usable() const;
  static void tell(State& state);

  State* state_;  // owned; a child leaves its parent's
};

void bind_remote_answers(py::module_& room);

}  // namespace dure::bindings

#endif  // DURE_BINDINGS_REMOTE_ANSWERS_H_
