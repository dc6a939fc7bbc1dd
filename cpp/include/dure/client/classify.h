// dure/client/classify.h - what a failed attempt was, and what may be done about it.
//
// "Proven": the provider cannot have accepted the request. "Ambiguous": it may have, and may bill;
// a resend is counted and the first try settled as possible spend. Only the client room acts on a
// verdict; nothing below it retries.
//
// Thread-safe: pure functions.
#ifndef DURE_CLIENT_CLASSIFY_H_
#define DURE_CLIENT_CLASSIFY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dure/base/clock.h"
#include "dure/base/status.h"
#include "dure/net/transport.h"

namespace dure::client {

enum class Failure : std::uint8_t {
  kConnect,
  kTlsVerify,
  kRateLimit,
  kOverloaded,
  kTransientStatus,
  kSentTimeout,
  kReset,
  kBadUpstreamBody,
  kStreamInterrupted,
  kAuth,
  kQuotaExhausted,
  kBadRequest,
  kNotFound,
  kLocal,
  kCancelled,
};
[[nodiscard]] std::string_view name(Failure failure) noexcept;

enum class Resend : std::uint8_t { kNever, kProven, kAmbiguous };

// The error object of a reply body, `{"error": {...}}`; empty fields if it has none.
struct ErrorBody {
  std::string message = {};
  std::string type = {};
  std::string code = {};
  std::string param = {};
};
[[nodiscard]] ErrorBody read_error(std::string_view body);

struct Verdict {
  Failure failure = Failure::kLocal;
  Resend resend = Resend::kNever;
  bool other_key = false;              // another key of the pool may go at once
  bool parks_key = false;              // this key is of no use until it is replaced
  bool feeds_retry_budget = false;     // counts as a failure of the endpoint
  std::optional<base::Duration> hint;  // the server's wish, never negative
};

// A complete reply that is no success. `now` is for hints given as a date.
[[nodiscard]] Verdict classify_status(int status, net::HeaderView headers, const ErrorBody& error,
                                      base::WallTime now);
// A transfer that did not complete. `sent`: a request byte left. `events`: an output event came.
[[nodiscard]] Verdict classify_end(const base::Status& end, bool sent, bool events);
// A complete reply with a success status whose body cannot be used.
[[nodiscard]] Verdict classify_garbage();

// How long the server asks us to wait: retry-after-ms, Retry-After (seconds or HTTP-date), on 429
// the longer of x-ratelimit-reset-requests and -tokens whose remaining count is zero. Never
// negative; absurd numbers are cut to 10 years; nullopt if it says nothing readable.
[[nodiscard]] std::optional<base::Duration> wait_hint(int status, net::HeaderView headers,
                                                      base::WallTime now);

// What the headers of a reply say is left of its quota: OpenAI's x-ratelimit-* or Anthropic's
// anthropic-ratelimit-*, of requests and tokens the one with less. nullopt: nothing that can be
// true (absent, -1, 0 of 0).
struct QuotaLeft {
  double left = 1;                                         // 0 to 1
  std::optional<base::Duration> empty_for = std::nullopt;  // it is used up for so long
};
[[nodiscard]] std::optional<QuotaLeft> read_quota(net::HeaderView headers, base::WallTime now);

}  // namespace dure::client

#endif  // DURE_CLIENT_CLASSIFY_H_
