#include "exit_guard.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace dure::bindings {
namespace {

std::atomic<int> coming_back{0};
std::atomic<bool> closed{false};
std::atomic<std::thread::id> closer{};

[[noreturn]] void stop_for_good() {
  for (;;) ::pause();
}

}  // namespace

ExitSafeRelease::~ExitSafeRelease() {
  ++coming_back;
  if (closed && closer.load() != std::this_thread::get_id()) {
    --coming_back;
    stop_for_good();
  }
  PyEval_RestoreThread(state_);
  --coming_back;
}

void close_exit_guard() {
  const ExitSafeRelease released;
  closer = std::this_thread::get_id();
  closed = true;
  constexpr int kMostSteps = 25'000;  // five seconds: an exit that waits for ever helps nobody
  for (int step = 0; coming_back != 0 && step < kMostSteps; ++step)
    std::this_thread::sleep_for(std::chrono::microseconds(200));
}

void reset_exit_guard_in_child() { coming_back = 0; }

}  // namespace dure::bindings
