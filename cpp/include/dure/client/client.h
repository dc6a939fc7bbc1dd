// dure/client/client.h - one call from request to settled answer, whatever happens on the way.
//
//   auto client = Client::create({transport, account, prices, clock, random});
//   std::shared_ptr<Call> call = client->start(std::move(plan), observer);
//   // observer: on_event for each chunk of a stream, then on_done exactly once
//
// The order of steps is here and nowhere else: understand the body, check model and policy, count
// tokens, take a key, hold the upper bound of the cost (RESERVE is in the ledger before a byte
// leaves), send, read usage off the wire, settle; resend within one CallBudget, each resend with a
// hold of its own. Every way out settles: success, refusal, cancel, timeout, a cut stream.
//
// Client: thread-safe. A call's steps and its observer run on the transport's I/O thread only.
#ifndef DURE_CLIENT_CLIENT_H_
#define DURE_CLIENT_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/random.h"
#include "dure/base/result.h"
#include "dure/base/secret.h"
#include "dure/catalog/prices.h"
#include "dure/client/dialect.h"
#include "dure/flow/backoff.h"
#include "dure/flow/key_pool.h"
#include "dure/flow/retry_budget.h"
#include "dure/money/account.h"
#include "dure/net/transport.h"

namespace dure::client {

struct EndpointConfig {
  std::string base_url;                // "https://api.openai.com/v1"
  std::vector<std::string> keys = {};  // empty: loopback only
  std::string organization = {};
  std::string project = {};
  net::Headers default_headers = {};  // win over ours of the same name
  std::string proxy = {};
  Wire wire = Wire::kOpenAi;
  bool bearer = false;     // the key goes as Authorization on every wire
  std::string query = {};  // added to every URL: "api-version=2026-02-01"
  // Azure: which deployment serves a model; "*": every other; else the one of its own name.
  std::map<std::string, std::string> deployments = {};
};

// Where calls go and with which keys; what was learned about it is shared by all who use it.
// Thread-safe.
class Endpoint {
 public:
  // Fails with kInvalidArgument: no http(s) URL, user info or query in it, a header, key or query
  // with a line break, no key although the host is not this machine.
  [[nodiscard]] static base::Result<std::shared_ptr<Endpoint>> create(EndpointConfig config,
                                                                      const base::Clock& clock);

  [[nodiscard]] const std::string& base_url() const noexcept { return base_url_; }
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  [[nodiscard]] const std::string& proxy() const noexcept { return proxy_; }
  [[nodiscard]] Wire wire() const noexcept { return wire_; }
  // Where `path` is, for `model` (empty: none), on this wire.
  [[nodiscard]] std::string url(std::string_view path, std::string_view model) const;
  // What every request carries, the key's own header last. `key` is a position in keys().
  [[nodiscard]] net::Headers headers(std::size_t key) const;
  [[nodiscard]] const std::string& key_id(std::size_t key) const { return key_ids_[key]; }
  [[nodiscard]] const std::vector<std::string>& key_ids() const noexcept { return key_ids_; }
  // `text` without any of the keys.
  [[nodiscard]] std::string redact(std::string_view text) const;
  [[nodiscard]] flow::KeyPool& keys() noexcept { return pool_; }
  [[nodiscard]] flow::RetryBudget& retries() noexcept { return retries_; }

 private:
  Endpoint(EndpointConfig config, std::string host, const base::Clock& clock);

  std::string base_url_;
  std::string host_;
  std::string proxy_;
  const Wire wire_;
  const bool bearer_;
  const std::string query_;
  const std::map<std::string, std::string> deployments_;
  net::Headers common_;
  bool authorized_ = false;         // common_ has an Authorization of its own
  std::vector<base::Secret> keys_;  // at least one; the only one may be empty
  std::vector<std::string> key_ids_;
  flow::KeyPool pool_;
  flow::RetryBudget retries_;
};

// Models that take over, in order, by what the first one failed of. Each is checked as the first
// was (policy, window, hold); all share the call's attempts, time and money.
struct Fallbacks {
  std::vector<std::string> general = {};         // the provider was down, overloaded or over rate
  std::vector<std::string> context_window = {};  // the prompt was too long
  std::vector<std::string> content_policy = {};  // the prompt was filtered
  [[nodiscard]] bool empty() const noexcept {
    return general.empty() && context_window.empty() && content_policy.empty();
  }
};

struct CallOptions {
  std::vector<std::string> scopes;  // "org:acme", "user:7": budgets that must all pass
  std::string service;              // policy of this service; empty: any model of the catalogue
  int max_attempts = 3;
  std::optional<money::Pico> max_cost;
  bool resend_ambiguous = true;
  bool metered = true;       // false: no model is looked up, nothing is priced or held
  net::Deadlines deadlines;  // total: of the whole call, resends and waits included
  Fallbacks fallbacks = {};
};

// What to do. A value.
struct Plan {
  std::shared_ptr<Endpoint> endpoint;
  std::string method = "POST";
  std::string path;  // "/chat/completions"
  std::string body;  // JSON; empty: none
  net::Headers headers;
  CallOptions options;
  bool whole = false;  // a streamed answer comes as one body, no events
};

// What a call came to, success or not.
struct Record {
  std::string call_id;
  std::string key_id;
  std::string model;       // canonical; empty: unmetered
  money::Pico cost = 0;    // settled, all attempts
  money::Flags flags = 0;  // of all attempts
  int attempts = 0;        // requests that were sent or tried to
  int ambiguous = 0;       // of them resent although the first may have been billed
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  base::Duration latency{0};      // from start to end
  base::Duration first_event{0};  // from start; zero: none came
};

struct Outcome {
  base::Status status;
  int http_status = 0;
  net::HeaderLines headers;  // of the last reply
  std::string body;          // of a success; empty for streams with events
  Record record;
};

// On the I/O thread: no blocking, no throw.
class Observer {
 public:
  virtual ~Observer() = default;
  // One chunk of a stream as JSON, borrowed. kPause: no more until Call::resume.
  virtual net::Flow on_event(std::string_view json) noexcept = 0;
  // Once, last.
  virtual void on_done(Outcome outcome) noexcept = 0;
};

// Thread-safe, never blocks.
class Call {
 public:
  virtual ~Call() = default;
  // Idempotent. on_done(kCancelled) follows unless the call has ended; what was sent is settled.
  virtual void cancel() = 0;
  virtual void resume() = 0;
};

struct Services {
  std::shared_ptr<net::Transport> transport;
  std::shared_ptr<money::Account> account;
  std::shared_ptr<const catalog::PriceBook> prices;
  const base::Clock* clock = nullptr;  // outlives the client and its calls
  base::Random* random = nullptr;      // likewise
  flow::Backoff backoff = {};
};

// Sums since the start of the process; one consistent reading is not promised.
struct Counters {
  std::atomic<std::int64_t> calls{0};
  std::atomic<std::int64_t> attempts{0};
  std::atomic<std::int64_t> retries{0};
  std::atomic<std::int64_t> ambiguous{0};
  std::atomic<std::int64_t> failures{0};
  std::atomic<std::int64_t> cost{0};  // pico-dollars settled
};

class Client : public std::enable_shared_from_this<Client> {
 public:
  [[nodiscard]] static std::shared_ptr<Client> create(Services services);

  // Understands and counts in the calling thread (time grows with the prompt), all else happens on
  // the I/O thread. Every failure, also of understanding, comes through on_done.
  std::shared_ptr<Call> start(Plan plan, std::shared_ptr<Observer> observer);

  // The one Endpoint of this client for `config`, so that what was learned is shared.
  [[nodiscard]] base::Result<std::shared_ptr<Endpoint>> endpoint(const EndpointConfig& config);

  // Those who use this client: when the last of them has left, no idle connection is kept.
  void join();
  void leave();

  [[nodiscard]] const Services& services() const noexcept { return services_; }
  [[nodiscard]] Counters& counters() noexcept { return counters_; }

 private:
  explicit Client(Services services) : services_(std::move(services)) {}

  const Services services_;
  Counters counters_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::weak_ptr<Endpoint>> endpoints_ DURE_GUARDED_BY(mutex_);
  std::size_t users_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::client

#endif  // DURE_CLIENT_CLIENT_H_
