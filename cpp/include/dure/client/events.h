// dure/client/events.h - what happened: one event for each call that ended and each attempt that
// failed.
//
//   client->events().keep(10'000);                       // from now on
//   for (const CallEvent& event : client->events().take()) log(event);
//
// Events wait in a ring until somebody takes them: when nobody does, the oldest go and are counted,
// and no memory grows. While nobody asked for any, none is made. No prompt, no answer, no key.
//
// Thread-safe.
#ifndef DURE_CLIENT_EVENTS_H_
#define DURE_CLIENT_EVENTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/money/cost.h"

namespace dure::client {

struct CallEvent {
  base::WallTime at;
  std::string call_id;
  int attempt = 0;  // which one failed; 0: this is the call's end
  std::string org;
  std::string service;
  std::string model;  // canonical; empty: unmetered
  std::string key_id;
  std::string what;     // "ok", a class of failure ("rate_limit", "reset"), or an error's code
  int http_status = 0;  // of the reply; 0: there was none
  base::Duration latency{0};
  base::Duration first_event{0};  // zero: none came
  int attempts = 0;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  money::Pico cost = 0;  // of all attempts so far
  money::Flags flags = 0;
  bool cached = false;
  bool coalesced = false;
  bool hedged = false;
};

class CallEvents {
 public:
  // Keeps at most `events` that wait; 0: none any more.
  void keep(std::size_t events);
  [[nodiscard]] bool on() const noexcept { return most_.load(std::memory_order_relaxed) != 0; }
  void add(CallEvent event);
  // Those that wait, oldest first.
  [[nodiscard]] std::vector<CallEvent> take();
  // How many were dropped since the start.
  [[nodiscard]] std::uint64_t dropped() const;

 private:
  std::atomic<std::size_t> most_{0};
  mutable std::mutex mutex_;
  std::deque<CallEvent> waiting_ DURE_GUARDED_BY(mutex_);
  std::uint64_t dropped_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::client

#endif  // DURE_CLIENT_EVENTS_H_
