#include "client/gathering.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "client/policy_finder.h"
#include "client/task.h"
#include "dure/client/dialect.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::client {
namespace {

using json::Value;

constexpr int kMostHalvings = 64;  // a provider that takes nothing is not asked on

void add_part(std::string& out, std::string_view text) {
  out.append(std::to_string(text.size())).append(":").append(text);
}

// What a caller brings: his inputs as JSON, and how many tokens they have.
struct Cargo {
  std::vector<std::string> inputs;
  std::int64_t tokens = 0;
};

struct Request {
  std::string name;  // equal for requests that may go together
  Cargo cargo;
};

bool may_gather(const Plan& plan) {
  const CallOptions& options = plan.options;
  const std::string_view path = std::string_view(plan.path).substr(0, plan.path.find('?'));
  return options.gather.count() > 0 && path == "/embeddings" && plan.method == "POST" &&
         options.metered && !plan.raw && !options.max_cost && options.fallbacks.empty() &&
         !options.hedge;
}

// False: it is no input.
bool add_input(const Value& input, const catalog::Model& model, Cargo& cargo) {
  if (const auto text = input.string()) {
    cargo.tokens += count_output_tokens(model, *text);
  } else if (input.is_array() && input[std::size_t{0}].integer()) {
    cargo.tokens += static_cast<std::int64_t>(input.size());
  } else {
    return false;
  }
  cargo.inputs.push_back(input.text());
  return true;
}

std::optional<Cargo> read_cargo(const Value& input, const catalog::Model& model) {
  Cargo cargo;
  const bool one = input.string() || input[std::size_t{0}].integer();
  if (one) {
    if (!add_input(input, model, cargo)) return std::nullopt;
  } else {
    for (const Value& item : input.items()) {
      if (!add_input(item, model, cargo)) return std::nullopt;
    }
  }
  const bool fits =
      cargo.inputs.size() <= Gatherings::kMostInputs && cargo.tokens <= Gatherings::kMostTokens;
  return fits && !cargo.inputs.empty() ? std::optional(std::move(cargo)) : std::nullopt;
}

void add_options(std::string& out, const Plan& plan) {
  const CallOptions& options = plan.options;
  for (const std::string& scope : options.scopes) add_part(out, scope);
  add_part(out, options.service);
  add_part(out, options.region);
  for (const auto number : std::initializer_list<std::int64_t>{
           options.max_attempts, options.resend_ambiguous ? 1 : 0,
           static_cast<std::int64_t>(options.priority), options.deadlines.connect.count(),
           options.deadlines.first_byte.count(), options.deadlines.idle.count(),
           reinterpret_cast<std::intptr_t>(options.prices.get()),
           reinterpret_cast<std::intptr_t>(plan.endpoint.get())}) {
    add_part(out, std::to_string(number));
  }
  net::Headers headers = plan.headers;
  std::sort(headers.begin(), headers.end());
  for (const auto& [name, value] : headers) {
    add_part(out, name);
    add_part(out, value);
  }
}

std::optional<Request> read_request(const Plan& plan) {
  if (!may_gather(plan)) return std::nullopt;
  json::Parser parser;
  const auto root = parser.parse(plan.body);
  if (!root || !root->is_object() || json::find_duplicate(*root)) return std::nullopt;
  const auto model = PolicyFinder(plan.options.service).find((*root)["model"].string_or(""));
  if (!model) return std::nullopt;
  auto cargo = read_cargo((*root)["input"], **model);
  if (!cargo) return std::nullopt;
  Request request;
  request.cargo = std::move(*cargo);
  add_part(request.name, plan.path);
  add_options(request.name, plan);
  auto members = root->members();
  std::sort(members.begin(), members.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [name, value] : members) {
    if (name == "input") continue;
    add_part(request.name, name);
    add_part(request.name, value.text());
  }
  return request;
}

// `total` by weight: the parts sum to it.
std::vector<std::int64_t> split(std::int64_t total, const std::vector<std::int64_t>& weights) {
  __extension__ using Wide = __int128;
  Wide all = 0;
  for (const std::int64_t weight : weights) all += weight;
  std::vector<std::int64_t> parts;
  Wide before = 0;
  Wide sum = 0;
  for (const std::int64_t weight : weights) {
    sum += weight;
    const Wide upto = total * sum / all;
    parts.push_back(static_cast<std::int64_t>(upto - before));
    before = upto;
  }
  return parts;
}

std::string with_inputs(const Value& root, const std::vector<const Cargo*>& cargos) {
  json::Writer out(1024);
  out.begin_object();
  for (const auto& [name, value] : root.members()) {
    if (name == "input") continue;
    out.key(name);
    out.raw(value.text());
  }
  out.key("input");
  out.begin_array();
  for (const Cargo* cargo : cargos) {
    for (const std::string& input : cargo->inputs) out.raw(input);
  }
  out.end_array();
  out.end_object();
  return std::move(out).take();
}

void write_row(json::Writer& out, const Value& row, std::size_t index) {
  out.begin_object();
  for (const auto& [name, value] : row.members()) {
    out.key(name);
    if (name == "index") {
      out.integer(static_cast<std::int64_t>(index));
    } else {
      out.raw(value.text());
    }
  }
  out.end_object();
}

// The reply as it would have come for `rows` alone.
std::string part_of_reply(const Value& root, const std::vector<Value>& rows, std::int64_t tokens) {
  json::Writer out(1024);
  out.begin_object();
  for (const auto& [name, value] : root.members()) {
    out.key(name);
    if (name == "data") {
      out.begin_array();
      for (std::size_t i = 0; i < rows.size(); ++i) write_row(out, rows[i], i);
      out.end_array();
    } else if (name == "usage") {
      const std::string count = std::to_string(tokens);
      out.raw("{\"prompt_tokens\":" + count + ",\"total_tokens\":" + count + "}");
    } else {
      out.raw(value.text());
    }
  }
  out.end_object();
  return std::move(out).take();
}

// The rows in the order of the inputs; nullopt: one is missing, doubled or out of range.
std::optional<std::vector<Value>> rows_of(const Value& root, std::size_t inputs) {
  std::vector<Value> rows(inputs);
  const std::vector<Value> data = root["data"].items();
  if (data.size() != inputs) return std::nullopt;
  for (const Value& row : data) {
    const auto index = row["index"].integer();
    if (!index || *index < 0 || static_cast<std::size_t>(*index) >= inputs) return std::nullopt;
    Value& place = rows[static_cast<std::size_t>(*index)];
    if (!place.missing()) return std::nullopt;
    place = row;
  }
  return rows;
}

// The provider refused what the request holds, or all of it does not fit where a part may.
bool is_worth_halving(const base::Status& status, int http_status) {
  if (status.code() == base::Code::kInvalidArgument ||
      status.code() == base::Code::kBudgetExceeded) {
    return true;
  }
  return status.code() == base::Code::kUpstream &&
         (http_status == 400 || http_status == 413 || http_status == 422);
}

}  // namespace

class Shipment final : public Observer, public std::enable_shared_from_this<Shipment> {
 public:
  using Halvings = std::shared_ptr<std::atomic<int>>;
  // `halvings`: how many are left to this one and to what it is halved into.
  Shipment(std::shared_ptr<Gatherings> port, std::shared_ptr<Client> client, std::string name,
           Halvings halvings)
      : port_(std::move(port)),
        client_(std::move(client)),
        name_(std::move(name)),
        halvings_(std::move(halvings)) {}

  // Null: it has departed, or has no room.
  std::shared_ptr<Call> board(const Cargo& cargo, const Plan& plan,
                              const std::shared_ptr<Observer>& observer);
  // Idempotent.
  void depart();

  net::Flow on_event(std::string_view /*json*/) noexcept override { return net::Flow::kGo; }
  void on_done(Outcome outcome) noexcept override;

 private:
  // A caller's hold on his place, in whichever shipment that is.
  class Seat final : public Call {
   public:
    Seat(std::weak_ptr<Shipment> shipment, std::uint64_t number)
        : number_(number), shipment_(std::move(shipment)) {}
    void cancel() override { leave(base::Status(base::Code::kCancelled, "cancelled")); }
    void resume() override {}
    void leave(const base::Status& status);
    void move_to(const std::weak_ptr<Shipment>& shipment);

   private:
    const std::uint64_t number_;
    std::mutex mutex_;
    std::weak_ptr<Shipment> shipment_ DURE_GUARDED_BY(mutex_);
    std::optional<base::Status> left_ DURE_GUARDED_BY(mutex_);
  };
  struct Member {
    std::uint64_t number = 0;
    Cargo cargo;
    Plan plan;  // as he would have gone alone
    std::shared_ptr<Observer> observer;
    std::shared_ptr<Seat> seat;
    base::Instant since;
  };

  void leave(std::uint64_t number, const base::Status& status);
  void expect(const std::shared_ptr<Seat>& seat, base::Instant until);
  [[nodiscard]] Plan merged() DURE_REQUIRES(mutex_);
  [[nodiscard]] bool nobody_waits() const DURE_REQUIRES(mutex_) {
    return std::all_of(members_.begin(), members_.end(),
                       [](const Member& one) { return one.observer == nullptr; });
  }
  void halve(std::vector<Member> members);
  void deliver(std::vector<Member>& members, const Outcome& outcome) noexcept;
  [[nodiscard]] base::Instant now() const { return client_->services().clock->now(); }

  const std::shared_ptr<Gatherings> port_;
  const std::shared_ptr<Client> client_;
  const std::string name_;
  const Halvings halvings_;
  std::mutex mutex_;
  std::vector<Member> members_ DURE_GUARDED_BY(mutex_);
  std::size_t inputs_ DURE_GUARDED_BY(mutex_) = 0;
  std::int64_t tokens_ DURE_GUARDED_BY(mutex_) = 0;
  std::uint64_t last_number_ DURE_GUARDED_BY(mutex_) = 0;
  std::optional<base::Instant> departs_at_ DURE_GUARDED_BY(mutex_);
  std::shared_ptr<Call> call_ DURE_GUARDED_BY(mutex_);
  bool departed_ DURE_GUARDED_BY(mutex_) = false;
  bool ended_ DURE_GUARDED_BY(mutex_) = false;
};

void Shipment::Seat::leave(const base::Status& status) {
  std::shared_ptr<Shipment> shipment;
  {
    const std::lock_guard lock(mutex_);
    left_ = status;
    shipment = shipment_.lock();
  }
  if (shipment != nullptr) shipment->leave(number_, status);
}

// Whoever left while he was moved leaves there.
void Shipment::Seat::move_to(const std::weak_ptr<Shipment>& shipment) {
  std::optional<base::Status> left;
  {
    const std::lock_guard lock(mutex_);
    shipment_ = shipment;
    left = left_;
  }
  if (!left) return;
  if (const auto other = shipment.lock()) other->leave(number_, *left);
}

std::shared_ptr<Call> Shipment::board(const Cargo& cargo, const Plan& plan,
                                      const std::shared_ptr<Observer>& observer) {
  Member member;
  member.cargo = cargo;
  member.plan = plan;
  member.observer = observer;
  member.since = now();
  const base::Instant leaves = member.since + plan.options.gather;
  std::shared_ptr<Seat> seat;
  bool sooner = false;
  {
    const std::lock_guard lock(mutex_);
    const bool room = inputs_ + cargo.inputs.size() <= Gatherings::kMostInputs &&
                      tokens_ + cargo.tokens <= Gatherings::kMostTokens;
    if (departed_ || !room) return nullptr;
    inputs_ += cargo.inputs.size();
    tokens_ += cargo.tokens;
    member.number = ++last_number_;
    member.seat = std::make_shared<Seat>(weak_from_this(), member.number);
    seat = member.seat;
    members_.push_back(std::move(member));
    sooner = !departs_at_ || leaves < *departs_at_;
    if (sooner) departs_at_ = leaves;
  }
  expect(seat, leaves - plan.options.gather + plan.options.deadlines.total);
  if (sooner) {
    const auto go = [self = shared_from_this()] { self->depart(); };
    client_->services().transport->run_at(leaves, make_task(go, go));
  }
  return seat;
}

// A caller's own time. The timer keeps nothing alive.
void Shipment::expect(const std::shared_ptr<Seat>& seat, base::Instant until) {
  auto run = [weak = std::weak_ptr<Seat>(seat)] {
    if (const auto seat = weak.lock()) {
      seat->leave(base::Status(base::Code::kDeadline,
                               "time ran out before the answer came: raise deadline=")
                      .with("stage", std::string("total")));
    }
  };
  client_->services().transport->run_at(until, make_task(std::move(run), [] {}));
}

void Shipment::depart() {
  if (port_ != nullptr) port_->forget(name_, this);
  Plan plan;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(departed_, true) || members_.empty()) return;
    plan = merged();
    client_->counters().gathered += static_cast<std::int64_t>(members_.size()) - 1;
  }
  auto call = client_->start_alone(std::move(plan), shared_from_this());
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    if (!ended_) call_ = call;
    stop = nobody_waits();
  }
  if (stop) call->cancel();
}

// One alone goes as he came.
Plan Shipment::merged() {
  Plan plan = members_.front().plan;
  base::Instant until = now();
  std::vector<const Cargo*> cargos;
  for (const Member& member : members_) {
    until = std::max(until, member.since + member.plan.options.deadlines.total);
    cargos.push_back(&member.cargo);
  }
  plan.options.deadlines.total = until - now();
  plan.whole = true;
  plan.keep_whole = false;
  if (cargos.size() == 1) return plan;
  json::Parser parser;
  if (const auto root = parser.parse(plan.body)) plan.body = with_inputs(*root, cargos);
  return plan;
}

void Shipment::leave(std::uint64_t number, const base::Status& status) {
  std::shared_ptr<Observer> told;
  std::shared_ptr<Call> call;
  Outcome outcome;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(members_.begin(), members_.end(),
                                    [number](const Member& one) { return one.number == number; });
    if (found == members_.end()) return;
    told = found->observer;
    outcome.record.latency = now() - found->since;
    inputs_ -= departed_ ? 0 : found->cargo.inputs.size();
    tokens_ -= departed_ ? 0 : found->cargo.tokens;
    // Of those who have departed each keeps his rows: the reply counts them all.
    if (departed_) {
      found->observer = nullptr;
    } else {
      members_.erase(found);
    }
    if (departed_ && nobody_waits()) call = call_;
  }
  if (told == nullptr) return;
  ++client_->counters().failures;
  outcome.status = status;
  told->on_done(std::move(outcome));
  if (call != nullptr) call->cancel();
}

void Shipment::on_done(Outcome outcome) noexcept {
  std::vector<Member> members;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    call_.reset();
    members.swap(members_);
  }
  const bool halves = members.size() > 1 && !outcome.status.ok() &&
                      is_worth_halving(outcome.status, outcome.http_status) && (*halvings_)-- > 0;
  if (halves) return halve(std::move(members));
  deliver(members, outcome);
}

void Shipment::halve(std::vector<Member> members) {
  const auto middle = members.begin() + static_cast<std::ptrdiff_t>(members.size() / 2);
  for (const auto& [from, to] : {std::pair(members.begin(), middle), {middle, members.end()}}) {
    auto half = std::make_shared<Shipment>(nullptr, client_, name_, halvings_);
    std::vector<std::shared_ptr<Seat>> seats;
    {
      const std::lock_guard lock(half->mutex_);
      for (auto member = from; member != to; ++member) {
        if (member->observer == nullptr) continue;
        seats.push_back(member->seat);
        half->members_.push_back(std::move(*member));
      }
    }
    for (const auto& seat : seats) seat->move_to(half);
    half->depart();
  }
}

void Shipment::deliver(std::vector<Member>& members, const Outcome& outcome) noexcept {
  std::vector<std::int64_t> weights;
  std::size_t inputs = 0;
  for (const Member& member : members) {
    weights.push_back(std::max<std::int64_t>(1, member.cargo.tokens));
    inputs += member.cargo.inputs.size();
  }
  json::Parser parser;
  std::optional<base::Result<Value>> root;
  std::optional<std::vector<Value>> rows;
  base::Status status = outcome.status;
  const bool alone = members.size() == 1;
  if (status.ok() && !alone) {
    root = parser.parse(outcome.body);
    if (*root) rows = rows_of(**root, inputs);
    if (!rows) {
      status = base::Status(base::Code::kUpstream,
                            "the embeddings reply has not one vector for each input: " +
                                std::to_string(inputs) + " were sent");
    }
  }
  const auto costs = split(outcome.record.cost, weights);
  const auto tokens = split(outcome.record.input_tokens, weights);
  std::size_t at = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    Member& member = members[i];
    const std::size_t count = member.cargo.inputs.size();
    const std::size_t from = std::exchange(at, at + count);
    if (member.observer == nullptr) continue;  // he has left
    Outcome mine;
    mine.status = status;
    mine.http_status = outcome.http_status;
    mine.headers = outcome.headers;
    mine.record = outcome.record;
    mine.record.latency = now() - member.since;
    if (!alone) {
      mine.record.gathered = static_cast<int>(members.size());
      mine.record.cost = costs[i];
      mine.record.input_tokens = tokens[i];
    }
    if (i > 0 && status.ok()) mine.record.attempts = mine.record.ambiguous = 0;
    if (i > 0 && !status.ok()) ++client_->counters().failures;
    if (status.ok() && alone) mine.body = outcome.body;
    if (status.ok() && !alone) {
      const auto begin = rows->begin() + static_cast<std::ptrdiff_t>(from);
      mine.body = part_of_reply(
          **root, std::vector<Value>(begin, begin + static_cast<std::ptrdiff_t>(count)), tokens[i]);
    }
    member.observer->on_done(std::move(mine));
  }
}

std::shared_ptr<Call> Gatherings::join(const std::shared_ptr<Client>& client, const Plan& plan,
                                       const std::shared_ptr<Observer>& observer) {
  const auto request = read_request(plan);
  if (!request) return nullptr;
  while (true) {
    std::shared_ptr<Shipment> shipment;
    {
      const std::lock_guard lock(mutex_);
      auto& place = waiting_[request->name];
      if (place == nullptr) {
        place = std::make_shared<Shipment>(shared_from_this(), client, request->name,
                                           std::make_shared<std::atomic<int>>(kMostHalvings));
      }
      shipment = place;
    }
    if (auto seat = shipment->board(request->cargo, plan, observer)) return seat;
    shipment->depart();  // it is full, or leaves while we come
  }
}

void Gatherings::forget(const std::string& name, const Shipment* shipment) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(name);
  if (found != waiting_.end() && found->second.get() == shipment) waiting_.erase(found);
}

}  // namespace dure::client
