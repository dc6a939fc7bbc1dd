// client/task.h - a function as the transport's work.
//
// Runs on the I/O thread; says so if the transport stopped before.
#ifndef DURE_SRC_CLIENT_TASK_H_
#define DURE_SRC_CLIENT_TASK_H_

#include <memory>
#include <string>
#include <utility>

#include "dure/base/random.h"
#include "dure/net/transport.h"

namespace dure::client {

template <typename Run, typename Drop>
class Task final : public net::Work {
 public:
  Task(Run run, Drop drop) : run_(std::move(run)), drop_(std::move(drop)) {}
  ~Task() override {
    if (!ran_) drop_();
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  void run() noexcept override {
    ran_ = true;
    run_();
  }

 private:
  Run run_;
  Drop drop_;
  bool ran_ = false;
};

template <typename Run, typename Drop>
std::shared_ptr<net::Work> make_task(Run run, Drop drop) {
  return std::make_shared<Task<Run, Drop>>(std::move(run), std::move(drop));
}

// Sixteen hexadecimal digits of chance.
inline std::string new_call_id(base::Random& random) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out(16, '0');
  std::uint64_t value = random.next();
  for (std::size_t i = 16; i-- > 0; value >>= 4U) out[i] = kHex[value & 15U];
  return out;
}

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_TASK_H_
