#include "compute_pool.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace dure::bindings {

struct ComputePool::State {
  const pid_t owner = getpid();
  std::mutex mutex;  // guards everything below
  std::condition_variable wake;
  std::deque<std::function<void()>> jobs;
  std::vector<std::function<void()>> dropped;  // to be destroyed under the GIL
  std::size_t threads = 0;
  std::size_t idle = 0;
};

namespace {

// Never destroyed: threads may run while the process ends.
std::atomic<ComputePool*> pool{nullptr};

}  // namespace

ComputePool::ComputePool() : state_(std::make_shared<State>()) {}

ComputePool& ComputePool::get() {
  ComputePool* now = pool.load();
  if (now == nullptr || now->state_->owner != getpid()) {
    now = new ComputePool();  // the parent's is left alone: its lock may be held for ever
    pool.store(now);
  }
  std::vector<std::function<void()>> dropped;
  {
    const std::lock_guard lock(now->state_->mutex);
    dropped.swap(now->state_->dropped);
  }
  for (const std::function<void()>& destroy : dropped) destroy();
  return *now;
}

void ComputePool::release_later(std::function<void()> destroy) {
  State& state = *pool.load()->state_;
  if (state.owner != getpid()) return;  // a child of a fork keeps the parent's objects
  const std::lock_guard lock(state.mutex);
  state.dropped.push_back(std::move(destroy));
}

void ComputePool::run(std::function<void()> job) {
  const std::size_t most = std::max(1U, std::thread::hardware_concurrency());
  std::unique_lock lock(state_->mutex);
  state_->jobs.push_back(std::move(job));
  if (state_->idle >= state_->jobs.size() || state_->threads >= most) {
    lock.unlock();
    state_->wake.notify_one();
    return;
  }
  const auto work = [state = state_] {
    std::unique_lock own(state->mutex);
    while (true) {
      ++state->idle;
      state->wake.wait(own, [&] { return !state->jobs.empty(); });
      --state->idle;
      std::function<void()> next = std::move(state->jobs.front());
      state->jobs.pop_front();
      own.unlock();
      next();
      next = nullptr;  // what it holds goes before the lock is taken again
      own.lock();
    }
  };
  // Signals are for Python's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool alone = false;
  try {
    std::thread(work).detach();
    ++state_->threads;
  } catch (const std::system_error&) {
    alone = state_->threads == 0;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!alone) return;
  const std::function<void()> own = std::move(state_->jobs.back());
  state_->jobs.pop_back();
  lock.unlock();
  own();
}

}  // namespace dure::bindings
