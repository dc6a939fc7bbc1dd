#include "client/hedged_call.h"

#include <array>
#include <mutex>
#include <optional>
#include <utility>

#include "client/policy_finder.h"
#include "client/task.h"
#include "dure/base/annotations.h"
#include "dure/client/call_budget.h"
#include "json/reader.h"

namespace dure::client {
namespace {

// The canonical model of a plan that may be sent twice.
std::optional<std::string> model_to_hedge(const Plan& plan) {
  if (!plan.options.hedge || plan.raw || plan.method != "POST" || !plan.options.metered) {
    return std::nullopt;
  }
  json::Parser parser;
  const auto root = parser.parse(plan.body);
  if (!root || !(*root)["tools"].absent() || !(*root)["functions"].absent()) return std::nullopt;
  const auto model = PolicyFinder(plan.options.service).find((*root)["model"].string_or(""));
  if (!model) return std::nullopt;
  return (*model)->id;
}

// The copy that is not heard costs too.
void add_cost(Record& record, const Record& other) {
  record.cost += other.cost;
  record.attempts += other.attempts;
  record.ambiguous += other.ambiguous;
  record.flags = static_cast<money::Flags>(record.flags | other.flags);
}

class HedgedCall final : public Call, public std::enable_shared_from_this<HedgedCall> {
 public:
  HedgedCall(std::shared_ptr<Client> client, std::shared_ptr<Observer> observer,
             flow::Hedging& hedging)
      : client_(std::move(client)), observer_(std::move(observer)), hedging_(hedging) {}

  void begin(Plan plan);
  void cancel() override;
  void resume() override;

 private:
  // One of the two copies speaks.
  class Side final : public Observer {
   public:
    Side(std::shared_ptr<HedgedCall> call, std::size_t number)
        : call_(std::move(call)), number_(number) {}
    net::Flow on_event(std::string_view json) noexcept override {
      return call_->wins(number_) ? call_->observer_->on_event(json) : net::Flow::kGo;
    }
    void on_usage_event(std::string_view json) noexcept override {
      if (call_->wins(number_)) call_->observer_->on_usage_event(json);
    }
    void on_done(Outcome outcome) noexcept override { call_->done(number_, std::move(outcome)); }

   private:
    const std::shared_ptr<HedgedCall> call_;
    const std::size_t number_;
  };
  using Calls = std::array<std::shared_ptr<Call>, 2>;
  using Outcomes = std::array<std::optional<Outcome>, 2>;

  void start(std::size_t number, Plan plan);
  void send_copy();
  [[nodiscard]] bool wins(std::size_t number);
  void done(std::size_t number, Outcome outcome);
  [[nodiscard]] Calls calls();

  const std::shared_ptr<Client> client_;
  const std::shared_ptr<Observer> observer_;
  flow::Hedging& hedging_;  // of the plan's endpoint, which the plan keeps
  Plan plan_;               // of the copy
  std::mutex mutex_;
  Calls calls_ DURE_GUARDED_BY(mutex_);
  Outcomes outcomes_ DURE_GUARDED_BY(mutex_);
  std::optional<std::size_t> winner_ DURE_GUARDED_BY(mutex_);
  int running_ DURE_GUARDED_BY(mutex_) = 0;
  bool copied_ DURE_GUARDED_BY(mutex_) = false;
  bool cancelled_ DURE_GUARDED_BY(mutex_) = false;
};

void HedgedCall::begin(Plan plan) {
  const Services& services = client_->services();
  const base::Instant now = services.clock->now();
  plan.call_id = new_call_id(*services.random);
  plan.budget = std::make_shared<CallBudget>(
      plan.options.max_attempts, now + plan.options.deadlines.total, plan.options.max_cost);
  plan_ = plan;
  plan_.copy = true;
  plan_.options.fallbacks = {};
  hedging_.on_call();
  if (const auto after = hedging_.after()) {
    auto run = [weak = weak_from_this()] {
      if (const auto call = weak.lock()) call->send_copy();
    };
    services.transport->run_at(now + *after, make_task(std::move(run), [] {}));
  }
  start(0, std::move(plan));
}

void HedgedCall::start(std::size_t number, Plan plan) {
  {
    const std::lock_guard lock(mutex_);
    ++running_;
  }
  auto call =
      client_->start_alone(std::move(plan), std::make_shared<Side>(shared_from_this(), number));
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    if (outcomes_[number] || running_ == 0) return;
    calls_[number] = call;
    stop = cancelled_ || (winner_ && *winner_ != number);
  }
  if (stop) call->cancel();
}

// The first one is late. On the I/O thread, where the budget is.
void HedgedCall::send_copy() {
  {
    const std::lock_guard lock(mutex_);
    if (running_ == 0 || winner_ || cancelled_) return;
    if (!plan_.budget->has_attempt() || !hedging_.take()) return;
    copied_ = true;
  }
  ++client_->counters().hedges;
  start(1, std::move(plan_));
}

// True if this copy is the one that is heard: the first that had something to say.
bool HedgedCall::wins(std::size_t number) {
  std::shared_ptr<Call> other;
  {
    const std::lock_guard lock(mutex_);
    if (winner_) return *winner_ == number;
    winner_ = number;
    other = calls_[1 - number];
  }
  if (other != nullptr) other->cancel();
  return true;
}

void HedgedCall::done(std::size_t number, Outcome outcome) {
  if (outcome.status.ok()) (void)wins(number);
  Outcomes outcomes;
  Outcome out;
  {
    const std::lock_guard lock(mutex_);
    outcomes_[number] = std::move(outcome);
    calls_[number].reset();
    if (--running_ > 0) return;
    outcomes = std::exchange(outcomes_, {});
    if (!winner_) winner_ = outcomes[0] ? 0 : 1;
    out = std::move(*outcomes[*winner_]);
    out.record.hedged = copied_;
    if (outcomes[1 - *winner_]) add_cost(out.record, outcomes[1 - *winner_]->record);
  }
  observer_->on_done(std::move(out));
}

HedgedCall::Calls HedgedCall::calls() {
  const std::lock_guard lock(mutex_);
  return calls_;
}

void HedgedCall::cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  for (const auto& call : calls()) {
    if (call != nullptr) call->cancel();
  }
}

void HedgedCall::resume() {
  for (const auto& call : calls()) {
    if (call != nullptr) call->resume();
  }
}

}  // namespace

std::shared_ptr<Call> start_hedged(const std::shared_ptr<Client>& client, Plan plan,
                                   std::shared_ptr<Observer> observer) {
  const auto model = model_to_hedge(plan);
  if (!model) return client->start_alone(std::move(plan), std::move(observer));
  auto call =
      std::make_shared<HedgedCall>(client, std::move(observer), plan.endpoint->hedging(*model));
  call->begin(std::move(plan));
  return call;
}

}  // namespace dure::client
