#include "dure/client/client.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "client/answers.h"
#include "client/gathering.h"
#include "client/hedged_call.h"
#include "client/policy_finder.h"
#include "client/progress_pace.h"
#include "client/task.h"
#include "dure/client/anthropic.h"
#include "dure/client/call_budget.h"
#include "dure/client/classify.h"
#include "dure/client/dialect.h"
#include "dure/money/reservation.h"
#include "dure/net/sse.h"
#include "dure/policy/service_policy.h"

namespace dure::client {
namespace {

constexpr base::Duration kLongestHint = std::chrono::seconds(120);
constexpr std::size_t kBodyInError = 4096;  // bytes of a provider's body that an error carries

// OpenAI's, Anthropic's, Azure's; lives as long as the lines.
std::string_view request_id_of(const net::HeaderLines& headers) {
  const net::HeaderView lines(headers);
  for (const char* name : {"x-request-id", "request-id", "apim-request-id"}) {
    if (const auto value = lines.get(name)) return *value;
  }
  return {};
}

bool is_event_stream(net::HeaderView headers) {
  const auto type = headers.get("content-type");
  return type && type->starts_with("text/event-stream");
}

std::string usage_json(const WireUsage& usage) {
  const std::int64_t input = usage.prompt_tokens.value_or(0);
  const std::int64_t output = usage.completion_tokens.value_or(0);
  return "{\"prompt_tokens\":" + std::to_string(input) +
         ",\"completion_tokens\":" + std::to_string(output) +
         ",\"total_tokens\":" + std::to_string(usage.total_tokens.value_or(input + output)) + "}";
}

constexpr base::Duration kRoomLook = std::chrono::milliseconds(2);  // at one word of the board
constexpr base::Duration kRoomTry = std::chrono::milliseconds(100);

double in_seconds(base::Duration duration) { return static_cast<double>(duration.count()) / 1e9; }

// Adds `header`, in the place of those of the same name.
void put_header(net::Headers& headers, const net::Headers::value_type& header) {
  std::erase_if(headers, [&](const auto& had) {
    return std::equal(
        had.first.begin(), had.first.end(), header.first.begin(), header.first.end(),
        [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  });
  headers.push_back(header);
}

// What the plan asks for; only a POST costs money.
base::Result<Prepared> understand(Plan& plan) {
  if (!plan.options.metered || plan.method != "POST") {
    Prepared free;
    free.body = std::move(plan.body);
    return free;
  }
  std::string body = plan.options.fallbacks.empty() ? std::move(plan.body) : plan.body;
  return prepare(plan.path, std::move(body), PolicyFinder(plan.options.service),
                 plan.endpoint->wire());
}

bool is_too_long(const base::Status& status) {
  return status.provider_code() == "context_length_exceeded";
}

bool is_filtered(const base::Status& status) {
  return status.provider_code() == "content_filter" ||
         status.provider_code() == "content_policy_violation";
}

// Anthropic tells a prompt that is too long apart by its words only.
std::string code_of(const ErrorBody& error) {
  if (!error.code.empty()) return error.code;
  const bool too_long = error.type == "invalid_request_error" &&
                        error.message.find("prompt is too long") != std::string::npos;
  return too_long ? "context_length_exceeded" : "";
}

std::string_view org_of(const CallOptions& options) {
  constexpr std::string_view kOrg = "org:";
  for (const std::string_view scope : options.scopes) {
    if (scope.starts_with(kOrg)) return scope.substr(kOrg.size());
  }
  return {};
}

CallEvent event_of(const Record& record, const CallOptions& options, base::WallTime at) {
  CallEvent event;
  event.at = at;
  event.call_id = record.call_id;
  event.org = org_of(options);
  event.service = options.service;
  event.model = record.model;
  event.key_id = record.key_id;
  event.attempts = record.attempts;
  event.input_tokens = record.input_tokens;
  event.output_tokens = record.output_tokens;
  event.cost = record.cost;
  event.flags = record.flags;
  event.cached = record.cached;
  event.coalesced = record.coalesced;
  event.hedged = record.hedged;
  return event;
}

// Tells of a call's end beside the one who waits for it.
class Watched final : public Observer {
 public:
  Watched(std::shared_ptr<Client> client, CallOptions options, std::shared_ptr<Observer> observer)
      : client_(std::move(client)), options_(std::move(options)), observer_(std::move(observer)) {}
  void on_head(int status, const net::HeaderLines& headers) noexcept override {
    observer_->on_head(status, headers);
  }
  net::Flow on_event(std::string_view json) noexcept override { return observer_->on_event(json); }
  void on_usage_event(std::string_view json) noexcept override { observer_->on_usage_event(json); }
  void on_done(Outcome outcome) noexcept override {
    CallEvent event = event_of(outcome.record, options_, client_->services().clock->wall());
    event.what = outcome.status.ok() ? "ok" : base::code_name(outcome.status.code());
    event.http_status = outcome.http_status;
    event.latency = outcome.record.latency;
    event.first_event = outcome.record.first_event;
    client_->events().add(std::move(event));
    observer_->on_done(std::move(outcome));
  }

 private:
  const std::shared_ptr<Client> client_;
  const CallOptions options_;
  const std::shared_ptr<Observer> observer_;
};

// One call. All but cancel and resume run on the I/O thread.
class CallImpl final : public Call, public std::enable_shared_from_this<CallImpl> {
 public:
  CallImpl(std::shared_ptr<Client> client, Plan plan, base::Result<Prepared> prepared,
           std::shared_ptr<Observer> observer);

  // Posts the first attempt.
  void launch() { post(&CallImpl::begin, now()); }
  void cancel() override;
  void resume() override;

 private:
  // One request on the wire; tells the call which attempt it speaks for.
  class Attempt final : public net::Handler {
   public:
    Attempt(std::shared_ptr<CallImpl> call, int number) : call_(std::move(call)), number_(number) {}
    void on_sent() noexcept override {
      if (current()) call_->on_sent();
    }
    void on_head(int status, net::HeaderView headers) noexcept override {
      if (current()) call_->on_head(status, headers);
    }
    net::Flow on_body(std::span<const std::byte> part) noexcept override {
      return current() ? call_->on_body(part) : net::Flow::kGo;
    }
    void on_end(base::Status status, const net::Timing& timing) noexcept override {
      if (!current()) return;
      if (timing.resent && !call_->hold_.open()) call_->count_ambiguous();
      // A kept connection broke before its first byte: the server may have closed it long ago.
      call_->stale_ = timing.resent || (timing.reused_connection && timing.first_byte.ns == 0);
      call_->on_end(std::move(status));
    }

   private:
    [[nodiscard]] bool current() const { return call_->attempt_ == number_ && call_->in_flight_; }
    std::shared_ptr<CallImpl> call_;
    const int number_;
  };

  [[nodiscard]] base::Instant now() const { return services_.clock->now(); }
  // A second copy of a call that is late.
  [[nodiscard]] bool is_copy() const noexcept { return plan_.copy; }
  [[nodiscard]] const catalog::PriceBook& prices() const {
    return plan_.options.prices != nullptr ? *plan_.options.prices : *services_.prices;
  }
  void post(void (CallImpl::*step)(), base::Instant at);
  void stopped();

  void begin();
  // Each of these three: false if the call waits, or has ended.
  void choose_member();
  void leave_member(std::optional<base::Duration> first);
  [[nodiscard]] bool another_member() const;
  [[nodiscard]] bool take_slot();
  [[nodiscard]] bool take_key();
  [[nodiscard]] bool admit();
  [[nodiscard]] bool wait_for_key(base::Duration wait);
  [[nodiscard]] bool take_rates(std::int64_t tokens);
  [[nodiscard]] bool wait_for_rate(const flow::SharedRates::Taken& taken);
  void name_rates();
  void give_rates_back(std::int64_t tokens, bool request);
  [[nodiscard]] std::string_view party() const;  // who shares the queue fairly with others
  void wait_in_queue(std::uint64_t place);
  void on_slot();
  void release_slot(flow::FairQueue::End end);
  void tell_breaker(flow::Breaker::Result result);
  void wait_for(base::Duration wait);
  void name_scopes();
  [[nodiscard]] base::Status reserve(const money::Bound& bound);
  // What the peer's slot, its breaker and its balance learn from an attempt that ended.
  void learn(const Verdict& verdict);
  // After a refusal: true if the call waits in the queue of a budget.
  [[nodiscard]] bool wait_for_room(const base::Status& refusal);
  void look_for_room();
  [[nodiscard]] base::Result<money::Bound> bound() const;
  void note_admission();
  void send();
  void apply_cancel();

  void on_sent();
  void count_ambiguous();
  void on_head(int status, net::HeaderView headers);
  net::Flow on_body(std::span<const std::byte> part);
  void on_event(const net::SseEvent& event);
  void take_event(std::string_view data);
  [[nodiscard]] net::Flow pass_on(std::string_view data);
  // Something of the answer has reached the caller: it is never sent again.
  [[nodiscard]] bool begun() const noexcept { return saw_events_ || passed_on_; }
  // The reply of a raw plan goes on as it is: no other wire's shape is to be put in its place.
  [[nodiscard]] bool passes_body() const;
  void on_chunk(const ChatAssembler::Event& event, std::string_view data);
  void note_progress();
  void note_first();
  void on_end(base::Status status);

  void end_of_reply();
  void end_of_stream();
  void fault_in_stream();
  void refused();
  void broken(base::Status status);
  // Settles this attempt and goes on: another attempt if the verdict and the budgets allow it.
  void failed(const Verdict& verdict, base::Status status);
  [[nodiscard]] std::optional<base::Duration> resend_after(const Verdict& verdict);
  [[nodiscard]] bool replaces_stale(const Verdict& verdict);
  [[nodiscard]] std::optional<Prepared> replacement(const Verdict& verdict,
                                                    const base::Status& status);
  [[nodiscard]] std::optional<Prepared> first_that_can(std::vector<std::string>& models);
  void go_on_with(Prepared prepared);
  void succeed(std::string body);
  void finish(base::Status status);

  void settle(const WireUsage& usage, std::string_view service_tier, std::string_view model);
  void settle_nothing();
  void settle_lost();
  void settle_possible();
  void note_settlement();
  void tell_failure(const Verdict& verdict);
  [[nodiscard]] std::int64_t received_tokens() const;
  [[nodiscard]] std::string without_keys(std::string_view text) const;
  [[nodiscard]] ErrorBody without_keys(ErrorBody error) const;
  void note_quota(net::HeaderView headers);
  [[nodiscard]] base::Status with_reply(base::Status status, const ErrorBody& error) const;

  // Constant after construction.
  const std::shared_ptr<Client> client_;
  const Services& services_;
  Plan plan_;
  base::Result<Prepared> prepared_;
  const std::shared_ptr<Observer> observer_;
  const base::Instant started_;

  std::atomic<bool> cancelled_{false};

  // I/O thread only.
  const std::shared_ptr<CallBudget> budget_;
  Record record_;
  money::Reservation hold_;
  money::ReservationId hold_id_;
  std::size_t key_ = 0;
  std::shared_ptr<KeySlot> slot_;  // of key_, while it is used and after: errors may name it
  int attempt_ = 0;
  int failures_ = 0;
  bool in_flight_ = false;
  bool finished_ = false;
  bool resent_stale_ = false;
  const std::shared_ptr<Endpoint> front_;  // as the plan names it; plan_.endpoint: who is asked
  std::optional<std::size_t> member_;      // of the front's, while it is asked
  std::optional<std::size_t> failed_member_;
  bool has_slot_ = false;  // of the endpoint's queue
  base::Instant slot_since_;
  std::uint64_t place_ = 0;                  // in that queue
  std::optional<flow::Breaker::Pass> pass_;  // of the key's breaker, not told yet
  std::vector<std::string> scopes_;          // of this attempt: the call's, model, key, provider
  std::vector<std::string> rate_names_;      // requests and tokens of each scope, in turn
  std::int64_t rated_tokens_ = -1;           // taken from the rates; -1: nothing was
  money::Pico held_ = 0;                     // of the call's own budget
  std::uint64_t ticket_ = 0;                 // our place in the queue of a budget
  std::uint64_t room_changes_ = 0;           // the account's, before we last tried
  base::Instant tried_at_;
  bool other_quota_ =
      false;  // a fallback: providers rate each model apart, so no key sleeps for it
  std::atomic<net::RequestId> request_{0};

  // Of the current attempt.
  bool sent_ = false;
  bool done_seen_ = false;
  std::size_t received_bytes_ = 0;
  ProgressPace pace_;
  bool saw_events_ = false;  // output came: never sent again
  bool passed_on_ = false;   // the head of a raw reply was told
  std::string event_type_;   // of the event that is read
  bool stale_ = false;       // it broke on a kept connection before its first byte
  base::WallTime sent_at_;
  base::Instant sent_since_;
  int http_status_ = 0;
  net::HeaderLines reply_headers_;
  std::string reply_body_;
  std::string stream_error_;
  bool garbage_ = false;
  base::Status over_cap_;  // what made it garbage, if it passed a cap
  net::Flow flow_ = net::Flow::kGo;
  std::optional<net::SseParser> sse_;
  std::optional<MessageStream> messages_;  // of the Anthropic wire
  std::optional<ChatAssembler> chunks_;
};

CallImpl::CallImpl(std::shared_ptr<Client> client, Plan plan, base::Result<Prepared> prepared,
                   std::shared_ptr<Observer> observer)
    : client_(std::move(client)),
      services_(client_->services()),
      plan_(std::move(plan)),
      prepared_(std::move(prepared)),
      observer_(std::move(observer)),
      started_(services_.clock->now()),
      budget_(plan_.budget != nullptr
                  ? plan_.budget
                  : std::make_shared<CallBudget>(plan_.options.max_attempts,
                                                 started_ + plan_.options.deadlines.total,
                                                 plan_.options.max_cost)),
      front_(plan_.endpoint) {
  record_.call_id = plan_.call_id.empty() ? new_call_id(*services_.random) : plan_.call_id;
  if (prepared_) {
    record_.model = prepared_->canonical;
    record_.input_tokens = prepared_->input_tokens;
  }
}

void CallImpl::post(void (CallImpl::*step)(), base::Instant at) {
  auto self = shared_from_this();
  auto run = [self, step] { ((*self).*step)(); };
  auto drop = [self] { self->stopped(); };
  services_.transport->run_at(at, make_task(std::move(run), std::move(drop)));
}

void CallImpl::stopped() {
  finish(base::Status(base::Code::kUnavailable, "the client was closed: make a new one")
             .with("stage", std::string("closed")));
}

void CallImpl::cancel() {
  if (cancelled_.exchange(true)) return;
  post(&CallImpl::apply_cancel, now());
}

void CallImpl::resume() {
  const net::RequestId id = request_.load();
  if (id != 0) services_.transport->resume(id);
}

void CallImpl::apply_cancel() {
  if (finished_) return;
  if (in_flight_) {
    services_.transport->cancel(request_.load());  // on_end follows
  } else {
    finish(base::Status(base::Code::kCancelled, "cancelled"));
  }
}

// --- one attempt: admission -------------------------------------------------------------------

void CallImpl::begin() {
  if (finished_) return;
  if (!prepared_) {
    auto& longer = plan_.options.fallbacks.context_window;
    auto next = is_too_long(prepared_.error()) ? first_that_can(longer) : std::nullopt;
    if (!next) return finish(std::move(prepared_.error()));
    go_on_with(std::move(*next));
  }
  if (cancelled_) return finish(base::Status(base::Code::kCancelled, "cancelled"));
  if (budget_->time_left(now()).count() == 0) {
    return finish(base::Status(base::Code::kDeadline,
                               "time ran out before the request could be sent: raise deadline=")
                      .with("stage", std::string("queue")));
  }
  choose_member();
  if (take_slot() && take_key() && admit()) send();
}

// Where this attempt goes, if the endpoint has several addresses. Whoever holds a slot has chosen.
void CallImpl::choose_member() {
  if (front_->members().empty() || has_slot_) return;
  leave_member(std::nullopt);
  member_ = front_->choose_member(failed_member_);
  front_->balancer().begin(*member_);
  plan_.endpoint = front_->members()[*member_];
}

// `first`: how long its first answer took.
void CallImpl::leave_member(std::optional<base::Duration> first) {
  if (!member_) return;
  front_->balancer().end(*member_, first);
  member_.reset();
}

std::string_view CallImpl::party() const { return org_of(plan_.options); }

bool CallImpl::take_slot() {
  if (has_slot_) return true;
  flow::FairQueue::Ask ask;
  ask.party = party();
  ask.priority = plan_.options.priority;
  ask.cost = static_cast<double>(prepared_->input_tokens +
                                 prepared_->choices * prepared_->max_output_tokens);
  ask.patience = budget_->time_left(now());
  const auto entry = plan_.endpoint->queue().enter(
      ask, [self = shared_from_this()] { self->post(&CallImpl::on_slot, self->now()); });
  if (entry.answer == flow::FairQueue::Answer::kGo) {
    has_slot_ = true;
    slot_since_ = now();
  } else if (entry.answer == flow::FairQueue::Answer::kWaits) {
    wait_in_queue(entry.ticket);
  } else {
    finish(base::Status(base::Code::kQueueFull, "more calls wait for " + plan_.endpoint->host() +
                                                    " than it can take in time: come back later")
               .with_retry_after(std::max(0.001, in_seconds(entry.wait))));
  }
  return has_slot_;
}

// A place is given up when time runs out. The timer keeps no call that ended before.
void CallImpl::wait_in_queue(std::uint64_t place) {
  place_ = place;
  auto weak = weak_from_this();
  auto run = [weak] {
    if (const auto self = weak.lock(); self && self->place_ != 0) self->begin();
  };
  auto drop = [weak] {
    if (const auto self = weak.lock()) self->stopped();
  };
  services_.transport->run_at(budget_->deadline(), make_task(std::move(run), std::move(drop)));
}

void CallImpl::on_slot() {
  place_ = 0;
  has_slot_ = true;
  slot_since_ = now();
  if (finished_) return release_slot(flow::FairQueue::End::kOther);
  begin();
}

void CallImpl::release_slot(flow::FairQueue::End end) {
  if (!std::exchange(has_slot_, false)) return;
  plan_.endpoint->queue().release(slot_since_, end);
}

void CallImpl::tell_breaker(flow::Breaker::Result result) {
  if (!pass_) return;
  slot_->breaker.tell(*pass_, result);
  pass_.reset();
}

// Later again, and nobody is kept from going before.
void CallImpl::wait_for(base::Duration wait) {
  tell_breaker(flow::Breaker::Result::kUnknown);
  release_slot(flow::FairQueue::End::kOther);
  post(&CallImpl::begin, now() + wait);
}

void CallImpl::learn(const Verdict& verdict) {
  using Result = flow::Breaker::Result;
  using End = flow::FairQueue::End;
  switch (verdict.failure) {
    case Failure::kRateLimit:
      tell_breaker(Result::kUnknown);
      return release_slot(End::kOverload);
    case Failure::kSentTimeout:
    case Failure::kOverloaded:
      tell_breaker(Result::kFailed);
      return release_slot(End::kOverload);
    case Failure::kCancelled:
    case Failure::kLocal:
    case Failure::kTlsVerify:
      tell_breaker(Result::kUnknown);
      return release_slot(End::kOther);
    default:
      tell_breaker(verdict.feeds_retry_budget ? Result::kFailed : Result::kWorked);
      return release_slot(End::kOther);
  }
}

bool CallImpl::wait_for_room(const base::Status& refusal) {
  const auto* ticket = refusal.detail("ticket");
  if (ticket == nullptr) return false;
  tell_breaker(flow::Breaker::Result::kUnknown);
  release_slot(flow::FairQueue::End::kOther);
  ticket_ = static_cast<std::uint64_t>(std::get<std::int64_t>(*ticket));
  tried_at_ = now();
  if (budget_->time_left(now()) <= kRoomLook) return false;
  post(&CallImpl::look_for_room, now() + kRoomLook);
  return true;
}

void CallImpl::look_for_room() {
  if (finished_) return;
  const bool out_of_time = budget_->time_left(now()) <= kRoomLook;  // told by the last refusal
  const bool changed = services_.account->room_changes() != room_changes_;
  if (changed || cancelled_ || out_of_time || now() - tried_at_ >= kRoomTry) return begin();
  post(&CallImpl::look_for_room, now() + kRoomLook);
}

bool CallImpl::take_key() {
  base::Duration open{0};
  std::vector<std::size_t> broken;
  while (const auto choice = plan_.endpoint->keys().take(broken)) {
    if (choice->wait.count() != 0 && !other_quota_) return wait_for_key(choice->wait);
    auto slot = plan_.endpoint->slot(choice->key);
    const auto pass = slot->breaker.ask();
    if (pass.go) {
      key_ = choice->key;
      pass_ = pass;
      slot_ = std::move(slot);
      record_.key_id = slot_->id;
      return true;
    }
    open = broken.empty() ? pass.wait : std::min(open, pass.wait);
    broken.push_back(choice->key);
  }
  if (broken.empty()) {
    finish(base::Status(base::Code::kUnavailable,
                        "no API key is of use: each was refused by the provider or taken away; "
                        "check them and add one")
               .with("host", plan_.endpoint->host())
               .with("stage", std::string("key")));
    return false;
  }
  finish(base::Status(base::Code::kUnavailable,
                      plan_.endpoint->host() +
                          " failed too often just now and is not asked: come back later")
             .with("host", plan_.endpoint->host())
             .with("stage", std::string("breaker"))
             .with_provider_code("circuit_open")
             .with_retry_after(std::max(0.001, in_seconds(open))));
  return false;
}

bool CallImpl::wait_for_key(base::Duration wait) {
  if (wait > kLongestHint || wait >= budget_->time_left(now())) {
    finish(base::Status(base::Code::kRateLimited, "every API key is over its rate: come back later")
               .with_retry_after(in_seconds(wait)));
  } else {
    wait_for(flow::after_hint(wait, *services_.random));
  }
  return false;
}

base::Result<money::Bound> CallImpl::bound() const {
  const base::WallTime wall = services_.clock->wall();
  money::BoundQuery query;
  query.price = {.model = prepared_->canonical,
                 .at = wall,
                 .service_tier = prepared_->service_tier,
                 .region = plan_.options.region};
  query.deadline = {wall.us + budget_->time_left(now()).count() / 1000};
  query.input_tokens = prepared_->input_tokens;
  query.input_kind = prepared_->input_kind;
  query.choices = prepared_->choices;
  query.max_output_tokens = prepared_->max_output_tokens;
  query.output_was_limited = prepared_->output_was_limited;
  query.hidden_output = prepared_->hidden_output;
  query.provider_side = prepared_->provider_side;
  return money::upper_bound(prices(), query);
}

// What the budgets did to the call, for its caller.
void CallImpl::note_admission() {
  const money::Admission& admission = hold_.admission();
  if (admission.shrunk) record_.flags = record_.flags | money::Flag::kShrunk;
  for (const money::Warning& warning : admission.warnings) {
    auto& told = record_.warnings;
    if (std::find(told.begin(), told.end(), warning.scope) == told.end()) {
      told.push_back(warning.scope);
    }
  }
}

bool CallImpl::admit() {
  name_scopes();
  if (prepared_->operation == Operation::kUnmetered) return take_rates(0);
  const auto most = bound();
  if (!most) {
    finish(most.error());
    return false;
  }
  if (!take_rates(most->tokens)) return false;
  base::Status status = reserve(*most);
  if (status.ok()) return true;
  give_rates_back(rated_tokens_, true);
  if (!wait_for_room(status)) finish(std::move(status));
  return false;
}

void CallImpl::name_scopes() {
  scopes_.clear();
  scopes_.reserve(plan_.options.scopes.size() + 3);
  for (const std::string& scope : plan_.options.scopes) scopes_.push_back(scope);
  if (!prepared_->canonical.empty()) scopes_.push_back("model:" + prepared_->canonical);
  scopes_.push_back("key:" + record_.key_id);
  scopes_.push_back("provider:" + plan_.endpoint->provider());
}

// One request and so many tokens of every rate there is, or none.
bool CallImpl::take_rates(std::int64_t tokens) {
  rated_tokens_ = -1;
  const auto rates = client_->rates();
  if (!rates) {
    finish(rates.error());
    return false;
  }
  if (!(*rates)->any()) return true;
  name_rates();
  std::vector<flow::SharedRates::Ask> asks;
  asks.reserve(rate_names_.size());
  for (std::size_t i = 0; i < rate_names_.size(); ++i) {
    const double n = i % 2 == 0 ? 1.0 : static_cast<double>(tokens);
    if (n > 0) asks.push_back({rate_names_[i], n});
  }
  const auto taken = (*rates)->take(asks);
  if (taken.never) {
    finish(base::invalid_argument("rate", "the call may use " + std::to_string(tokens) +
                                              " tokens, more than the rate " +
                                              std::string(taken.over) +
                                              " ever takes at once: lower max_tokens")
               .with_provider_code("request_exceeds_rate"));
    return false;
  }
  if (taken.wait.count() > 0) return wait_for_rate(taken);
  rated_tokens_ = tokens;
  return true;
}

bool CallImpl::wait_for_rate(const flow::SharedRates::Taken& taken) {
  if (taken.wait >= budget_->time_left(now())) {
    finish(base::Status(base::Code::kRateLimited,
                        "the rate " + std::string(taken.over) + " is used up: come back later")
               .with_retry_after(in_seconds(taken.wait)));
  } else {
    wait_for(taken.wait);
  }
  return false;
}

void CallImpl::name_rates() {
  rate_names_.clear();
  rate_names_.reserve(2 * scopes_.size());
  for (const std::string& scope : scopes_) {
    rate_names_.push_back(scope + " rpm");
    rate_names_.push_back(scope + " tpm");
  }
}

// Below zero: more were used than were taken.
void CallImpl::give_rates_back(std::int64_t tokens, bool request) {
  if (std::exchange(rated_tokens_, -1) < 0) return;
  const auto rates = client_->rates();
  if (!rates) return;
  for (std::size_t i = 0; i < rate_names_.size(); ++i) {
    if (i % 2 == 1) (*rates)->give_back(rate_names_[i], static_cast<double>(tokens));
    if (i % 2 == 0 && request) (*rates)->give_back(rate_names_[i], 1);
  }
}

base::Status CallImpl::reserve(const money::Bound& most) {
  if (!budget_->affords(most.pico)) {
    return base::Status(base::Code::kBudgetExceeded,
                        "the call may cost $" + money::format_dollars(most.pico) +
                            ", its max_cost leaves $" +
                            money::format_dollars(budget_->money_left()) +
                            ": lower max_tokens or raise max_cost")
        .with("scope", std::string("call"))
        .with("left_units", budget_->money_left());
  }
  money::ReserveRequest request;
  request.scopes = scopes_;
  request.bound = most;
  request.call = {
      .model = prepared_->canonical,
      .service = plan_.options.service,
      .call_id = record_.call_id,
      .key_id = record_.key_id,
      .attempt = static_cast<std::uint16_t>(budget_->used() + 1),
      .flags = is_copy() ? static_cast<money::Flags>(money::Flag::kHedge) : money::Flags{},
      .parent = is_copy() ? budget_->first() : money::ReservationId{}};
  if (!plan_.options.stage_of.empty()) {
    request.call.call_id = plan_.options.stage_of;
    request.call.flags = request.call.flags | money::Flag::kStage;
  }
  request.lease = budget_->time_left(now()) + std::chrono::minutes(1);
  request.may_wait = true;
  request.ticket = ticket_;
  room_changes_ = services_.account->room_changes();
  auto hold = money::Reservation::make(services_.account, request);
  if (!hold) return hold.error();
  ticket_ = 0;
  hold_ = std::move(*hold);
  hold_id_ = hold_.id();
  budget_->begin_with(hold_id_);
  held_ = most.pico;
  budget_->hold(held_);
  note_admission();
  return {};
}

void CallImpl::send() {
  budget_->take_attempt();
  ++attempt_;
  ++record_.attempts;
  ++client_->counters().attempts;
  in_flight_ = true;
  sent_since_ = now();
  sent_ = done_seen_ = garbage_ = saw_events_ = passed_on_ = false;
  http_status_ = 0;
  received_bytes_ = 0;
  pace_ = {};
  reply_headers_.clear();
  reply_body_.clear();
  stream_error_.clear();
  over_cap_ = {};
  sse_.reset();
  messages_.reset();
  chunks_.reset();

  net::Request request;
  request.method = plan_.method;
  request.url = plan_.endpoint->url(plan_.path, prepared_->model);
  request.headers = plan_.endpoint->headers(*slot_);
  request.headers.emplace_back(
      "X-Client-Request-Id", record_.call_id + (is_copy() ? "-h" : "-") + std::to_string(attempt_));
  for (const auto& header : plan_.headers) put_header(request.headers, header);
  const bool shrunk = hold_.open() && hold_.admission().shrunk;
  request.body = shrunk ? with_output_limit(prepared_->body, hold_.admission().max_output_tokens)
                        : prepared_->body;
  request.stream = prepared_->stream;
  // What is held is sent again by us alone: each try has a hold of its own.
  request.resend = plan_.options.resend_ambiguous && !hold_.open();
  if (plan_.raw && prepared_->operation == Operation::kUnmetered) {
    request.caps.body = std::numeric_limits<std::uint64_t>::max();  // nothing of it is kept
  }
  request.proxy = plan_.endpoint->proxy();
  request.deadlines = plan_.options.deadlines;
  request.deadlines.total = budget_->time_left(now());
  const auto attempt = std::make_shared<Attempt>(shared_from_this(), attempt_);
  request_ = services_.transport->submit(std::move(request), attempt);
}

// --- one attempt: what the wire says ----------------------------------------------------------

void CallImpl::on_sent() {
  sent_ = true;
  sent_at_ = services_.clock->wall();
  // A full disk is met again at settling, where the account keeps what it could not write.
  if (hold_.open()) (void)hold_.sent();
}

// The upstream may have carried out a request that was sent again.
void CallImpl::count_ambiguous() {
  ++record_.ambiguous;
  ++client_->counters().ambiguous;
}

void CallImpl::on_head(int status, net::HeaderView headers) {
  http_status_ = status;
  reply_headers_ = headers.lines();
  const bool success = status >= 200 && status < 300;
  if (success) note_quota(headers);
  if (success && plan_.raw) {
    passed_on_ = true;
    observer_->on_head(status, reply_headers_);
  }
  if (!success || !prepared_->stream || !is_event_stream(headers)) return;
  chunks_.emplace(plan_.whole || plan_.keep_whole, prepared_->operation);
  if (plan_.endpoint->wire() == Wire::kAnthropic) {
    messages_.emplace(services_.clock->wall().us / 1'000'000);
  }
  sse_.emplace([this](const net::SseEvent& event) { on_event(event); });
}

// A quota that is used up sleeps before it says 429.
void CallImpl::note_quota(net::HeaderView headers) {
  const auto quota = read_quota(headers, services_.clock->wall());
  if (!quota) return;
  flow::KeyPool& keys = plan_.endpoint->keys();
  keys.note_left(key_, quota->left);
  if (quota->empty_for) keys.sleep(key_, std::min(*quota->empty_for, kLongestHint));
}

bool CallImpl::passes_body() const {
  const bool translated =
      plan_.endpoint->wire() == Wire::kAnthropic && prepared_->operation == Operation::kChat;
  return passed_on_ && !translated;
}

net::Flow CallImpl::on_body(std::span<const std::byte> part) {
  if (!sse_) {
    const std::string_view bytes(reinterpret_cast<const char*>(part.data()), part.size());
    // What passes on is kept only where usage is read from it: memory stays bounded.
    if (!passes_body() || prepared_->operation != Operation::kUnmetered) reply_body_ += bytes;
    return passes_body() ? observer_->on_event(bytes) : net::Flow::kGo;
  }
  flow_ = net::Flow::kGo;
  over_cap_ = sse_->feed(part);
  garbage_ = garbage_ || !over_cap_.ok();
  if (in_flight_ && (garbage_ || !stream_error_.empty())) fault_in_stream();
  if (in_flight_ && done_seen_) end_of_stream();
  return flow_;
}

void CallImpl::on_event(const net::SseEvent& event) {
  if (!messages_) {
    if (plan_.raw) event_type_ = event.type;
    return take_event(event.data);
  }
  for (const std::string& chunk : messages_->feed(event.data)) take_event(chunk);
}

void CallImpl::take_event(std::string_view data) {
  if (done_seen_ || garbage_ || !stream_error_.empty()) return;
  if (data == "[DONE]") {
    done_seen_ = true;
    return;
  }
  on_chunk(chunks_->feed(data), data);
}

void CallImpl::on_chunk(const ChatAssembler::Event& event, std::string_view data) {
  using Kind = ChatAssembler::Event::Kind;
  if (event.kind == Kind::kError) {
    stream_error_ = data;
    return;
  }
  if (event.kind == Kind::kGarbage) {
    garbage_ = true;
    return;
  }
  saw_events_ = true;
  if (record_.first_event.count() == 0) {
    record_.first_event = now() - started_;
    note_first();
  }
  received_bytes_ += event.text.size();
  note_progress();
  if (plan_.keep_whole && event.kind == Kind::kUsageOnly) return observer_->on_usage_event(data);
  if (plan_.whole || (event.kind == Kind::kUsageOnly && prepared_->hide_usage)) return;
  if (pass_on(data) == net::Flow::kPause) flow_ = net::Flow::kPause;
}

net::Flow CallImpl::pass_on(std::string_view data) {
  if (!plan_.raw) return observer_->on_event(data);
  std::string frame;
  if (!event_type_.empty() && event_type_ != "message") frame = "event: " + event_type_ + "\n";
  frame.append("data: ").append(data);
  std::replace(frame.end() - static_cast<std::ptrdiff_t>(data.size()), frame.end(), '\n', ' ');
  return observer_->on_event(frame.append("\n\n"));
}

// How long a first answer takes here: what a copy is measured by.
void CallImpl::note_first() {
  leave_member(now() - sent_since_);
  if (prepared_->operation == Operation::kUnmetered) return;
  front_->hedging(prepared_->canonical).on_first(now() - sent_since_);
}

// For the ledger of a process that dies: a count that the text surely reaches.
void CallImpl::note_progress() {
  const auto tokens = static_cast<std::int64_t>(received_bytes_ / 8);
  if (!hold_.open() || !pace_.due(tokens, now())) return;
  (void)hold_.progress(tokens);
}

void CallImpl::on_end(base::Status status) {
  if (!status.ok()) return broken(std::move(status));
  if (sse_) {
    sse_->finish(net::SseParser::AtEnd::kDeliver);
    if (garbage_ || !stream_error_.empty()) return fault_in_stream();
    return end_of_stream();
  }
  if (http_status_ >= 200 && http_status_ < 300) return end_of_reply();
  refused();
}

void CallImpl::end_of_reply() {
  if (plan_.endpoint->wire() == Wire::kAnthropic && prepared_->operation == Operation::kChat) {
    std::string chat = from_message(reply_body_, services_.clock->wall().us / 1'000'000);
    if (!chat.empty()) reply_body_ = std::move(chat);
  }
  const ReplyFacts facts = read_reply(prepared_->operation, reply_body_);
  if (!facts.usable || prepared_->stream) {
    return failed(
        classify_garbage(),
        with_reply(
            base::Status(base::Code::kUpstream,
                         plan_.endpoint->host() + " answered " + std::to_string(http_status_) +
                             " with a body that is no such answer: check base_url"),
            {}));
  }
  settle(facts.usage, facts.service_tier, facts.model);
  if (passed_on_ && !passes_body()) (void)observer_->on_event(reply_body_);
  succeed(plan_.raw ? std::string{} : std::move(reply_body_));
}

void CallImpl::end_of_stream() {
  if (!done_seen_ && !chunks_->finished()) {
    return broken(base::Status(base::Code::kTruncated,
                               "the stream ended without finish_reason and [DONE]: the answer is "
                               "not complete"));
  }
  if (!saw_events_) {
    return failed(classify_garbage(),
                  base::Status(base::Code::kUpstream,
                               plan_.endpoint->host() + " ended the stream before its first chunk: "
                                                        "there is no answer in it"));
  }
  settle(chunks_->usage(), chunks_->service_tier(), chunks_->model());
  if (plan_.raw && done_seen_) (void)observer_->on_event("data: [DONE]\n\n");
  succeed(plan_.whole || plan_.keep_whole ? chunks_->whole() : std::string{});
}

// Also without a key that was taken away meanwhile.
std::string CallImpl::without_keys(std::string_view text) const {
  std::string out = plan_.endpoint->redact(text);
  return slot_ == nullptr ? out : slot_->secret.redact(out);
}

// A provider may echo the key anywhere in its error.
ErrorBody CallImpl::without_keys(ErrorBody error) const {
  for (std::string* field : {&error.message, &error.code, &error.type, &error.param}) {
    *field = without_keys(*field);
  }
  return error;
}

// An error object or nonsense inside a stream that began well.
void CallImpl::fault_in_stream() {
  const ErrorBody error = without_keys(read_error(stream_error_));
  std::string message = "the provider broke the stream off: " + error.message;
  if (stream_error_.empty()) message = "the stream holds what is no chunk of an answer";
  if (!over_cap_.ok()) message = over_cap_.message();
  const net::RequestId id = request_.load();
  if (saw_events_) {
    broken(base::Status(base::Code::kTruncated, message).with_provider_code(error.code));
  } else {
    base::Status status = over_cap_.ok() ? base::Status(base::Code::kUpstream, message) : over_cap_;
    if (!error.code.empty()) (void)std::move(status).with_provider_code(error.code);
    reply_body_ = stream_error_;
    failed(classify_garbage(), with_reply(std::move(status), error));
  }
  services_.transport->cancel(id);
}

void CallImpl::refused() {
  const ErrorBody error = without_keys(read_error(reply_body_));
  const net::HeaderView headers(reply_headers_);
  const Verdict verdict = classify_status(http_status_, headers, error, services_.clock->wall());
  base::Code code = base::Code::kUpstream;
  if (http_status_ == 429) code = base::Code::kRateLimited;
  if (verdict.failure == Failure::kOverloaded) code = base::Code::kUnavailable;
  std::string message = plan_.endpoint->host() + " answered " + std::to_string(http_status_);
  if (!error.message.empty()) message += ": " + error.message;
  base::Status status(code, std::move(message));
  if (std::string known = code_of(error); !known.empty()) {
    (void)std::move(status).with_provider_code(std::move(known));
  }
  if (http_status_ >= 400 && http_status_ < 500) {
    (void)std::move(status).with_http_status(http_status_);
  }
  if (verdict.hint) (void)std::move(status).with_retry_after(in_seconds(*verdict.hint));
  failed(verdict, with_reply(std::move(status), error));
}

// The transfer did not complete, or ended too early.
void CallImpl::broken(base::Status status) {
  const Verdict verdict = classify_end(status, sent_, begun());
  if (verdict.failure == Failure::kStreamInterrupted && status.code() != base::Code::kDeadline) {
    const std::string code = status.provider_code();
    status = base::Status(base::Code::kTruncated, status.message())
                 .with("text", chunks_ ? chunks_->text() : std::string{});
    if (!code.empty()) (void)std::move(status).with_provider_code(code);
    if (chunks_ && chunks_->usage().reported()) {
      (void)std::move(status).with("usage", usage_json(chunks_->usage()));
    }
  } else if (status.code() == base::Code::kTruncated) {
    status = with_reply(
        base::Status(base::Code::kUpstream, "the connection to " + plan_.endpoint->host() +
                                                " broke before the answer was whole")
            .with("host", plan_.endpoint->host()),
        {});
  }
  failed(verdict, std::move(status));
}

base::Status CallImpl::with_reply(base::Status status, const ErrorBody& error) const {
  const net::HeaderView headers(reply_headers_);
  (void)std::move(status).with("status_code", std::int64_t{http_status_});
  // Keys are taken out before it is cut: half a key would not be known for one.
  const auto begin = std::string_view(reply_body_).substr(0, 2 * kBodyInError);
  (void)std::move(status).with("body", without_keys(begin).substr(0, kBodyInError));
  auto id = headers.get("x-request-id");
  if (!id) id = headers.get("request-id");
  if (id) {
    (void)std::move(status).with("request_id", without_keys(*id));
  }
  if (!error.type.empty()) (void)std::move(status).with("type", error.type);
  if (!error.param.empty()) (void)std::move(status).with("param", error.param);
  return status;
}

// --- after an attempt -------------------------------------------------------------------------

void CallImpl::failed(const Verdict& verdict, base::Status status) {
  in_flight_ = false;
  learn(verdict);
  failed_member_ = member_;
  leave_member(std::nullopt);
  ++failures_;
  flow::KeyPool& keys = plan_.endpoint->keys();
  if (verdict.parks_key && keys.usable() > 1) keys.park(key_);
  if (verdict.failure == Failure::kRateLimit && verdict.hint) keys.sleep(key_, *verdict.hint);
  const bool rejected =
      http_status_ != 0 &&
      (verdict.resend == Resend::kProven || verdict.failure == Failure::kAuth ||
       verdict.failure == Failure::kQuotaExhausted || verdict.failure == Failure::kBadRequest ||
       verdict.failure == Failure::kNotFound);
  const bool replaced = replaces_stale(verdict);
  const auto wait = replaced ? std::optional<base::Duration>(0) : resend_after(verdict);
  auto next = wait ? std::nullopt : replacement(verdict, status);
  const bool goes_on = wait || next;
  if (rejected) {
    settle_nothing();
  } else if (goes_on && verdict.resend == Resend::kAmbiguous) {
    settle_possible();
  } else {
    settle_lost();
  }
  if (client_->events().on()) tell_failure(verdict);
  if (!goes_on) return finish(std::move(status));
  ++client_->counters().retries;
  if (verdict.resend == Resend::kAmbiguous) count_ambiguous();
  if (next) go_on_with(std::move(*next));
  other_quota_ = next && verdict.failure == Failure::kRateLimit;
  post(&CallImpl::begin, now() + wait.value_or(base::Duration{0}));
}

void CallImpl::tell_failure(const Verdict& verdict) {
  CallEvent event = event_of(record_, plan_.options, services_.clock->wall());
  event.attempt = attempt_;
  event.what = name(verdict.failure);
  event.http_status = http_status_;
  event.latency = now() - sent_since_;
  client_->events().add(std::move(event));
}

// The request for the model that takes over; nullopt: there is none, or nothing left to call with.
std::optional<Prepared> CallImpl::replacement(const Verdict& verdict, const base::Status& status) {
  const bool ambiguous = verdict.resend == Resend::kAmbiguous;
  if (cancelled_ || begun() || !budget_->has_attempt() || budget_->time_left(now()).count() == 0 ||
      (ambiguous && !plan_.options.resend_ambiguous)) {
    return std::nullopt;
  }
  Fallbacks& fallbacks = plan_.options.fallbacks;
  if (is_too_long(status)) return first_that_can(fallbacks.context_window);
  if (is_filtered(status)) return first_that_can(fallbacks.content_policy);
  switch (verdict.failure) {
    case Failure::kBadRequest:
    case Failure::kStreamInterrupted:
    case Failure::kTlsVerify:
    case Failure::kLocal:
    case Failure::kCancelled:
      return std::nullopt;
    default:
      return first_that_can(fallbacks.general);
  }
}

// Takes models off the list until one passes policy and window.
std::optional<Prepared> CallImpl::first_that_can(std::vector<std::string>& models) {
  while (!models.empty()) {
    const std::string model = std::move(models.front());
    models.erase(models.begin());
    auto next = prepare(plan_.path, with_model(plan_.body, model),
                        PolicyFinder(plan_.options.service), plan_.endpoint->wire());
    if (next && next->canonical != record_.model) return std::move(*next);
  }
  return std::nullopt;
}

void CallImpl::go_on_with(Prepared prepared) {
  prepared_ = std::move(prepared);
  record_.model = prepared_->canonical;
  record_.input_tokens = prepared_->input_tokens;
  failures_ = 0;
}

// Whether a try on a connection that was closed meanwhile is replaced at once, outside the count
// of attempts: once a call. Its hold is charged as possible spend like that of any other.
bool CallImpl::replaces_stale(const Verdict& verdict) {
  const bool may = stale_ && !resent_stale_ && verdict.resend == Resend::kAmbiguous &&
                   plan_.options.resend_ambiguous && !cancelled_ && !begun();
  if (!may) return false;
  resent_stale_ = true;
  budget_->give_back_attempt();
  return true;
}

// Another address than the one that failed may be asked at once.
bool CallImpl::another_member() const {
  const auto& members = front_->members();
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i != failed_member_ && members[i]->may_be_asked()) return true;
  }
  return false;
}

// How long to wait before the next attempt; nullopt: there is none.
std::optional<base::Duration> CallImpl::resend_after(const Verdict& verdict) {
  const bool in_budget =
      !verdict.feeds_retry_budget || plan_.endpoint->retries().on_failure() || another_member();
  if (cancelled_ || begun() || !budget_->has_attempt() || !in_budget) return std::nullopt;
  if (verdict.resend == Resend::kAmbiguous && !plan_.options.resend_ambiguous) return std::nullopt;
  if (verdict.other_key && plan_.endpoint->keys().another_awake(key_)) return base::Duration{0};
  if (verdict.resend != Resend::kNever && another_member()) return base::Duration{0};
  if (verdict.resend == Resend::kNever) return std::nullopt;
  if (verdict.hint && *verdict.hint > kLongestHint) return std::nullopt;
  const base::Duration wait =
      verdict.hint ? flow::after_hint(*verdict.hint, *services_.random)
                   : flow::full_jitter(services_.backoff, failures_ - 1, *services_.random);
  if (wait >= budget_->time_left(now())) return std::nullopt;
  return wait;
}

void CallImpl::succeed(std::string body) {
  in_flight_ = false;
  tell_breaker(flow::Breaker::Result::kWorked);
  release_slot(flow::FairQueue::End::kOk);
  if (record_.first_event.count() == 0) note_first();
  plan_.endpoint->retries().on_success();
  reply_body_ = std::move(body);
  finish({});
}

void CallImpl::finish(base::Status status) {
  if (finished_) return;
  finished_ = true;
  in_flight_ = false;
  if (hold_.open()) settle_lost();
  tell_breaker(flow::Breaker::Result::kUnknown);
  if (place_ != 0 && plan_.endpoint->queue().leave(place_)) place_ = 0;  // else a slot comes
  release_slot(flow::FairQueue::End::kOther);
  leave_member(std::nullopt);
  if (ticket_ != 0) services_.account->leave_queue(ticket_);
  if (!status.ok()) ++client_->counters().failures;
  record_.latency = now() - started_;
  Outcome outcome;
  if (status.ok()) outcome.body = std::move(reply_body_);
  outcome.status = std::move(status);
  outcome.http_status = http_status_;
  outcome.headers = std::move(reply_headers_);
  outcome.record = record_;
  observer_->on_done(std::move(outcome));
}

// --- money: each of these ends the attempt's hold ---------------------------------------------

void CallImpl::settle(const WireUsage& wire, std::string_view service_tier,
                      std::string_view model) {
  if (!hold_.open()) return;
  if (wire.garbage) return settle_possible();  // the answer stands; its cost is the whole hold
  if (!wire.reported()) return settle_lost();
  const money::Usage usage = money::count_units(wire.as_reported());
  const auto cost = money::cost(prices(), usage,
                                {.model = prepared_->canonical,
                                 .at = sent_at_,
                                 .service_tier = service_tier,
                                 .region = plan_.options.region});
  if (!cost) return settle_possible();  // a tier without a price: never taken as free
  record_.input_tokens = usage.counts.input_tokens();
  record_.output_tokens = usage.counts.output_tokens();
  (void)hold_.settle(usage, *cost,
                     {.service_tier = service_tier,
                      .region = plan_.options.region,
                      .model = model,
                      .request_id = request_id_of(reply_headers_)});
  note_settlement();
}

// The provider refused the request: it cost nothing, and the ledger says so.
void CallImpl::settle_nothing() {
  if (!hold_.open()) return;
  money::Cost nothing;
  nothing.price_version = prices().price_version();
  (void)hold_.settle({}, nothing, {.request_id = request_id_of(reply_headers_)});
  note_settlement();
}

// Nobody told us what it cost: not sent, void; else what we saw of it (money's rule).
void CallImpl::settle_lost() {
  if (!hold_.open()) return;
  if (chunks_) {
    record_.output_tokens = received_tokens();
    (void)hold_.progress(record_.output_tokens);
  }
  (void)hold_.settle_by_rule();
  note_settlement();
}

void CallImpl::settle_possible() {
  if (!hold_.open()) return;
  (void)hold_.settle_possible_spend();
  note_settlement();
}

void CallImpl::note_settlement() {
  budget_->drop(std::exchange(held_, 0));
  const auto settled = services_.account->settlement(hold_id_);
  give_rates_back(rated_tokens_ - (settled ? settled->tokens : 0), !sent_);
  if (!settled) return;  // void: nothing was spent
  record_.cost += settled->pico;
  record_.flags = static_cast<money::Flags>(record_.flags | settled->flags);
  budget_->spend(settled->pico);
  client_->counters().cost += settled->pico;
}

std::int64_t CallImpl::received_tokens() const {
  const auto model = policy::active()->catalog().find(prepared_->canonical);
  const std::string text = chunks_->billed_text();
  return model ? count_output_tokens(**model, text) : static_cast<std::int64_t>(text.size());
}

}  // namespace

Client::Client(Services services)
    : services_(std::move(services)),
      answers_(std::make_shared<Answers>(services_.account->folder())),
      gatherings_(std::make_shared<Gatherings>()) {}

std::shared_ptr<Client> Client::create(Services services) {
  return std::shared_ptr<Client>(new Client(std::move(services)));
}

void Client::join() {
  const std::lock_guard lock(mutex_);
  if (users_++ == 0) services_.transport->keep_idle(true);
}

void Client::leave() {
  const std::lock_guard lock(mutex_);
  if (--users_ == 0) services_.transport->keep_idle(false);
}

void Client::keep_answer(const flow::CacheKey& key, const Kept& kept, const CallOptions& options) {
  answers_->keep(key, kept, options, services_.clock->wall());
}

void Client::forget_answers() { answers_->forget(); }

base::Result<flow::SharedRates*> Client::rates() {
  if (flow::SharedRates* const known = rates_.load(std::memory_order_acquire)) return known;
  const std::lock_guard lock(mutex_);
  if (rates_kept_ == nullptr) {
    auto opened = flow::SharedRates::open(base::system_files(),
                                          services_.account->folder() + "/rates", *services_.clock);
    if (!opened) return base::fail(std::move(opened.error()));
    rates_kept_ = std::move(*opened);
    rates_.store(rates_kept_.get(), std::memory_order_release);
  }
  return rates_kept_.get();
}

std::shared_ptr<Call> Client::start(Plan plan, std::shared_ptr<Observer> observer) {
  ++counters_.calls;
  if (events_.on()) {
    observer = std::make_shared<Watched>(shared_from_this(), plan.options, std::move(observer));
  }
  if (auto shared = answers_->serve(shared_from_this(), plan, observer)) return shared;
  return start_unshared(std::move(plan), std::move(observer));
}

std::shared_ptr<Call> Client::start_unshared(Plan plan, std::shared_ptr<Observer> observer) {
  if (plan.options.gather.count() > 0) {
    if (auto seat = gatherings_->join(shared_from_this(), plan, observer)) return seat;
  }
  return start_hedged(shared_from_this(), std::move(plan), std::move(observer));
}

std::shared_ptr<Call> Client::start_alone(Plan plan, std::shared_ptr<Observer> observer) {
  auto prepared = understand(plan);
  auto call = std::make_shared<CallImpl>(shared_from_this(), std::move(plan), std::move(prepared),
                                         std::move(observer));
  call->launch();
  return call;
}

base::Result<Estimate> Client::estimate(Plan plan, std::string_view mode,
                                        base::WallTime until) const {
  const auto prepared = understand(plan);
  if (!prepared) return base::fail(base::Status(prepared.error()));
  money::BoundQuery query;
  query.price = {.model = prepared->canonical,
                 .at = services_.clock->wall(),
                 .service_tier = "default",
                 .mode = mode,
                 .region = plan.options.region};
  query.deadline = until;
  query.input_tokens = prepared->input_tokens;
  query.input_kind = prepared->input_kind;
  query.choices = prepared->choices;
  query.max_output_tokens = prepared->max_output_tokens;
  query.output_was_limited = prepared->output_was_limited;
  query.hidden_output = prepared->hidden_output;
  query.provider_side = prepared->provider_side;
  const auto& prices = plan.options.prices != nullptr ? plan.options.prices : services_.prices;
  auto bound = money::upper_bound(*prices, query);
  if (!bound) return base::fail(std::move(bound.error()));
  return Estimate{prepared->canonical, *bound};
}

}  // namespace dure::client
