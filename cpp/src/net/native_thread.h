// net/native_thread.h - starts threads that no signal ever reaches: Ctrl-C belongs to Python.
#ifndef DURE_SRC_NET_NATIVE_THREAD_H_
#define DURE_SRC_NET_NATIVE_THREAD_H_

#include <csignal>
#include <thread>
#include <utility>

namespace dure::net {

// The mask is set before the thread begins, so there is no moment at which it could be hit. Throws
// std::system_error if no thread can be had.
template <typename Work>
std::thread start_thread(Work&& work) {
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  struct Restore {
    const sigset_t& mask;
    ~Restore() { pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } const restore{old};
  return std::thread(std::forward<Work>(work));
}

}  // namespace dure::net

#endif  // DURE_SRC_NET_NATIVE_THREAD_H_
