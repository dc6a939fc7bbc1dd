// testing/fake_transport.h - a network that says what the test told it to say.
//
//   FakeTransport net(clock);
//   net.reply({.status = 429, .headers = {{"retry-after", "2"}}});
//   net.reply({.parts = {"{...}"}});
//   ... start a call ...; clock.advance(2s); net.pump();
//
// There is no thread: what is due runs inside submit, run_at and pump, one thing after the other,
// so a test sees the same order each time. A request without a scripted reply stays open until
// cancel or until a reply is added and pumped.
//
// Thread-safe; handlers run in whichever thread calls, never two at once.
#ifndef DURE_TESTING_FAKE_TRANSPORT_H_
#define DURE_TESTING_FAKE_TRANSPORT_H_

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/net/transport.h"

namespace dure::testing {

struct FakeReply {
  int status = 200;  // zero: no head comes
  net::Headers headers = {};
  std::vector<std::string> parts = {};  // of the body, as they arrive
  base::Status end = {};                // how the transfer ends
  bool sent = true;                     // a request byte left
  bool hang = false;                    // it does not end: only cancel does
  bool reused = false;                  // it goes over a kept connection
};

class FakeTransport final : public net::Transport {
 public:
  // `clock` outlives the transport.
  explicit FakeTransport(const base::Clock& clock) : clock_(clock) {}
  ~FakeTransport() override;

  // The answer to the next request that has none yet.
  void reply(FakeReply reply);
  // Runs all that is due now; returns how many things ran.
  std::size_t pump();

  [[nodiscard]] std::vector<net::Request> requests() const;
  // The times at which they were submitted.
  [[nodiscard]] std::vector<base::Instant> times() const;
  // Requests that have not ended.
  [[nodiscard]] std::size_t open() const;
  // The time of the earliest work that waits; nullopt: none.
  [[nodiscard]] std::optional<base::Instant> next_at() const;

  net::RequestId submit(net::Request request, std::shared_ptr<net::Handler> handler) override;
  void cancel(net::RequestId id) override;
  void resume(net::RequestId id) override;
  void keep_idle(bool /*keep*/) override {}  // it has no connections
  void run_at(base::Instant at, std::shared_ptr<net::Work> work) override;
  bool stop(base::Duration limit) override;

 private:
  struct Transfer;
  struct Step;
  bool take_step(Step& step) DURE_REQUIRES(mutex_);
  static void play(Step& step, base::Instant now);
  [[nodiscard]] std::size_t drain();

  const base::Clock& clock_;
  mutable std::mutex mutex_;
  bool running_ DURE_GUARDED_BY(mutex_) = false;
  bool stopped_ DURE_GUARDED_BY(mutex_) = false;
  std::uint64_t last_id_ DURE_GUARDED_BY(mutex_) = 0;
  std::deque<FakeReply> replies_ DURE_GUARDED_BY(mutex_);
  std::map<net::RequestId, std::shared_ptr<Transfer>> transfers_ DURE_GUARDED_BY(mutex_);
  std::multimap<base::Instant, std::shared_ptr<net::Work>> work_ DURE_GUARDED_BY(mutex_);
  std::vector<net::Request> requests_ DURE_GUARDED_BY(mutex_);
  std::vector<base::Instant> times_ DURE_GUARDED_BY(mutex_);
};

}  // namespace dure::testing

#endif  // DURE_TESTING_FAKE_TRANSPORT_H_
