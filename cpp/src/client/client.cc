#include "dure/client/client.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "client/progress_pace.h"
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

// Runs a function on the I/O thread; says so if the transport stopped before.
template <typename Run, typename Drop>
class Task final : public net::Work {
 public:
  Task(Run run, Drop drop) : run_(std::move(run)), drop_(std::move(drop)) {}
  ~Task() override {
    if (!ran_) drop_();
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  void run() noexcept override {
    ran_ = true;
    run_();
  }

 private:
  Run run_;
  Drop drop_;
  bool ran_ = false;
};

// Any model of the catalogue, or those that the service's policy allows.
class PolicyFinder final : public ModelFinder {
 public:
  explicit PolicyFinder(std::string_view service)
      : service_(service), policies_(policy::active()) {}
  [[nodiscard]] base::Result<const catalog::Model*> find(std::string_view name) const override {
    if (!service_.empty()) return policies_->validate(name, service_);
    if (name.empty()) {
      return base::fail(base::invalid_argument("body", "model is missing: name one, or a service")
                            .with("path", std::string("model")));
    }
    return policies_->catalog().find(name);
  }

 private:
  std::string_view service_;
  std::shared_ptr<const policy::PolicyBook> policies_;
};

std::string hex16(std::uint64_t value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4U) out[i] = kHex[value & 15U];
  return out;
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
  void post(void (CallImpl::*step)(), base::Instant at);
  void stopped();

  void begin();
  [[nodiscard]] bool take_key();
  [[nodiscard]] base::Status admit();
  // After a refusal: true if the call waits in the queue of a budget.
  [[nodiscard]] bool wait_for_room(const base::Status& refusal);
  void look_for_room();
  [[nodiscard]] base::Result<money::Bound> bound() const;
  void send();
  void apply_cancel();

  void on_sent();
  void count_ambiguous();
  void on_head(int status, net::HeaderView headers);
  net::Flow on_body(std::span<const std::byte> part);
  void on_event(std::string_view data);
  void take_event(std::string_view data);
  void on_chunk(const ChatAssembler::Event& event, std::string_view data);
  void note_progress();
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

  void settle(const WireUsage& usage, std::string_view service_tier);
  void settle_nothing();
  void settle_lost();
  void settle_possible();
  void note_settlement();
  [[nodiscard]] std::int64_t received_tokens() const;
  [[nodiscard]] ErrorBody without_keys(ErrorBody error) const;
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
  CallBudget budget_;
  Record record_;
  money::Reservation hold_;
  money::ReservationId hold_id_;
  std::size_t key_ = 0;
  int attempt_ = 0;
  int failures_ = 0;
  bool in_flight_ = false;
  bool finished_ = false;
  bool resent_stale_ = false;
  std::uint64_t ticket_ = 0;        // our place in the queue of a budget
  std::uint64_t room_changes_ = 0;  // the account's, before we last tried
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
  bool stale_ = false;       // it broke on a kept connection before its first byte
  base::WallTime sent_at_;
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
      budget_(plan_.options.max_attempts, started_ + plan_.options.deadlines.total,
              plan_.options.max_cost) {
  record_.call_id = hex16(services_.random->next());
  if (prepared_) {
    record_.model = prepared_->canonical;
    record_.input_tokens = prepared_->input_tokens;
  }
}

void CallImpl::post(void (CallImpl::*step)(), base::Instant at) {
  auto self = shared_from_this();
  auto run = [self, step] { ((*self).*step)(); };
  auto drop = [self] { self->stopped(); };
  services_.transport->run_at(
      at, std::make_shared<Task<decltype(run), decltype(drop)>>(std::move(run), std::move(drop)));
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
  if (budget_.time_left(now()).count() == 0) {
    return finish(base::Status(base::Code::kDeadline,
                               "time ran out before the request could be sent: raise deadline=")
                      .with("stage", std::string("queue")));
  }
  if (!take_key()) return;
  if (base::Status status = admit(); !status.ok()) {
    if (!wait_for_room(status)) finish(std::move(status));
    return;
  }
  send();
}

bool CallImpl::wait_for_room(const base::Status& refusal) {
  const auto* ticket = refusal.detail("ticket");
  if (ticket == nullptr) return false;
  ticket_ = static_cast<std::uint64_t>(std::get<std::int64_t>(*ticket));
  tried_at_ = now();
  if (budget_.time_left(now()) <= kRoomLook) return false;
  post(&CallImpl::look_for_room, now() + kRoomLook);
  return true;
}

void CallImpl::look_for_room() {
  if (finished_) return;
  const bool out_of_time = budget_.time_left(now()) <= kRoomLook;  // told by the last refusal
  const bool changed = services_.account->room_changes() != room_changes_;
  if (changed || cancelled_ || out_of_time || now() - tried_at_ >= kRoomTry) return begin();
  post(&CallImpl::look_for_room, now() + kRoomLook);
}

// False: the call waits for a key, or has ended for want of one.
bool CallImpl::take_key() {
  const auto choice = plan_.endpoint->keys().take();
  if (!choice) {
    finish(base::Status(base::Code::kUnavailable,
                        "every API key was refused by the provider: check them and make a new "
                        "client")
               .with("host", plan_.endpoint->host())
               .with("stage", std::string("key")));
    return false;
  }
  if (choice->wait.count() == 0 || other_quota_) {
    key_ = choice->key;
    record_.key_id = plan_.endpoint->key_id(key_);
    return true;
  }
  if (choice->wait > kLongestHint || choice->wait >= budget_.time_left(now())) {
    finish(base::Status(base::Code::kRateLimited, "every API key is over its rate: come back later")
               .with_retry_after(in_seconds(choice->wait)));
    return false;
  }
  post(&CallImpl::begin, now() + flow::after_hint(choice->wait, *services_.random));
  return false;
}

base::Result<money::Bound> CallImpl::bound() const {
  const base::WallTime wall = services_.clock->wall();
  money::BoundQuery query;
  query.price = {
      .model = prepared_->canonical, .at = wall, .service_tier = prepared_->service_tier};
  query.deadline = {wall.us + budget_.time_left(now()).count() / 1000};
  query.input_tokens = prepared_->input_tokens;
  query.input_kind = prepared_->input_kind;
  query.choices = prepared_->choices;
  query.max_output_tokens = prepared_->max_output_tokens;
  query.output_was_limited = prepared_->output_was_limited;
  query.hidden_output = prepared_->hidden_output;
  return money::upper_bound(*services_.prices, query);
}

base::Status CallImpl::admit() {
  if (prepared_->operation == Operation::kUnmetered) return {};
  const auto most = bound();
  if (!most) return most.error();
  if (!budget_.affords(most->pico)) {
    return base::Status(base::Code::kBudgetExceeded,
                        "the call may cost $" + money::format_dollars(most->pico) +
                            ", its max_cost leaves $" +
                            money::format_dollars(budget_.money_left()) +
                            ": lower max_tokens or raise max_cost")
        .with("scope", std::string("call"))
        .with("left_units", budget_.money_left());
  }
  std::vector<std::string> scopes = plan_.options.scopes;
  scopes.push_back("model:" + prepared_->canonical);
  scopes.push_back("key:" + record_.key_id);
  money::ReserveRequest request;
  request.scopes = scopes;
  request.bound = *most;
  request.call = {.model = prepared_->canonical,
                  .service = plan_.options.service,
                  .call_id = record_.call_id,
                  .key_id = record_.key_id,
                  .attempt = static_cast<std::uint16_t>(budget_.used() + 1)};
  request.lease = budget_.time_left(now()) + std::chrono::minutes(1);
  request.may_wait = true;
  request.ticket = ticket_;
  room_changes_ = services_.account->room_changes();
  auto hold = money::Reservation::make(services_.account, request);
  if (!hold) return hold.error();
  ticket_ = 0;
  hold_ = std::move(*hold);
  hold_id_ = hold_.id();
  return {};
}

void CallImpl::send() {
  budget_.take_attempt();
  ++attempt_;
  ++record_.attempts;
  ++client_->counters().attempts;
  in_flight_ = true;
  sent_ = done_seen_ = garbage_ = saw_events_ = false;
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
  request.headers = plan_.endpoint->headers(key_);
  request.headers.emplace_back("X-Client-Request-Id",
                               record_.call_id + "-" + std::to_string(attempt_));
  for (const auto& header : plan_.headers) put_header(request.headers, header);
  const bool shrunk = hold_.open() && hold_.admission().shrunk;
  request.body = shrunk ? with_output_limit(prepared_->body, hold_.admission().max_output_tokens)
                        : prepared_->body;
  request.stream = prepared_->stream;
  // What is held is sent again by us alone: each try has a hold of its own.
  request.resend = plan_.options.resend_ambiguous && !hold_.open();
  request.proxy = plan_.endpoint->proxy();
  request.deadlines = plan_.options.deadlines;
  request.deadlines.total = budget_.time_left(now());
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
  if (!success || !prepared_->stream || !is_event_stream(headers)) return;
  chunks_.emplace(plan_.whole, prepared_->operation);
  if (plan_.endpoint->wire() == Wire::kAnthropic) {
    messages_.emplace(services_.clock->wall().us / 1'000'000);
  }
  sse_.emplace([this](const net::SseEvent& event) { on_event(event.data); });
}

net::Flow CallImpl::on_body(std::span<const std::byte> part) {
  if (!sse_) {
    reply_body_.append(reinterpret_cast<const char*>(part.data()), part.size());
    return net::Flow::kGo;
  }
  flow_ = net::Flow::kGo;
  over_cap_ = sse_->feed(part);
  garbage_ = garbage_ || !over_cap_.ok();
  if (in_flight_ && (garbage_ || !stream_error_.empty())) fault_in_stream();
  if (in_flight_ && done_seen_) end_of_stream();
  return flow_;
}

void CallImpl::on_event(std::string_view data) {
  if (!messages_) return take_event(data);
  for (const std::string& chunk : messages_->feed(data)) take_event(chunk);
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
  if (record_.first_event.count() == 0) record_.first_event = now() - started_;
  received_bytes_ += event.text.size();
  note_progress();
  if (plan_.whole || (event.kind == Kind::kUsageOnly && prepared_->hide_usage)) return;
  if (observer_->on_event(data) == net::Flow::kPause) flow_ = net::Flow::kPause;
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
  settle(facts.usage, facts.service_tier);
  succeed(std::move(reply_body_));
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
  settle(chunks_->usage(), chunks_->service_tier());
  succeed(plan_.whole ? chunks_->whole() : std::string{});
}

// A provider may echo the key anywhere in its error.
ErrorBody CallImpl::without_keys(ErrorBody error) const {
  for (std::string* field : {&error.message, &error.code, &error.type, &error.param}) {
    *field = plan_.endpoint->redact(*field);
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
  const Verdict verdict = classify_end(status, sent_, saw_events_);
  if (verdict.failure == Failure::kStreamInterrupted && status.code() != base::Code::kDeadline) {
    const std::string code = status.provider_code();
    status = base::Status(base::Code::kTruncated, status.message()).with("text", chunks_->text());
    if (!code.empty()) (void)std::move(status).with_provider_code(code);
    if (chunks_->usage().reported()) {
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
  (void)std::move(status).with("body", plan_.endpoint->redact(begin).substr(0, kBodyInError));
  auto id = headers.get("x-request-id");
  if (!id) id = headers.get("request-id");
  if (id) {
    (void)std::move(status).with("request_id", plan_.endpoint->redact(*id));
  }
  if (!error.type.empty()) (void)std::move(status).with("type", error.type);
  if (!error.param.empty()) (void)std::move(status).with("param", error.param);
  return status;
}

// --- after an attempt -------------------------------------------------------------------------

void CallImpl::failed(const Verdict& verdict, base::Status status) {
  in_flight_ = false;
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
  if (!goes_on) return finish(std::move(status));
  ++client_->counters().retries;
  if (verdict.resend == Resend::kAmbiguous) count_ambiguous();
  if (next) go_on_with(std::move(*next));
  other_quota_ = next && verdict.failure == Failure::kRateLimit;
  post(&CallImpl::begin, now() + wait.value_or(base::Duration{0}));
}

// The request for the model that takes over; nullopt: there is none, or nothing left to call with.
std::optional<Prepared> CallImpl::replacement(const Verdict& verdict, const base::Status& status) {
  const bool ambiguous = verdict.resend == Resend::kAmbiguous;
  if (cancelled_ || saw_events_ || !budget_.has_attempt() ||
      budget_.time_left(now()).count() == 0 || (ambiguous && !plan_.options.resend_ambiguous)) {
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
                   plan_.options.resend_ambiguous && !cancelled_ && !saw_events_;
  if (!may) return false;
  resent_stale_ = true;
  budget_.give_back_attempt();
  return true;
}

// How long to wait before the next attempt; nullopt: there is none.
std::optional<base::Duration> CallImpl::resend_after(const Verdict& verdict) {
  const bool in_budget = !verdict.feeds_retry_budget || plan_.endpoint->retries().on_failure();
  if (cancelled_ || saw_events_ || !budget_.has_attempt() || !in_budget) return std::nullopt;
  if (verdict.resend == Resend::kAmbiguous && !plan_.options.resend_ambiguous) return std::nullopt;
  if (verdict.other_key && plan_.endpoint->keys().another_awake(key_)) return base::Duration{0};
  if (verdict.resend == Resend::kNever) return std::nullopt;
  if (verdict.hint && *verdict.hint > kLongestHint) return std::nullopt;
  const base::Duration wait =
      verdict.hint ? flow::after_hint(*verdict.hint, *services_.random)
                   : flow::full_jitter(services_.backoff, failures_ - 1, *services_.random);
  if (wait >= budget_.time_left(now())) return std::nullopt;
  return wait;
}

void CallImpl::succeed(std::string body) {
  in_flight_ = false;
  plan_.endpoint->retries().on_success();
  reply_body_ = std::move(body);
  finish({});
}

void CallImpl::finish(base::Status status) {
  if (finished_) return;
  finished_ = true;
  in_flight_ = false;
  if (hold_.open()) settle_lost();
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

void CallImpl::settle(const WireUsage& wire, std::string_view service_tier) {
  if (!hold_.open()) return;
  if (wire.garbage) return settle_possible();  // the answer stands; its cost is the whole hold
  if (!wire.reported()) return settle_lost();
  const money::Usage usage = money::count_units(wire.as_reported());
  const auto cost =
      money::cost(*services_.prices, usage,
                  {.model = prepared_->canonical, .at = sent_at_, .service_tier = service_tier});
  if (!cost) return settle_possible();  // a tier without a price: never taken as free
  record_.input_tokens = usage.counts.input_tokens();
  record_.output_tokens = usage.counts.output_tokens();
  (void)hold_.settle(usage, *cost);
  note_settlement();
}

// The provider refused the request: it cost nothing, and the ledger says so.
void CallImpl::settle_nothing() {
  if (!hold_.open()) return;
  money::Cost nothing;
  nothing.price_version = services_.prices->price_version();
  (void)hold_.settle({}, nothing);
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
  const auto settled = services_.account->settlement(hold_id_);
  if (!settled) return;  // void: nothing was spent
  record_.cost += settled->pico;
  record_.flags = static_cast<money::Flags>(record_.flags | settled->flags);
  budget_.spend(settled->pico);
  client_->counters().cost += settled->pico;
}

std::int64_t CallImpl::received_tokens() const {
  const auto model = policy::active()->catalog().find(prepared_->canonical);
  const std::string text = chunks_->billed_text();
  return model ? count_output_tokens(**model, text) : static_cast<std::int64_t>(text.size());
}

}  // namespace

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

std::shared_ptr<Call> Client::start(Plan plan, std::shared_ptr<Observer> observer) {
  ++counters_.calls;
  auto prepared = understand(plan);
  auto call = std::make_shared<CallImpl>(shared_from_this(), std::move(plan), std::move(prepared),
                                         std::move(observer));
  call->launch();
  return call;
}

}  // namespace dure::client
