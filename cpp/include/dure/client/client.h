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
#include <utility>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/random.h"
#include "dure/base/result.h"
#include "dure/base/secret.h"
#include "dure/catalog/prices.h"
#include "dure/client/dialect.h"
#include "dure/client/events.h"
#include "dure/flow/backoff.h"
#include "dure/flow/balancer.h"
#include "dure/flow/breaker.h"
#include "dure/flow/cache.h"
#include "dure/flow/fair_queue.h"
#include "dure/flow/health.h"
#include "dure/flow/hedge.h"
#include "dure/flow/key_pool.h"
#include "dure/flow/retry_budget.h"
#include "dure/flow/shared_rates.h"
#include "dure/money/account.h"
#include "dure/net/transport.h"

namespace dure::client {

class CallBudget;

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
  // Further addresses that serve the same: each attempt goes to the better of two of them all.
  std::vector<std::string> also = {};
  std::vector<flow::KeyRule> key_rules = {};  // of the keys in their order; those left out: {}
};

// A key with what was learned about it. A call keeps the one that it goes out with.
struct KeySlot {
  KeySlot(base::Secret key, std::string key_id, const base::Clock& clock, base::Random& random,
          std::shared_ptr<flow::KeyHealth> health = nullptr)
      : secret(std::move(key)),
        id(std::move(key_id)),
        breaker(clock, random, {}, std::move(health)) {}
  const base::Secret secret;  // empty: none is sent, or it was removed
  const std::string id;
  flow::Breaker breaker;
};

// Where calls go and with which keys; what was learned about it is shared by all who use it.
// Thread-safe.
class Endpoint {
 public:
  // Fails with kInvalidArgument: no http(s) URL, user info or query in it, a header, key or query
  // with a line break, no key although the host is not this machine.
  // `clock` and `random` outlive the endpoint. `health`: what the host's processes know of its
  // keys; nullptr: each for itself.
  [[nodiscard]] static base::Result<std::shared_ptr<Endpoint>> create(
      EndpointConfig config, const base::Clock& clock, base::Random& random,
      std::shared_ptr<flow::SharedHealth> health = nullptr);

  [[nodiscard]] const std::string& base_url() const noexcept { return base_url_; }
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  // Who is paid, for budgets: openai, anthropic, azure, or the host of another server.
  [[nodiscard]] const std::string& provider() const noexcept { return provider_; }
  [[nodiscard]] const std::string& proxy() const noexcept { return proxy_; }
  [[nodiscard]] Wire wire() const noexcept { return wire_; }
  // Where `path` is, for `model` (empty: none), on this wire.
  [[nodiscard]] std::string url(std::string_view path, std::string_view model) const;
  // What decides, beside the key, what a server answers: address, wire, headers, query.
  [[nodiscard]] const std::string& identity() const noexcept { return identity_; }
  // What every request carries, the key's own header last. `key` is a position in keys().
  [[nodiscard]] net::Headers headers(const KeySlot& key) const;
  [[nodiscard]] net::Headers headers(std::size_t key) const { return headers(*slot(key)); }
  [[nodiscard]] std::shared_ptr<KeySlot> slot(std::size_t key) const;
  [[nodiscard]] std::string key_id(std::size_t key) const { return slot(key)->id; }
  // Of those that calls may take.
  [[nodiscard]] std::vector<std::string> key_ids() const;
  // `text` without any of the keys.
  [[nodiscard]] std::string redact(std::string_view text) const;
  [[nodiscard]] flow::KeyPool& keys() noexcept { return pool_; }

  // Rotation while calls go on; with several addresses the keys of all of them.
  // A further key; one that is there already is of use again. Its id. Fails with kInvalidArgument.
  base::Result<std::string> add_key(std::string key, const flow::KeyRule& rule = {});
  // No call takes it from now on. `forget`: it is wiped when the last call with it has ended.
  // False: there is no key of this id.
  bool retire_key(std::string_view id, bool forget);
  struct KeyState {
    std::string id;
    flow::KeyPool::State state;
  };
  [[nodiscard]] std::vector<KeyState> key_states() const;
  [[nodiscard]] flow::RetryBudget& retries() noexcept { return retries_; }
  // Who may send now, and who is next.
  [[nodiscard]] flow::FairQueue& queue() noexcept { return queue_; }
  [[nodiscard]] flow::Breaker& breaker(std::size_t key) { return slot(key)->breaker; }
  // Those among whom each attempt chooses; empty: this one alone is asked.
  [[nodiscard]] const std::vector<std::shared_ptr<Endpoint>>& members() const noexcept {
    return members_;
  }
  // A member that may be asked now, by its latency and load, other than `but` if there is another;
  // a member that is not asked at present if all are.
  [[nodiscard]] std::size_t choose_member(std::optional<std::size_t> but);
  [[nodiscard]] flow::Balancer& balancer() noexcept { return *balancer_; }
  // A key's breaker lets somebody through.
  [[nodiscard]] bool may_be_asked() const;
  // What is known of the first answers of a model here.
  [[nodiscard]] flow::Hedging& hedging(const std::string& model);

 private:
  friend class Client;
  Endpoint(EndpointConfig config, std::string host, const base::Clock& clock, base::Random& random,
           std::shared_ptr<flow::SharedHealth> health);
  // The cell of `what` at this address; nullptr: nothing is shared.
  [[nodiscard]] std::shared_ptr<flow::KeyHealth> health_of(const std::string& what) const;
  [[nodiscard]] std::shared_ptr<KeySlot> make_slot(std::string&& key) const;
  void add_slot(std::string&& key, const flow::KeyRule& rule) DURE_REQUIRES(keys_mutex_);
  [[nodiscard]] std::string identity_of(const std::vector<std::string>& also) const;

  std::string base_url_;
  std::string host_;
  std::string provider_;
  std::string proxy_;
  const Wire wire_;
  const bool bearer_;
  const std::string query_;
  const std::map<std::string, std::string> deployments_;
  net::Headers common_;
  bool authorized_ = false;  // common_ has an Authorization of its own
  std::string identity_;
  const base::Clock& clock_;
  base::Random& random_;
  const std::shared_ptr<flow::SharedHealth> health_;
  mutable std::mutex keys_mutex_;
  // At least one; the only one may be empty. Positions are those of pool_.
  std::vector<std::shared_ptr<KeySlot>> slots_ DURE_GUARDED_BY(keys_mutex_);
  flow::KeyPool pool_;
  flow::RetryBudget retries_;
  flow::FairQueue queue_;
  std::vector<std::shared_ptr<Endpoint>> members_;
  std::unique_ptr<flow::Balancer> balancer_;
  std::mutex hedging_mutex_;
  std::unordered_map<std::string, flow::Hedging> hedging_ DURE_GUARDED_BY(hedging_mutex_);
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

// Where answers are kept for those who ask the same again.
enum class Caching : std::uint8_t { kOff, kMemory, kDisk };

struct CallOptions {
  std::vector<std::string> scopes;  // "org:acme", "user:7": budgets that must all pass
  std::string service;              // policy of this service; empty: any model of the catalogue
  int max_attempts = 3;
  std::optional<money::Pico> max_cost;
  bool resend_ambiguous = true;
  bool metered = true;       // false: no model is looked up, nothing is priced or held
  net::Deadlines deadlines;  // total: of the whole call, resends and waits included
  Fallbacks fallbacks = {};
  std::size_t priority = 0;  // class in the queue: 0 interactive, 1 batch
  Caching caching = Caching::kOff;
  base::Duration cache_for = std::chrono::hours(24);
  // Whether those who ask the same at the same time share one call; nullopt: where the answer is
  // meant to be the same (embeddings, temperature 0, a seed) or is cached.
  std::optional<bool> coalesce = std::nullopt;
  bool hedge = false;  // a second copy when the first answer is late
  // How long an embeddings call may wait for others like it, to go in one request; zero: alone.
  base::Duration gather{0};
  std::shared_ptr<flow::RemoteCache> remote = {};  // where answers are kept too; nullptr: nowhere
  std::shared_ptr<const catalog::PriceBook> prices = {};  // nullptr: the client's
  std::string region = {};    // where it is billed; empty: the hold takes the dearest of all
  std::string stage_of = {};  // the id of the call of which this is a stage, for the ledger
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
  // The reply of a success is passed on while it comes, by on_head and on_event; `body` of the
  // outcome stays empty. Nothing is resent once the head has come.
  bool raw = false;
  // Of calls that serve several askers: the body of a stream's outcome is the whole answer, and a
  // hidden chunk of usage is told.
  bool keep_whole = false;
  // Of calls beside each other: one is the copy; the id of both, the budget that both draw on.
  bool copy = false;
  std::string call_id = {};
  std::shared_ptr<CallBudget> budget = nullptr;
};

// What a call came to, success or not.
struct Record {
  std::string call_id;
  std::string key_id;
  std::string model;                  // canonical; empty: unmetered
  money::Pico cost = 0;               // settled, all attempts
  money::Flags flags = 0;             // of all attempts
  std::vector<std::string> warnings;  // scopes of budgets of policy warn that were exceeded
  int attempts = 0;                   // requests that were sent or tried to
  int ambiguous = 0;                  // of them resent although the first may have been billed
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  base::Duration latency{0};      // from start to end
  base::Duration first_event{0};  // from start; zero: none came
  bool cached = false;            // no call was made: the answer was kept
  bool coalesced = false;         // no call was made: another one's answer serves
  bool hedged = false;            // a second copy was sent
  int gathered = 0;               // callers whose inputs went in one request; 0: alone
  money::Pico saved = 0;          // what the call would have cost
};

struct Outcome {
  base::Status status;
  int http_status = 0;
  net::HeaderLines headers;  // of the last reply
  std::string body;          // of a success; empty for streams with events
  Record record;
};

// What a request may cost at most.
struct Estimate {
  std::string model;  // canonical
  money::Bound bound;
};

// On the I/O thread, or inside Client::start if no call is needed, or inside Call::cancel: no
// blocking, no throw.
class Observer {
 public:
  virtual ~Observer() = default;
  // The head of a success; only of a raw plan, before anything else.
  virtual void on_head(int /*status*/, const net::HeaderLines& /*headers*/) noexcept {}
  // One chunk of a stream as JSON, borrowed; of a raw plan the next bytes of the body, an event of
  // a stream whole and framed. kPause: no more until Call::resume.
  virtual net::Flow on_event(std::string_view json) noexcept = 0;
  // The chunk that has nothing but usage, where the plan keeps the whole.
  virtual void on_usage_event(std::string_view /*json*/) noexcept {}
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
  std::atomic<std::int64_t> cache_hits{0};
  std::atomic<std::int64_t> coalesced{0};
  std::atomic<std::int64_t> hedges{0};
  std::atomic<std::int64_t> gathered{0};  // calls that went in another one's request
  std::atomic<std::int64_t> saved{0};     // pico-dollars that hits and followers did not cost
};

struct Kept;       // client/question.h: an answer as it is kept
class Answers;     // client/answers.h: what is kept, and what is under way for several
class Gatherings;  // client/gathering.h: embeddings that wait to go together

class Client : public std::enable_shared_from_this<Client> {
 public:
  [[nodiscard]] static std::shared_ptr<Client> create(Services services);

  // Understands and counts in the calling thread (time grows with the prompt), all else happens on
  // the I/O thread. Every failure, also of understanding, comes through on_done.
  std::shared_ptr<Call> start(Plan plan, std::shared_ptr<Observer> observer);

  // As start, without looking for an answer that is kept or that comes.
  std::shared_ptr<Call> start_unshared(Plan plan, std::shared_ptr<Observer> observer);
  // As start_unshared, without waiting for others and without a copy.
  std::shared_ptr<Call> start_alone(Plan plan, std::shared_ptr<Observer> observer);

  // What `plan` may cost at most in `mode` ("batch") if it is carried out until then; nothing is
  // held or sent. Fails as start, or as money::upper_bound.
  [[nodiscard]] base::Result<Estimate> estimate(Plan plan, std::string_view mode,
                                                base::WallTime until) const;

  // Keeps an answer for those who ask the same later.
  void keep_answer(const flow::CacheKey& key, const Kept& kept, const CallOptions& options);
  // What was kept is forgotten, in memory and on disk.
  void forget_answers();
  // Rates of this host's processes on the data folder. Fails as flow::SharedRates::open.
  [[nodiscard]] base::Result<flow::SharedRates*> rates();

  // The one Endpoint of this client for `config`, so that what was learned is shared.
  [[nodiscard]] base::Result<std::shared_ptr<Endpoint>> endpoint(const EndpointConfig& config);

  // Those who use this client: when the last of them has left, no idle connection is kept.
  void join();
  void leave();

  [[nodiscard]] const Services& services() const noexcept { return services_; }
  [[nodiscard]] Counters& counters() noexcept { return counters_; }
  [[nodiscard]] CallEvents& events() noexcept { return events_; }

 private:
  explicit Client(Services services);
  [[nodiscard]] base::Result<std::shared_ptr<Endpoint>> one_endpoint(const EndpointConfig& config);

  const Services services_;
  Counters counters_;
  CallEvents events_;
  const std::shared_ptr<Answers> answers_;
  const std::shared_ptr<Gatherings> gatherings_;
  std::atomic<flow::SharedRates*> rates_{nullptr};
  std::unique_ptr<flow::SharedRates> rates_kept_ DURE_GUARDED_BY(mutex_);
  std::mutex mutex_;
  std::shared_ptr<flow::SharedHealth> health_ DURE_GUARDED_BY(mutex_);
  std::unordered_map<std::string, std::weak_ptr<Endpoint>> endpoints_ DURE_GUARDED_BY(mutex_);
  std::size_t users_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::client

#endif  // DURE_CLIENT_CLIENT_H_
