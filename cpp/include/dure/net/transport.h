// dure/net/transport.h - moves requests and replies; one interface, several engines.
//
// A Handler receives what happens to one request, on the transport's own I/O thread. A reply,
// a stream and a failure all come through the same three calls, so streaming needs no second
// interface. The transport retries nothing and knows no models, users or prices.
#ifndef DURE_NET_TRANSPORT_H_
#define DURE_NET_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "dure/base/clock.h"
#include "dure/base/status.h"
#include "dure/net/headers.h"
#include "dure/net/request.h"

namespace dure::net {

using RequestId = std::uint64_t;

// What became of the request, for records and adaptive limits.
struct Timing {
  base::Instant submitted;
  base::Instant sent;        // zero if no request byte left
  base::Instant first_byte;  // zero if no reply byte came
  base::Instant ended;
  bool reused_connection = false;
  bool resent = false;  // see Request::resend; the server may have seen the request twice
  std::uint64_t bytes_in = 0;
};

enum class Flow : std::uint8_t { kGo, kPause };

// On the I/O thread or inside submit(): no Python, no throw, no blocking. on_end exactly once and
// last. Its status is ok for any complete HTTP reply, whatever the status code says; otherwise
// kUnavailable if the fault proves that nothing was accepted, kDeadline with detail "stage",
// kQueueFull, kCancelled, kUpstream (caps, malformed reply) or kTruncated (cut after the head).
class Handler {
 public:
  virtual ~Handler() = default;
  // The request's first byte is about to leave; from here on the call may cost money.
  virtual void on_sent() noexcept {}
  virtual void on_head(int status, HeaderView headers) noexcept = 0;
  // kPause: no further part until resume(); parts in flight may still come.
  virtual Flow on_body(std::span<const std::byte> part) noexcept = 0;
  virtual void on_end(base::Status status, const Timing& timing) noexcept = 0;
};

// Thread-safe. Only stop() blocks.
class Transport {
 public:
  virtual ~Transport() = default;
  // Never fails: a request that cannot start ends with on_end, on the I/O thread or inside this
  // call; inside it and with kUnavailable once stop() has been called.
  virtual RequestId submit(Request request, std::shared_ptr<Handler> handler) = 0;
  // Idempotent; on_end(kCancelled) follows unless the request has ended.
  virtual void cancel(RequestId id) = 0;
  // After kPause, or because a BodySource has more.
  virtual void resume(RequestId id) = 0;
  // False: idle connections are closed now, others when their reply has ended, until it is true
  // again. True at first.
  virtual void keep_idle(bool keep) = 0;
  // Runs `work` on the I/O thread at or after `at` (retries, timers of the layers above). `work`
  // does not block and does not throw; it is dropped if the transport stops first.
  virtual void run_at(base::Instant at, std::shared_ptr<class Work> work) = 0;
  // Fails what is pending with kUnavailable, then joins. False if `limit` ran out.
  virtual bool stop(base::Duration limit) = 0;
};

class Work {
 public:
  virtual ~Work() = default;
  virtual void run() noexcept = 0;
};

}  // namespace dure::net

#endif  // DURE_NET_TRANSPORT_H_
