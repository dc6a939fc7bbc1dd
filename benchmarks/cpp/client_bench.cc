// The decision path of a call, an exact cache hit, and hedging on a heavy tail: no network.
//
//   dure_client_bench FOLDER [CALLS]
//
// FOLDER: an empty folder. Prints one line of JSON a measurement.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "dure/client/client.h"
#include "dure/flow/hedge.h"
#include "dure/money/account.h"
#include "dure/money/cost.h"
#include "dure/policy/service_policy.h"
#include "fake_random.h"
#include "fake_transport.h"
#include "no_disk.h"

namespace dure {
namespace {

using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

void print(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::printf("{\"what\": \"%s\", \"calls\": %zu, \"p50_us\": %.3f, \"p99_us\": %.3f}\n", what,
              times.size(), times[times.size() / 2] / 1e3, times[times.size() * 99 / 100] / 1e3);
}

struct World {
  bench::NoDisk disk;
  testing::FakeRandom random{1};
  std::shared_ptr<testing::FakeTransport> net =
      std::make_shared<testing::FakeTransport>(base::system_clock());
  std::shared_ptr<money::Account> account;
  std::shared_ptr<client::Client> client;
  std::shared_ptr<client::Endpoint> endpoint;

  explicit World(const std::string& folder) {
    account = money::Account::open(folder, {.files = &disk}).value();
    client = client::Client::create({.transport = net,
                                     .account = account,
                                     .prices = catalog::PriceBook::builtin(),
                                     .clock = &base::system_clock(),
                                     .random = &random});
    endpoint = client
                   ->endpoint({.base_url = "http://127.0.0.1/v1",
                               .keys = {"sk-one", "sk-two", "sk-three"}})
                   .value();
  }
};

// Policy, place in the queue, key, breaker, rates, hold, settlement at its price.
std::vector<double> decisions(World& world, int count) {
  const auto& book = *catalog::PriceBook::builtin();
  flow::SharedRates& rates = *world.client->rates().value();
  for (const char* name : {"org:acme rpm", "org:acme tpm", "user:7 rpm", "user:7 tpm"}) {
    if (!rates.set(name, {.per_minute = 1e9}).ok()) std::abort();
  }
  const std::vector<flow::SharedRates::Ask> asks{
      {"org:acme rpm", 1}, {"org:acme tpm", 1500}, {"user:7 rpm", 1}, {"user:7 tpm", 1500}};
  const std::vector<std::string> scopes{"org:acme", "user:7", "service:StrategyBuilder",
                                        "model:gpt-4o-mini"};
  for (const std::string& scope : scopes) {
    money::BudgetSpec spec;
    spec.scope = scope;
    spec.limit = std::int64_t{1} << 60;
    if (!world.account->set_budget(spec).ok()) std::abort();
  }
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto start = Clock::now();
    const auto policies = policy::active();
    const auto model = policies->validate("gpt-4o-mini", "StrategyBuilder");
    flow::FairQueue& queue = world.endpoint->queue();
    const base::Instant began = base::system_clock().now();
    if (queue.enter({.party = "org:acme", .cost = 1500}, [] {}).answer !=
        flow::FairQueue::Answer::kGo) {
      std::abort();
    }
    const auto key = world.endpoint->keys().take();
    const auto slot = world.endpoint->slot(key->key);
    const auto pass = slot->breaker.ask();
    if (rates.take(asks).wait.count() != 0) std::abort();
    const base::WallTime at = base::system_clock().wall();
    money::BoundQuery query;
    query.price = {.model = (*model)->id, .at = at};
    query.deadline = {at.us + 600'000'000};
    query.input_tokens = 1000;
    query.max_output_tokens = 500;
    money::ReserveRequest request;
    request.scopes = scopes;
    request.bound = money::upper_bound(book, query).value();
    request.call = {.model = (*model)->id,
                    .service = "StrategyBuilder",
                    .call_id = "0123456789abcdef",
                    .key_id = slot->id};
    const auto hold = world.account->reserve(request);
    (void)world.account->sent(hold->id);
    const money::Usage usage = money::count_units({.input = 1000, .output = 300});
    const auto cost = money::cost(book, usage, {.model = (*model)->id, .at = at});
    (void)world.account->settle(hold->id, usage, *cost);
    rates.give_back("org:acme tpm", 200);
    rates.give_back("user:7 tpm", 200);
    slot->breaker.tell(pass, flow::Breaker::Result::kWorked);
    queue.release(began, flow::FairQueue::End::kOk);
    times.push_back(ns_since(start));
  }
  return times;
}

struct Heard final : client::Observer {
  client::Outcome outcome;
  net::Flow on_event(std::string_view /*json*/) noexcept override { return net::Flow::kGo; }
  void on_done(client::Outcome done) noexcept override { outcome = std::move(done); }
};

client::Plan question(const World& world) {
  client::Plan plan;
  plan.endpoint = world.endpoint;
  plan.path = "/chat/completions";
  plan.body = R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":")" +
              std::string(1000, 'x') + R"("}],"max_tokens":100})";
  plan.options.scopes = {"org:acme"};
  plan.options.caching = client::Caching::kMemory;
  plan.whole = true;
  return plan;
}

// From the body to the whole answer in the caller's hands.
std::vector<double> hits(World& world, int count) {
  const std::string answer =
      R"({"id":"c1","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,)"
      R"("message":{"role":"assistant","content":")" +
      std::string(720, 'y') +
      R"("},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":90}})";
  world.net->reply({.status = 200, .parts = {answer}});
  world.client->start(question(world), std::make_shared<Heard>());
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    auto heard = std::make_shared<Heard>();
    client::Plan plan = question(world);
    const auto start = Clock::now();
    world.client->start(std::move(plan), heard);
    times.push_back(ns_since(start));
    if (!heard->outcome.record.cached || heard->outcome.body != answer) std::abort();
  }
  return times;
}

// Virtual time: first answers of 50 ms, one in fifty ten to a hundred times as long.
void hedging(int count) {
  testing::FakeRandom random(7);
  const auto sample = [&random] {
    const double tail = random.uniform() < 0.02 ? 10 + 90 * random.uniform() : 1;
    return 50e6 * tail * (0.8 + 0.4 * random.uniform());
  };
  flow::Hedging policy;
  std::vector<double> plain;
  std::vector<double> hedged;
  int copies = 0;
  for (int i = 0; i < count; ++i) {
    const double first = sample();
    plain.push_back(first);
    policy.on_call();
    double taken = first;
    const auto after = policy.after();
    if (after && first > static_cast<double>(after->count()) && policy.take()) {
      ++copies;
      taken = std::min(first, static_cast<double>(after->count()) + sample());
    }
    policy.on_first(base::Duration(static_cast<std::int64_t>(taken)));
    hedged.push_back(taken);
  }
  std::sort(plain.begin(), plain.end());
  std::sort(hedged.begin(), hedged.end());
  const std::size_t at = plain.size() * 99 / 100;
  std::printf(
      "{\"what\": \"hedging\", \"calls\": %d, \"p99_ms\": %.1f, \"hedged_p99_ms\": %.1f, "
      "\"extra\": %.4f}\n",
      count, plain[at] / 1e6, hedged[at] / 1e6, static_cast<double>(copies) / count);
}

}  // namespace
}  // namespace dure

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: dure_client_bench FOLDER [CALLS]\n");
    return 2;
  }
  const int calls = argc > 2 ? std::atoi(argv[2]) : 200'000;
  dure::World world(argv[1]);
  (void)dure::decisions(world, calls / 10);  // warm
  dure::print("decision", dure::decisions(world, calls));
  (void)dure::hits(world, calls / 100);
  dure::print("hit", dure::hits(world, calls / 4));
  dure::hedging(calls);
  world.net->stop({});
  return 0;
}
