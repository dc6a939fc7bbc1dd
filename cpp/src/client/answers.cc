#include "client/answers.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "client/disk_cache.h"
#include "client/task.h"

namespace dure::client {
namespace {

constexpr base::Duration kPatience = std::chrono::milliseconds(250);  // with a cache elsewhere

// A call that has ended before it was asked for.
class Ended final : public Call {
 public:
  void cancel() override {}
  void resume() override {}
};

bool may_share(const Plan& plan) {
  const CallOptions& options = plan.options;
  if (plan.method != "POST" || !options.metered || plan.raw) return false;
  if (options.caching != Caching::kOff) return true;
  return options.coalesce.value_or(may_be_settled(plan));
}

// A budget of the asker has nothing left: he is refused in the usual way, and told by which.
bool is_used_up(Client& client, const CallOptions& options) {
  for (const std::string& scope : options.scopes) {
    const auto budgets = client.services().account->budgets(scope);
    if (!budgets) return true;
    for (const money::BudgetState& state : *budgets) {
      if (state.left <= 0 && state.spec.on_limit != money::OnLimit::kWarn) return true;
    }
  }
  return false;
}

// Whether a call within `mine` might go on where one within `his` had to end.
bool is_wider(const CallOptions& mine, const CallOptions& his) {
  const bool richer = his.max_cost && (!mine.max_cost || *mine.max_cost > *his.max_cost);
  return richer || mine.max_attempts > his.max_attempts ||
         mine.deadlines.total > his.deadlines.total || !mine.fallbacks.empty() ||
         (mine.resend_ambiguous && !his.resend_ambiguous);
}

// In which form an answer is told.
struct Form {
  Operation operation = Operation::kChat;
  bool stream = false;
  bool wants_usage = false;
};

// What was served without a call is in the ledger, too; no budget counts it. A disk that refuses
// takes nobody's answer away.
void note_free(Client& client, const CallOptions& options, const Record& record, money::Flag why) {
  (void)client.services().account->note_free(options.scopes,
                                             {.model = record.model,
                                              .service = options.service,
                                              .call_id = record.call_id,
                                              .key_id = {},
                                              .flags = static_cast<money::Flags>(why)});
}

// Tells a kept answer in the form that was asked for.
void tell(Client& client, const Kept& kept, const Form& form, const CallOptions& options,
          Observer& observer) {
  Outcome outcome;
  outcome.http_status = 200;
  outcome.record.call_id = new_call_id(*client.services().random);
  outcome.record.model = kept.model;
  outcome.record.cached = true;
  outcome.record.flags = static_cast<money::Flags>(money::Flag::kCached);
  outcome.record.saved = kept.cost;
  outcome.record.input_tokens = kept.input_tokens;
  outcome.record.output_tokens = kept.output_tokens;
  note_free(client, options, outcome.record, money::Flag::kCached);
  if (!form.stream) {
    outcome.body = kept.body;
  } else {
    const auto events =
        form.operation == Operation::kChat ? to_chunks(kept.body, form.wants_usage) : kept.events;
    for (const std::string& event : events) (void)observer.on_event(event);
  }
  observer.on_done(std::move(outcome));
}

}  // namespace

// --- one call for several -----------------------------------------------------------------------

class Flight final : public Observer, public std::enable_shared_from_this<Flight> {
 public:
  // `answers` null: nobody but the first boards.
  Flight(std::shared_ptr<Answers> answers, std::shared_ptr<Client> client, Question question)
      : answers_(std::move(answers)), client_(std::move(client)), question_(std::move(question)) {}

  // Null: it has landed.
  std::shared_ptr<Call> board(const Plan& plan, std::shared_ptr<Observer> observer,
                              const Question& question);
  // REQUIRES: `plan` is that of the first who boarded. Both once, one of them.
  void take_off(Plan plan);
  // Asks elsewhere first; what is there serves all, else it takes off, in any case soon.
  void look_up(Plan plan);

  net::Flow on_event(std::string_view json) noexcept override;
  void on_usage_event(std::string_view json) noexcept override;
  void on_done(Outcome outcome) noexcept override;

 private:
  // A passenger's hold on his seat.
  class Seat final : public Call {
   public:
    Seat(std::weak_ptr<Flight> flight, std::uint64_t number)
        : flight_(std::move(flight)), number_(number) {}
    void cancel() override;
    void resume() override {}  // a flight never pauses: others are on board
    void go_on_as(std::shared_ptr<Call> other);

   private:
    const std::weak_ptr<Flight> flight_;
    const std::uint64_t number_;
    std::mutex mutex_;
    std::shared_ptr<Call> other_ DURE_GUARDED_BY(mutex_);
    bool cancelled_ DURE_GUARDED_BY(mutex_) = false;
  };
  struct Passenger {
    std::uint64_t number = 0;
    Plan plan;
    std::shared_ptr<Observer> observer;
    std::shared_ptr<Seat> seat;
    base::Instant since;
    bool stream = false;
    bool wants_usage = false;
    // The last one has left: the call ends for him, for this reason.
    std::optional<base::Status> left = std::nullopt;
  };

  void leave(std::uint64_t number, base::Status status);
  void expect(const Passenger& passenger);
  [[nodiscard]] bool begins_anew(const Passenger& passenger, const Outcome& outcome) const;
  void deliver(Passenger& passenger, const Outcome& outcome, bool pays) noexcept;
  void keep(const Outcome& outcome);
  void land_with(const Kept& kept) noexcept;
  [[nodiscard]] std::vector<Passenger> land();

  const std::shared_ptr<Answers> answers_;
  const std::shared_ptr<Client> client_;
  const Question question_;
  std::mutex mutex_;
  std::vector<Passenger> passengers_ DURE_GUARDED_BY(mutex_);  // in the order of boarding
  std::vector<std::string> events_;  // under the lock until the call has ended, then constant
  std::string usage_event_;          // likewise
  std::shared_ptr<Call> call_ DURE_GUARDED_BY(mutex_);
  std::uint64_t last_number_ DURE_GUARDED_BY(mutex_) = 0;
  bool landed_ DURE_GUARDED_BY(mutex_) = false;
  bool stopped_ DURE_GUARDED_BY(mutex_) = false;
  CallOptions options_;  // the first one's, for keeping
};

void Flight::Seat::cancel() {
  std::shared_ptr<Call> other;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    other = other_;
  }
  if (other != nullptr) return other->cancel();
  if (const auto flight = flight_.lock()) {
    flight->leave(number_, base::Status(base::Code::kCancelled, "cancelled"));
  }
}

void Flight::Seat::go_on_as(std::shared_ptr<Call> other) {
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    other_ = other;
    cancelled = cancelled_;
  }
  if (cancelled) other->cancel();
}

std::shared_ptr<Call> Flight::board(const Plan& plan, std::shared_ptr<Observer> observer,
                                    const Question& question) {
  Passenger passenger;
  passenger.plan = plan;
  passenger.observer = std::move(observer);
  passenger.since = client_->services().clock->now();
  passenger.stream = question.stream && !plan.whole;
  passenger.wants_usage = question.wants_usage;
  const std::lock_guard lock(mutex_);
  if (landed_) return nullptr;
  passenger.number = ++last_number_;
  passenger.seat = std::make_shared<Seat>(weak_from_this(), passenger.number);
  if (passenger.stream) {
    for (const std::string& event : events_) (void)passenger.observer->on_event(event);
  }
  if (passenger.number > 1) expect(passenger);
  passengers_.push_back(std::move(passenger));
  return passengers_.back().seat;
}

// A follower's own time is not the call's. The timer keeps nothing alive.
void Flight::expect(const Passenger& passenger) {
  auto run = [weak = weak_from_this(), number = passenger.number] {
    if (const auto flight = weak.lock()) {
      flight->leave(number, base::Status(base::Code::kDeadline,
                                         "time ran out before the answer came: raise deadline=")
                                .with("stage", std::string("total")));
    }
  };
  client_->services().transport->run_at(passenger.since + passenger.plan.options.deadlines.total,
                                        make_task(std::move(run), [] {}));
}

void Flight::take_off(Plan plan) {
  options_ = plan.options;
  plan.keep_whole = true;
  plan.whole = plan.whole && !question_.stream;
  auto call = client_->start_unshared(std::move(plan), shared_from_this());
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    if (!landed_) call_ = call;
    stop = stopped_;
  }
  if (stop) call->cancel();
}

net::Flow Flight::on_event(std::string_view json) noexcept {
  const std::lock_guard lock(mutex_);
  events_.emplace_back(json);
  for (const Passenger& passenger : passengers_) {
    if (passenger.stream) (void)passenger.observer->on_event(json);
  }
  return net::Flow::kGo;
}

void Flight::on_usage_event(std::string_view json) noexcept {
  const std::lock_guard lock(mutex_);
  usage_event_ = json;
}

// Nobody waits any more: the call ends. Whoever left last hears how.
void Flight::leave(std::uint64_t number, base::Status status) {
  std::shared_ptr<Observer> told;
  std::shared_ptr<Call> call;
  Outcome outcome;
  {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(passengers_.begin(), passengers_.end(),
                     [number](const Passenger& passenger) { return passenger.number == number; });
    if (found == passengers_.end() || found->left) return;
    if (passengers_.size() > 1) {
      told = found->observer;
      outcome.record.model = question_.model;
      outcome.record.latency = client_->services().clock->now() - found->since;
      passengers_.erase(found);
    } else {
      found->left = std::move(status);
      landed_ = stopped_ = true;
      call = call_;
    }
  }
  if (told != nullptr) {
    outcome.status = std::move(status);
    ++client_->counters().failures;
    return told->on_done(std::move(outcome));
  }
  if (answers_ != nullptr) answers_->land(question_, this);
  if (call != nullptr) call->cancel();
}

void Flight::look_up(Plan plan) {
  const Services& services = client_->services();
  const auto shared = std::make_shared<Plan>(std::move(plan));
  const base::Instant begun = services.clock->now();
  const auto decided = std::make_shared<std::atomic<bool>>(false);
  const auto decide = [self = shared_from_this(), shared, begun,
                       decided](const flow::CacheValue& value) {
    if (decided->exchange(true)) return;
    if (const auto kept = value == nullptr ? std::nullopt : unpack(*value)) {
      return self->land_with(*kept);
    }
    base::Duration& total = shared->options.deadlines.total;
    total -= self->client_->services().clock->now() - begun;
    self->take_off(std::move(*shared));
  };
  const auto on_io = [transport = services.transport, clock = services.clock, decide](
                         const flow::CacheValue& value, base::Duration after) {
    const auto run = [decide, value] { decide(value); };
    transport->run_at(clock->now() + after, make_task(run, [decide] { decide(nullptr); }));
  };
  on_io(nullptr, std::min(kPatience, shared->options.deadlines.total / 2));
  shared->options.remote->get(key_of(question_), [on_io](const flow::CacheValue& value) {
    on_io(value, base::Duration{0});
  });
}

// A kept answer serves everybody on board.
void Flight::land_with(const Kept& kept) noexcept {
  for (Passenger& passenger : land()) {
    ++client_->counters().cache_hits;
    client_->counters().saved += kept.cost;
    tell(*client_, kept, {question_.operation, passenger.stream, passenger.wants_usage},
         passenger.plan.options, *passenger.observer);
  }
}

std::vector<Flight::Passenger> Flight::land() {
  if (answers_ != nullptr) answers_->land(question_, this);
  std::vector<Passenger> passengers;
  const std::lock_guard lock(mutex_);
  landed_ = true;
  call_.reset();
  passengers.swap(passengers_);
  return passengers;
}

void Flight::on_done(Outcome outcome) noexcept {
  if (outcome.status.ok()) keep(outcome);
  std::vector<Passenger> passengers = land();
  bool pays = true;
  for (Passenger& passenger : passengers) {
    if (begins_anew(passenger, outcome)) {
      --client_->counters().calls;
      passenger.seat->go_on_as(client_->start(std::move(passenger.plan), passenger.observer));
    } else {
      deliver(passenger, outcome, std::exchange(pays, false));
    }
  }
}

// The first one's limits are not those of who came later, unless he has begun to read. What fails
// for reasons of the provider, within limits as wide as his own, he hears too.
bool Flight::begins_anew(const Passenger& passenger, const Outcome& outcome) const {
  if (outcome.status.ok() || passenger.number == 1 || passenger.left) return false;
  if (passenger.stream && !events_.empty()) return false;
  const base::Code code = outcome.status.code();
  if (outcome.record.attempts == 0 || code == base::Code::kCancelled) return true;
  return code != base::Code::kInvalidArgument && is_wider(passenger.plan.options, options_);
}

void Flight::deliver(Passenger& passenger, const Outcome& outcome, bool pays) noexcept {
  Outcome mine;
  const bool left = passenger.left && outcome.status.code() == base::Code::kCancelled;
  mine.status = left ? *passenger.left : outcome.status;
  mine.http_status = outcome.http_status;
  mine.headers = outcome.headers;
  mine.record = outcome.record;
  mine.record.latency = client_->services().clock->now() - passenger.since;
  if (!pays) {
    mine.record.saved = std::exchange(mine.record.cost, 0);
    mine.record.attempts = mine.record.ambiguous = 0;
    mine.record.coalesced = true;
    ++client_->counters().coalesced;
    client_->counters().saved += mine.record.saved;
    if (mine.status.ok()) {
      note_free(*client_, passenger.plan.options, mine.record, money::Flag::kCoalesced);
    }
    if (!mine.status.ok()) ++client_->counters().failures;
  }
  if (mine.status.ok() && passenger.stream) {
    if (events_.empty()) {
      for (const std::string& chunk : to_chunks(outcome.body, passenger.wants_usage)) {
        (void)passenger.observer->on_event(chunk);
      }
    } else if (passenger.wants_usage && !usage_event_.empty()) {
      (void)passenger.observer->on_event(usage_event_);
    }
  } else if (mine.status.ok()) {
    mine.body = outcome.body;
  }
  passenger.observer->on_done(std::move(mine));
}

void Flight::keep(const Outcome& outcome) {
  if (options_.caching == Caching::kOff || outcome.http_status != 200) return;
  Kept kept;
  kept.cost = outcome.record.cost;
  kept.input_tokens = outcome.record.input_tokens;
  kept.output_tokens = outcome.record.output_tokens;
  kept.model = outcome.record.model;
  kept.body = outcome.body;
  if (question_.operation == Operation::kResponses && question_.stream) kept.events = events_;
  // A fallback answered: not what was asked for.
  if (kept.model != question_.model) return;
  client_->keep_answer(key_of(question_), kept, options_);
}

// --- what is kept -------------------------------------------------------------------------------

std::shared_ptr<Call> Answers::serve(const std::shared_ptr<Client>& client, const Plan& plan,
                                     const std::shared_ptr<Observer>& observer) {
  if (!may_share(plan)) return nullptr;
  const auto question = read_question(plan);
  if (!question) return nullptr;
  const Caching caching = plan.options.caching;
  const bool shares = plan.options.coalesce.value_or(question->settled || caching != Caching::kOff);
  if (!shares && caching == Caching::kOff) return nullptr;
  if (caching != Caching::kOff) {
    const auto value = find(key_of(*question), caching, client->services().clock->wall());
    if (const auto kept = value == nullptr ? std::nullopt : unpack(*value)) {
      ++client->counters().cache_hits;
      client->counters().saved += kept->cost;
      tell(*client, *kept,
           {question->operation, question->stream && !plan.whole, question->wants_usage},
           plan.options, *observer);
      return std::make_shared<Ended>();
    }
  }
  return board(client, plan, observer, *question, shares);
}

std::shared_ptr<Call> Answers::board(const std::shared_ptr<Client>& client, const Plan& plan,
                                     const std::shared_ptr<Observer>& observer,
                                     const Question& question, bool shares) {
  const auto make = [&] {
    return std::make_shared<Flight>(shares ? shared_from_this() : nullptr, client, question);
  };
  while (true) {
    auto [flight, leads] =
        shares ? flights_.join(question.identity, make) : std::pair(make(), true);
    if (!leads && is_used_up(*client, plan.options)) return nullptr;
    auto seat = flight->board(plan, observer, question);
    if (seat == nullptr) {  // it landed while we came
      flights_.land(question.identity, flight.get());
      continue;
    }
    if (leads && plan.options.remote != nullptr && plan.options.caching != Caching::kOff) {
      flight->look_up(plan);
    } else if (leads) {
      flight->take_off(plan);
    }
    return seat;
  }
}

void Answers::keep(const flow::CacheKey& key, const Kept& kept, const CallOptions& options,
                   base::WallTime now) {
  const auto value = std::make_shared<const std::string>(pack(kept));
  const base::WallTime expires{now.us + options.cache_for.count() / 1000};
  memory_.put(key, value, expires);
  if (options.remote != nullptr) options.remote->put(key, value, options.cache_for);
  if (options.caching != Caching::kDisk) return;
  if (flow::CacheStore* const store = disk()) store->put(key, value, expires);
}

void Answers::land(const Question& question, const Flight* flight) {
  flights_.land(question.identity, flight);
}

void Answers::forget() {
  memory_.clear();
  if (flow::CacheStore* const store = disk()) store->clear();
}

flow::CacheValue Answers::find(const flow::CacheKey& key, Caching caching, base::WallTime now) {
  if (auto value = memory_.get(key, now)) return value;
  if (caching != Caching::kDisk) return nullptr;
  flow::CacheStore* const store = disk();
  return store == nullptr ? nullptr : store->get(key, now);
}

// Opened on first use. A disk that cannot be used is no cache: calls go on.
flow::CacheStore* Answers::disk() {
  const std::lock_guard lock(mutex_);
  if (disk_ == nullptr && !disk_failed_) {
    disk_ = DiskCache::open(folder_ + "/answers.db", kDisk);
    disk_failed_ = disk_ == nullptr;
  }
  return disk_.get();
}

}  // namespace dure::client
