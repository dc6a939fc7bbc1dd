#include "dure/client/client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "client/progress_pace.h"
#include "dure/base/files.h"
#include "dure/client/dialect.h"
#include "dure/money/ledger.h"
#include "fake_clock.h"
#include "fake_random.h"
#include "fake_transport.h"

namespace dure::client {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using testing::FakeReply;

constexpr const char* kChat =
    R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"max_tokens":16})";
constexpr const char* kStream =
    R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"max_tokens":16,"stream":true})";
constexpr const char* kAnswer =
    R"({"id":"c1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,)"
    R"("message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],)"
    R"("usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}})";
// gpt-4o-mini: $0.15 in, $0.60 out per million: 150,000 and 600,000 pico-dollars a token.
constexpr money::Pico kAnswerCost = 8 * 150'000 + 2 * 600'000;

std::string event(std::string_view json) { return "data: " + std::string(json) + "\n\n"; }
std::string delta(std::string_view text) {
  return event(R"({"id":"c1","choices":[{"index":0,"delta":{"content":")" + std::string(text) +
               R"("},"finish_reason":null}],"usage":null})");
}
const std::string kStop =
    event(R"({"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null})");
const std::string kUsage = event(
    R"({"id":"c1","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}})");
const std::string kDone = "data: [DONE]\n\n";
const net::Headers kSse{{"Content-Type", "text/event-stream; charset=utf-8"}};

FakeReply ok(std::string body = kAnswer) {
  return {.status = 200, .headers = {{"x-request-id", "req_1"}}, .parts = {std::move(body)}};
}
FakeReply refusal(int status, net::Headers headers = {}, std::string body = {}) {
  return {.status = status, .headers = std::move(headers), .parts = {std::move(body)}};
}
FakeReply events(std::vector<std::string> parts) {
  return {.status = 200, .headers = kSse, .parts = std::move(parts)};
}
FakeReply no_connection() {
  return {.status = 0,
          .end = base::Status(base::Code::kUnavailable, "refused").with("stage", "connect"),
          .sent = false};
}
FakeReply reset_after_sending() {
  return {.status = 0, .end = base::Status(base::Code::kTruncated, "reset")};
}

struct Heard final : Observer {
  std::vector<std::string> chunks;
  std::optional<Outcome> outcome;
  net::Flow answer = net::Flow::kGo;
  net::Flow on_event(std::string_view json) noexcept override {
    chunks.emplace_back(json);
    return answer;
  }
  void on_done(Outcome done) noexcept override {
    EXPECT_FALSE(outcome) << "on_done came twice";
    outcome = std::move(done);
  }
  [[nodiscard]] const base::Status& status() const { return outcome->status; }
  [[nodiscard]] const Record& record() const { return outcome->record; }
};

class ClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "dure_client_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    account_ = money::Account::open(folder_, {.clock = &clock_}).value();
    client_ = Client::create({.transport = net_,
                              .account = account_,
                              .prices = catalog::PriceBook::builtin(),
                              .clock = &clock_,
                              .random = &random_});
    endpoint_ = client_->endpoint({.base_url = "http://127.0.0.1/v1", .keys = {"sk-one"}}).value();
  }
  void TearDown() override {
    net_->stop({});
    const money::Totals totals = account_->totals();
    EXPECT_EQ(totals.open, 0) << "every hold has ended";
    EXPECT_EQ(static_cast<std::int64_t>(totals.spent), client_->counters().cost.load())
        << "the ledger equals the counters";
    client_.reset();
    account_.reset();
    const auto report = money::verify_ledger(base::system_files(), folder_).value();
    EXPECT_TRUE(report.ok) << report.first_difference;
    std::filesystem::remove_all(folder_);
  }

  std::shared_ptr<Heard> start(const char* body, CallOptions options = {}) {
    auto heard = std::make_shared<Heard>();
    Plan plan;
    plan.endpoint = endpoint_;
    plan.path = "/chat/completions";
    plan.body = body;
    plan.options = std::move(options);
    call_ = client_->start(std::move(plan), heard);
    return heard;
  }
  // Lets `by` pass; what became due runs.
  void pass(base::Duration by) {
    clock_.advance(by);
    net_->pump();
  }
  base::Duration until_next() { return *net_->next_at() - clock_.now(); }

  testing::FakeClock clock_;
  testing::FakeRandom random_{3};
  std::shared_ptr<testing::FakeTransport> net_ = std::make_shared<testing::FakeTransport>(clock_);
  std::string folder_;
  std::shared_ptr<money::Account> account_;
  std::shared_ptr<Client> client_;
  std::shared_ptr<Endpoint> endpoint_;
  std::shared_ptr<Call> call_;
};

TEST_F(ClientTest, BufferedAnswerIsSettledExactly) {
  net_->reply(ok());
  const auto heard = start(kChat);
  ASSERT_TRUE(heard->outcome);
  EXPECT_TRUE(heard->status().ok()) << heard->status().message();
  EXPECT_EQ(heard->outcome->body, kAnswer);
  EXPECT_EQ(heard->record().cost, kAnswerCost);
  EXPECT_EQ(heard->record().attempts, 1);
  EXPECT_EQ(heard->record().model, "gpt-4o-mini");
  const auto request = net_->requests().at(0);
  EXPECT_EQ(request.url, "http://127.0.0.1/v1/chat/completions");
  EXPECT_EQ(net::HeaderView(request.headers).get("authorization"), "Bearer sk-one");
  EXPECT_EQ(request.body, kChat);
}

TEST_F(ClientTest, HoldIsInTheLedgerBeforeTheFirstByte) {
  const auto heard = start(kChat);  // no reply yet
  EXPECT_EQ(net_->requests().size(), 1U);
  EXPECT_EQ(account_->totals().open, 1);
  EXPECT_GE(static_cast<std::int64_t>(account_->totals().held), 16 * 600'000);
  net_->reply(ok());
  net_->pump();
  EXPECT_TRUE(heard->outcome);
}

TEST_F(ClientTest, RetryAfterIsHonouredToTheTick) {
  net_->reply(refusal(429, {{"retry-after-ms", "1500"}, {"Retry-After", "9"}}));
  net_->reply(ok());
  const auto heard = start(kChat);
  EXPECT_FALSE(heard->outcome);
  const base::Duration wait = until_next();
  EXPECT_GE(wait, 1500ms);
  EXPECT_LE(wait, 1650ms);
  pass(wait - 1ns);
  EXPECT_EQ(net_->requests().size(), 1U);
  pass(1ns);
  EXPECT_EQ(net_->requests().size(), 2U);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->record().attempts, 2);
  EXPECT_EQ(heard->record().cost, kAnswerCost) << "a 429 costs nothing";
}

TEST_F(ClientTest, HintBeyondTwoMinutesOrTheDeadlineFailsNow) {
  net_->reply(refusal(429, {{"Retry-After", "121"}}, R"({"error":{"message":"slow down"}})"));
  auto heard = start(kChat);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kRateLimited);
  EXPECT_EQ(heard->status().retry_after(), 121.0);
  pass(121s);
  CallOptions short_time;
  short_time.deadlines.total = 5s;
  net_->reply(refusal(503, {{"Retry-After", "6"}}));
  heard = start(kChat, short_time);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kUnavailable);
}

TEST_F(ClientTest, AttemptsAreOneBudget) {
  for (int i = 0; i < 5; ++i) net_->reply(no_connection());
  const auto heard = start(kChat);
  while (!heard->outcome) pass(until_next());
  EXPECT_EQ(net_->requests().size(), 3U);
  EXPECT_EQ(heard->status().code(), base::Code::kUnavailable);
  EXPECT_EQ(heard->record().cost, 0);
  EXPECT_EQ(account_->totals().voided, 3);
}

TEST_F(ClientTest, AmbiguousResendIsPossibleSpend) {
  net_->reply(reset_after_sending());
  net_->reply(ok());
  const auto heard = start(kChat);
  pass(until_next());
  ASSERT_TRUE(heard->outcome);
  EXPECT_TRUE(heard->status().ok());
  EXPECT_EQ(heard->record().ambiguous, 1);
  EXPECT_TRUE(money::has(heard->record().flags, money::Flag::kPossibleSpend));
  EXPECT_GT(heard->record().cost, kAnswerCost + 16 * 600'000 - 1) << "the whole first hold";
}

TEST_F(ClientTest, AStaleConnectionIsReplacedAndItsTryCharged) {
  FakeReply stale = reset_after_sending();
  stale.reused = true;
  CallOptions once;
  once.max_attempts = 1;
  net_->reply(stale);
  net_->reply(ok());
  auto heard = start(kChat, once);
  EXPECT_FALSE(net_->requests().at(0).resend) << "the engine would send without a hold";
  pass(0ns);
  ASSERT_TRUE(heard->outcome);
  EXPECT_TRUE(heard->status().ok()) << "a connection that was closed meanwhile is no attempt";
  EXPECT_EQ(heard->record().ambiguous, 1);
  EXPECT_TRUE(money::has(heard->record().flags, money::Flag::kPossibleSpend));
  EXPECT_GE(heard->record().cost, kAnswerCost + 16 * 600'000) << "the whole first hold";
  net_->reply(stale);
  net_->reply(stale);
  heard = start(kChat, once);
  while (!heard->outcome) pass(until_next());
  EXPECT_FALSE(heard->status().ok()) << "once a call";
  CallOptions proven = once;
  proven.resend_ambiguous = false;
  net_->reply(stale);
  heard = start(kChat, proven);
  ASSERT_TRUE(heard->outcome) << "the server may have read it";
  EXPECT_FALSE(heard->status().ok());
}

// Budgets that queue: the call waits in the account's queue, not in the provider's.
TEST_F(ClientTest, WaitsForRoomInABudgetThatQueues) {
  money::BudgetSpec spec;
  spec.scope = "model:gpt-4o-mini";
  spec.limit = 16'000'000;
  spec.on_limit = money::OnLimit::kQueue;
  ASSERT_TRUE(account_->set_budget(spec).ok());
  const auto first = start(kChat);
  const auto second = start(kChat);
  const auto third = start(kChat);
  EXPECT_EQ(net_->requests().size(), 1U) << "there is room for one";
  call_->cancel();
  net_->pump();
  ASSERT_TRUE(third->outcome);
  EXPECT_EQ(third->status().code(), base::Code::kCancelled);
  net_->reply(ok());
  net_->pump();
  EXPECT_TRUE(first->outcome && first->status().ok());
  pass(2ms);
  EXPECT_EQ(net_->requests().size(), 2U) << "what was settled made room";
  net_->reply(ok());
  net_->pump();
  EXPECT_TRUE(second->outcome && second->status().ok());
}

TEST_F(ClientTest, WaitsForRoomUntilItsDeadline) {
  money::BudgetSpec spec;
  spec.scope = "model:gpt-4o-mini";
  spec.limit = 16'000'000;
  spec.on_limit = money::OnLimit::kQueue;
  ASSERT_TRUE(account_->set_budget(spec).ok());
  CallOptions short_time;
  short_time.deadlines.total = 1s;
  const auto first = start(kChat);
  const auto second = start(kChat, short_time);
  while (!second->outcome) pass(until_next());
  EXPECT_EQ(second->status().code(), base::Code::kBudgetExceeded);
  EXPECT_EQ(second->record().cost, 0);
  EXPECT_EQ(second->record().attempts, 0);
  net_->reply(ok());
  net_->pump();
  EXPECT_TRUE(first->outcome && first->status().ok());
  net_->reply(ok());
  const auto third = start(kChat);
  EXPECT_TRUE(third->outcome && third->status().ok()) << "who gave up leaves no place behind";
}

TEST_F(ClientTest, ProvenOnlyNeverResendsTheAmbiguous) {
  net_->reply(refusal(500));
  CallOptions proven;
  proven.resend_ambiguous = false;
  auto heard = start(kChat, proven);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kUpstream);
  net_->reply(no_connection());
  net_->reply(ok());
  heard = start(kChat, proven);
  pass(until_next());
  EXPECT_TRUE(heard->outcome && heard->status().ok());
}

TEST_F(ClientTest, RefusalCarriesWhatTheProviderSaid) {
  net_->reply(refusal(400, {{"x-request-id", "req_9"}},
                      R"({"error":{"message":"bad sk-one","type":"invalid_request_error",)"
                      R"("param":"temperature","code":"bad_value"}})"));
  const auto heard = start(kChat);
  ASSERT_TRUE(heard->outcome);
  const base::Status& status = heard->status();
  EXPECT_EQ(status.code(), base::Code::kUpstream);
  EXPECT_EQ(status.http_status(), 400);
  EXPECT_EQ(status.provider_code(), "bad_value");
  EXPECT_EQ(std::get<std::string>(*status.detail("request_id")), "req_9");
  EXPECT_EQ(std::get<std::string>(*status.detail("param")), "temperature");
  EXPECT_EQ(std::get<std::int64_t>(*status.detail("status_code")), 400);
  EXPECT_EQ(status.message().find("sk-one"), std::string::npos);
  EXPECT_EQ(std::get<std::string>(*status.detail("body")).find("sk-one"), std::string::npos);
  EXPECT_EQ(heard->record().cost, 0);
}

TEST_F(ClientTest, KeysRotateAndParkOnRefusal) {
  endpoint_ =
      client_->endpoint({.base_url = "http://127.0.0.1/v1", .keys = {"sk-a", "sk-b"}}).value();
  net_->reply(refusal(401));
  net_->reply(ok());
  auto heard = start(kChat);
  EXPECT_TRUE(heard->outcome && heard->status().ok()) << "the other key went at once";
  net_->reply(ok());
  heard = start(kChat);
  EXPECT_EQ(net::HeaderView(net_->requests().at(2).headers).get("authorization"), "Bearer sk-b");
}

TEST_F(ClientTest, WhatOneWorkerLearnsOfAKeyTheOthersKnow) {
  const EndpointConfig both{.base_url = "http://127.0.0.1/v1", .keys = {"sk-a", "sk-b"}};
  const auto worker = Client::create({.transport = net_,
                                      .account = account_,
                                      .prices = catalog::PriceBook::builtin(),
                                      .clock = &clock_,
                                      .random = &random_});
  const auto theirs = worker->endpoint(both).value();
  endpoint_ = client_->endpoint(both).value();
  clock_.advance(1s);
  net_->reply(refusal(401));
  net_->reply(ok());
  ASSERT_TRUE(start(kChat)->outcome);
  EXPECT_EQ(theirs->keys().usable(), 1U);
  EXPECT_FALSE(theirs->may_be_asked() && theirs->keys().take()->key == 0);
}

TEST_F(ClientTest, EventsTellEachFailedAttemptAndTheEndOfEachCall) {
  net_->reply(ok());
  ASSERT_TRUE(start(kChat)->outcome);
  EXPECT_TRUE(client_->events().take().empty()) << "nobody asked for any";
  client_->events().keep(3);
  net_->reply(refusal(503));
  net_->reply(ok());
  CallOptions options;
  options.scopes = {"org:acme", "user:7"};
  options.service = "StrategyBuilder";
  const auto heard = start(kChat, options);
  while (!heard->outcome) pass(until_next());
  auto told = client_->events().take();
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[0].attempt, 1);
  EXPECT_EQ(told[0].what, "overloaded");
  EXPECT_EQ(told[0].http_status, 503);
  EXPECT_EQ(told[1].attempt, 0);
  EXPECT_EQ(told[1].what, "ok");
  EXPECT_EQ(told[1].attempts, 2);
  EXPECT_EQ(told[1].org, "acme");
  EXPECT_EQ(told[1].service, "StrategyBuilder");
  EXPECT_EQ(told[1].model, "gpt-4o-mini");
  EXPECT_EQ(told[1].cost, kAnswerCost);
  EXPECT_EQ(told[1].call_id, heard->record().call_id);
  EXPECT_GT(told[1].latency, 0s);
  for (int i = 0; i < 5; ++i) {
    net_->reply(ok());
    ASSERT_TRUE(start(kChat)->outcome);
  }
  EXPECT_EQ(client_->events().take().size(), 3U) << "nobody takes them: the oldest go";
  EXPECT_EQ(client_->events().dropped(), 2U);
}

TEST_F(ClientTest, TotalOutageStaysWithinTheRetryBudget) {
  CallOptions many;
  many.max_attempts = 10;
  many.deadlines.total = 60s;
  std::vector<std::shared_ptr<Heard>> all;
  for (int second = 0; second < 60; ++second) {
    for (int i = 0; i < 5; ++i) {
      all.push_back(start(kChat, many));
    }
    for (int i = 0; i < 40; ++i) net_->reply(refusal(503));
    net_->pump();
    pass(1s);
  }
  while (net_->next_at()) pass(until_next());
  for (const auto& heard : all) EXPECT_TRUE(heard->outcome);
  EXPECT_LE(net_->requests().size(), all.size() * 12 / 10);
}

TEST_F(ClientTest, StreamAsksForUsageAndHidesIt) {
  net_->reply(events({delta("hel"), delta("lo"), kStop, kUsage, kDone}));
  const auto heard = start(kStream);
  ASSERT_TRUE(heard->outcome);
  EXPECT_TRUE(heard->status().ok()) << heard->status().message();
  EXPECT_EQ(heard->chunks.size(), 3U);
  EXPECT_EQ(heard->record().cost, kAnswerCost);
  EXPECT_NE(net_->requests().at(0).body.find(R"("stream_options":{"include_usage":true})"),
            std::string::npos);
}

TEST_F(ClientTest, CallerWhoAsksGetsTheUsageChunk) {
  net_->reply(events({delta("hello"), kStop, kUsage, kDone}));
  std::string body(kStream);
  body.insert(1, R"("stream_options":{"include_usage":true},)");
  const auto heard = start(body.c_str());
  EXPECT_EQ(heard->chunks.size(), 3U);
  EXPECT_EQ(net_->requests().at(0).body, body) << "sent as it was";
}

TEST_F(ClientTest, UsageOnEveryChunkIsNotSummed) {
  const auto with_usage = [](int output) {
    return event(R"({"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":8,)"
                 R"("completion_tokens":)" +
                 std::to_string(output) + "}}");
  };
  net_->reply(events({with_usage(1), with_usage(2), kStop, kDone}));
  const auto heard = start(kStream);
  EXPECT_EQ(heard->record().cost, kAnswerCost);
}

TEST_F(ClientTest, StreamMayEndWithoutDoneButNotWithoutFinishReason) {
  net_->reply(events({delta("hello"), kStop, kUsage}));
  auto heard = start(kStream);
  EXPECT_TRUE(heard->status().ok());
  net_->reply(events({delta("hel"), delta("lo")}));
  heard = start(kStream);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kTruncated);
  EXPECT_EQ(std::get<std::string>(*heard->status().detail("text")), "hello");
  EXPECT_TRUE(money::has(heard->record().flags, money::Flag::kEstimated));
  // 8 input tokens by the chat formula, one output token received.
  EXPECT_EQ(heard->record().cost, 8 * 150'000 + 1 * 600'000);
}

TEST_F(ClientTest, CutStreamIsNeverSentAgain) {
  FakeReply cut = events({delta("hel")});
  cut.end = base::Status(base::Code::kTruncated, "reset");
  net_->reply(std::move(cut));
  const auto heard = start(kStream);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kTruncated);
  EXPECT_EQ(net_->requests().size(), 1U);
}

TEST_F(ClientTest, ErrorInsideAStream) {
  const std::string error = event(R"({"error":{"message":"overloaded","code":"server_error"}})");
  net_->reply(events({error}));
  net_->reply(events({delta("hello"), kStop, kUsage, kDone}));
  auto heard = start(kStream);
  pass(until_next());
  EXPECT_TRUE(heard->outcome && heard->status().ok()) << "before any output: sent again";
  net_->reply(events({delta("hel"), error}));
  heard = start(kStream);
  EXPECT_EQ(heard->status().code(), base::Code::kTruncated);
  EXPECT_EQ(heard->status().provider_code(), "server_error");
}

TEST_F(ClientTest, GarbageWithStatus200IsNoAnswer) {
  for (int i = 0; i < 3; ++i) net_->reply(ok("<html>login</html>"));
  const auto heard = start(kChat);
  while (!heard->outcome) pass(until_next());
  EXPECT_EQ(heard->status().code(), base::Code::kUpstream);
  EXPECT_EQ(std::get<std::int64_t>(*heard->status().detail("status_code")), 200);
  EXPECT_EQ(std::get<std::string>(*heard->status().detail("body")), "<html>login</html>");
  EXPECT_EQ(heard->record().ambiguous, 2);
}

TEST_F(ClientTest, StreamOfNothingButDoneIsNoAnswer) {
  net_->reply(events({kDone}));
  net_->reply(events({delta("hello"), kStop, kUsage, kDone}));
  auto heard = start(kStream);
  EXPECT_FALSE(heard->outcome) << "sent again";
  pass(until_next());
  ASSERT_TRUE(heard->outcome);
  EXPECT_TRUE(heard->status().ok());
  EXPECT_EQ(heard->record().ambiguous, 1);
  for (int i = 0; i < 3; ++i) net_->reply(events({": ping\n\n", kDone}));
  heard = start(kStream);
  while (!heard->outcome) pass(until_next());
  EXPECT_EQ(heard->status().code(), base::Code::kUpstream);
  EXPECT_TRUE(money::has(heard->record().flags, money::Flag::kPossibleSpend));
}

TEST_F(ClientTest, GarbageUsageKeepsTheAnswerAndCostsTheHold) {
  const auto answer = [](const std::string& tokens) {
    return R"({"choices":[],"usage":{"prompt_tokens":)" + tokens + R"(,"completion_tokens":2}})";
  };
  net_->reply(ok(answer("8")));
  const auto sound = start(kChat);
  ASSERT_TRUE(sound->outcome);
  for (const char* odd : {"18446744073709551616", "-8", "1e999", "\"8\""}) {
    net_->reply(ok(answer(odd)));
    const auto heard = start(kChat);
    ASSERT_TRUE(heard->outcome) << odd;
    EXPECT_TRUE(heard->status().ok()) << odd;
    EXPECT_EQ(heard->outcome->body, answer(odd));
    EXPECT_TRUE(money::has(heard->record().flags, money::Flag::kPossibleSpend)) << odd;
    EXPECT_GE(heard->record().cost, 8 * 150'000 + 16 * 600'000) << odd << ": the whole hold";
  }
  net_->reply(events(
      {delta("hello"), kStop, event(R"({"choices":[],"usage":{"prompt_tokens":-8}})"), kDone}));
  const auto heard = start(kStream);
  EXPECT_TRUE(heard->outcome && heard->status().ok());
  EXPECT_TRUE(money::has(heard->record().flags, money::Flag::kPossibleSpend));
}

TEST_F(ClientTest, EndlessStreamWritesFewProgressRecords) {
  std::vector<std::string> parts(200'000, delta(std::string(80, 'x')));  // 2 million tokens
  parts.push_back(kStop + kDone);
  net_->reply(events(std::move(parts)));
  const auto heard = start(kStream);
  ASSERT_TRUE(heard->outcome);
  const auto report = money::verify_ledger(base::system_files(), folder_).value();
  EXPECT_LT(report.records, 64U);
}

TEST(ProgressPace, TellsInStepsThatGrow) {
  ProgressPace pace;
  EXPECT_TRUE(pace.due(1, {0}));
  EXPECT_FALSE(pace.due(200, {0}));
  EXPECT_TRUE(pace.due(300, {0}));
  EXPECT_FALSE(pace.due(300, base::Instant{} + 1h)) << "nothing new";
  EXPECT_TRUE(pace.due(301, base::Instant{} + 1s)) << "a slow stream: after a second";
  EXPECT_FALSE(pace.due(302, base::Instant{} + 2s));
  EXPECT_TRUE(pace.due(303, base::Instant{} + 3s)) << "then after two";
  std::int64_t told = 303;
  for (std::int64_t tokens = told; tokens < 1'000'000; ++tokens) {
    if (!pace.due(tokens, base::Instant{} + 3s)) continue;
    EXPECT_LE(tokens, told + std::max<std::int64_t>(256, told / 4));
    told = tokens;
  }
  EXPECT_GT(told, 790'000) << "what a process that dies loses is a fifth at most";
}

TEST_F(ClientTest, CancelAtEveryStepSettles) {
  auto heard = start(kChat);  // on the wire
  call_->cancel();
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kCancelled);
  EXPECT_EQ(heard->record().cost, 0) << "no byte left: void";

  FakeReply hanging = events({delta("hello ")});
  hanging.hang = true;
  net_->reply(std::move(hanging));
  heard = start(kStream);  // in the middle of a stream
  EXPECT_EQ(heard->chunks.size(), 1U);
  call_->cancel();
  ASSERT_TRUE(heard->outcome);
  EXPECT_GT(heard->record().cost, 8 * 150'000);

  net_->reply(refusal(503, {{"Retry-After", "1"}}));
  heard = start(kChat);  // waiting for its next attempt
  EXPECT_FALSE(heard->outcome);
  call_->cancel();
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kCancelled);
  pass(2s);
  EXPECT_EQ(net_->requests().size(), 3U) << "the wait ended with the call";
}

TEST_F(ClientTest, ReaderThatStopsPausesTheWire) {
  net_->reply(events({delta("a"), delta("b"), kStop, kUsage, kDone}));
  auto heard = std::make_shared<Heard>();
  heard->answer = net::Flow::kPause;
  Plan plan;
  plan.endpoint = endpoint_;
  plan.path = "/chat/completions";
  plan.body = kStream;
  call_ = client_->start(std::move(plan), heard);
  EXPECT_EQ(heard->chunks.size(), 1U);
  call_->resume();
  EXPECT_EQ(heard->chunks.size(), 2U);
  heard->answer = net::Flow::kGo;
  call_->resume();
  EXPECT_TRUE(heard->outcome);
}

TEST_F(ClientTest, LocalRefusalsCostNoAttempt) {
  auto heard = start(R"({"model":"no-such-model","messages":[{"role":"user","content":"x"}]})");
  EXPECT_EQ(heard->status().code(), base::Code::kDenied);
  heard = start(R"({"model":"gpt-4o-mini","messages":[]})");
  EXPECT_EQ(heard->status().code(), base::Code::kInvalidArgument);
  CallOptions poor;
  poor.max_cost = 100;
  heard = start(kChat, poor);
  EXPECT_EQ(heard->status().code(), base::Code::kBudgetExceeded);
  CallOptions denied;
  denied.service = "StrategyBuilder";
  heard = start(R"({"model":"o1-preview","messages":[{"role":"user","content":"x"}]})", denied);
  EXPECT_EQ(heard->status().code(), base::Code::kDenied);
  EXPECT_EQ(heard->status().message(), "Model o1-preview not allowed for service StrategyBuilder");
  EXPECT_EQ(net_->requests().size(), 0U);
  EXPECT_EQ(account_->totals().reserved, 0);
}

TEST_F(ClientTest, ServiceGivesTheModelWhenNoneIsNamed) {
  net_->reply(ok());
  CallOptions service;
  service.service = "StrategyBuilder";
  const auto heard =
      start(R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":9})", service);
  EXPECT_TRUE(heard->status().ok()) << heard->status().message();
  EXPECT_NE(net_->requests().at(0).body.find(R"("model":"gpt-4o-mini")"), std::string::npos);
}

TEST_F(ClientTest, BudgetRefusesBeforeAnythingIsSent) {
  money::BudgetSpec spec;
  spec.scope = "org:acme";
  spec.limit = 1'000'000;  // below the bound
  ASSERT_TRUE(account_->set_budget(spec).ok());
  CallOptions options;
  options.scopes = {"org:acme"};
  const auto heard = start(kChat, options);
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kBudgetExceeded);
  EXPECT_EQ(net_->requests().size(), 0U);
}

TEST_F(ClientTest, AnotherSpellingOfTheModelMeetsTheSameBudget) {
  money::BudgetSpec spec;
  spec.scope = "model:gpt-4o-mini";
  spec.limit = 1'000'000;
  ASSERT_TRUE(account_->set_budget(spec).ok());
  const auto heard = start(
      R"({"model":"openai/gpt-4o-mini-2024-07-18","messages":[{"role":"user","content":"hi"}]})");
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kBudgetExceeded);
}

TEST_F(ClientTest, DeadlineCoversWaitsAndAttempts) {
  CallOptions options;
  options.deadlines.total = 1s;
  options.max_attempts = 50;
  for (int i = 0; i < 50; ++i) net_->reply(no_connection());
  const auto begun = clock_.now();
  const auto heard = start(kChat, options);
  while (!heard->outcome) pass(until_next());
  EXPECT_LE(clock_.now() - begun, 1s);
  EXPECT_EQ(net_->requests().back().deadlines.total <= 1s, true);
}

TEST_F(ClientTest, StoppedTransportFailsWhatWaits) {
  net_->reply(refusal(503, {{"Retry-After", "1"}}));
  const auto heard = start(kChat);
  EXPECT_FALSE(heard->outcome);
  net_->stop({});
  ASSERT_TRUE(heard->outcome);
  EXPECT_EQ(heard->status().code(), base::Code::kUnavailable);
}

TEST_F(ClientTest, AnOutageOfAMinuteCostsFewAttemptsAndEnds) {
  constexpr int kCalls = 600;
  std::vector<std::shared_ptr<Heard>> heard;
  for (int i = 0; i < kCalls; ++i) {
    heard.push_back(start(kChat));
    for (int look = 0; look < 4; ++look) {  // answers at once, resends when they are due
      while (net_->open() > 0) {
        net_->reply(refusal(503));
        net_->pump();
      }
      pass(25ms);
    }
  }
  EXPECT_LE(net_->requests().size(), kCalls * 1.2);
  int refused_here = 0;
  for (const auto& one : heard) {
    ASSERT_TRUE(one->outcome);
    EXPECT_EQ(one->status().code(), base::Code::kUnavailable);
    if (one->status().provider_code() != "circuit_open") continue;
    ++refused_here;
    EXPECT_EQ(one->record().attempts, 0);
    EXPECT_GT(one->status().retry_after().value_or(0), 0);
  }
  EXPECT_GT(refused_here, kCalls / 2);
  pass(90s);
  net_->reply(ok());
  EXPECT_TRUE(start(kChat)->status().ok()) << "one probe, and it is closed";
  net_->reply(ok());
  EXPECT_TRUE(start(kChat)->status().ok());
}

TEST_F(ClientTest, AStormOf429OnOneQuotaOfThreeKeysAsksOnceAHint) {
  endpoint_ = client_
                  ->endpoint({.base_url = "http://127.0.0.1/v3",
                              .keys = {"sk-one", "sk-two", "sk-three"},
                              .key_rules = {{"team"}, {"team"}, {"team"}}})
                  .value();
  std::vector<std::shared_ptr<Heard>> heard;
  for (int i = 0; i < 50; ++i) heard.push_back(start(kChat));
  ASSERT_EQ(net_->requests().size(), 50U) << "under way before anybody was told";
  for (int i = 0; i < 50; ++i) net_->reply(refusal(429, {{"Retry-After", "7"}}));
  net_->pump();
  const base::Instant told = clock_.now();
  for (int i = 0; i < 20; ++i) heard.push_back(start(kChat));
  pass(7s - 1ns);
  EXPECT_EQ(net_->requests().size(), 50U) << "no key of that quota is asked before the hint ends";
  for (int i = 0; i < 70; ++i) net_->reply(ok());
  while (net_->requests().size() < 50 + 70) {
    pass(std::max(until_next(), base::Duration(1)));
    ASSERT_LE(clock_.now() - told, 9s) << "a tenth of the hint as jitter, no more";
  }
  for (const auto& one : heard) {
    ASSERT_TRUE(one->outcome);
    EXPECT_TRUE(one->status().ok()) << one->status().message();
  }
}

TEST_F(ClientTest, RatesAreTakenSettledAndWaitedForExactly) {
  auto* const rates = client_->rates().value();
  ASSERT_TRUE(rates->set("org:a rpm", {.per_minute = 60, .burst = 1}).ok());
  ASSERT_TRUE(rates->set("org:a tpm", {.per_minute = 6000, .burst = 100}).ok());
  CallOptions options;
  options.scopes = {"org:a"};
  net_->reply(ok());
  EXPECT_TRUE(start(kChat, options)->status().ok());
  EXPECT_NEAR(rates->left("org:a tpm"), 90, 0.01) << "ten tokens were used, not the whole bound";
  const auto second = start(kChat, options);
  EXPECT_FALSE(second->outcome);
  EXPECT_EQ(net_->requests().size(), 1U);
  net_->reply(ok());
  pass(1s - 1ns);
  EXPECT_EQ(net_->requests().size(), 1U);
  pass(1ns);
  ASSERT_TRUE(second->outcome);
  EXPECT_TRUE(second->status().ok());

  options.deadlines.total = 500ms;
  const auto hasty = start(kChat, options);
  EXPECT_EQ(hasty->status().code(), base::Code::kRateLimited);
  EXPECT_DOUBLE_EQ(hasty->status().retry_after().value_or(0), 1.0);
  ASSERT_TRUE(rates->set("org:a tpm", {.per_minute = 6000, .burst = 10}).ok());
  const auto large = start(kChat, options);
  EXPECT_EQ(large->status().provider_code(), "request_exceeds_rate");
  EXPECT_FALSE(large->status().retry_after());
}

TEST_F(ClientTest, ARefusedCallBurnsNoRate) {
  auto* const rates = client_->rates().value();
  ASSERT_TRUE(rates->set("org:a rpm", {.per_minute = 60, .burst = 3}).ok());
  CallOptions options;
  options.scopes = {"org:a"};
  options.max_cost = 1;
  EXPECT_EQ(start(kChat, options)->status().code(), base::Code::kBudgetExceeded);
  options.max_cost.reset();
  net_->reply(no_connection());
  options.max_attempts = 1;
  EXPECT_EQ(start(kChat, options)->status().code(), base::Code::kUnavailable);
  EXPECT_DOUBLE_EQ(rates->left("org:a rpm"), 3) << "neither was sent";
}

TEST_F(ClientTest, OverloadNarrowsAndInteractiveCallsGoFirst) {
  for (int i = 0; i < 3; ++i) net_->reply(refusal(429, {{"Retry-After", "300"}}));
  CallOptions once;
  once.max_attempts = 1;
  endpoint_ = client_->endpoint({.base_url = "http://127.0.0.1/v2", .keys = {}}).value();
  const auto refused = start(kChat, once);
  EXPECT_EQ(refused->status().code(), base::Code::kRateLimited);
  EXPECT_EQ(endpoint_->queue().limit(), 64) << "of thousands, one was in use";
}

TEST_F(ClientTest, WhatWaitsInTheQueueCanBeCancelledAndTimesOut) {
  flow::FairQueue& queue = endpoint_->queue();
  std::vector<base::Instant> taken;
  while (queue.enter({.party = "x"}, [] {}).answer == flow::FairQueue::Answer::kGo) {
    taken.push_back(clock_.now());
  }
  CallOptions options;
  options.deadlines.total = 2s;
  const auto late = start(kChat, options);
  const auto late_call = call_;
  const auto cancelled = start(kChat, options);
  EXPECT_FALSE(late->outcome);
  call_->cancel();
  ASSERT_TRUE(cancelled->outcome);
  EXPECT_EQ(cancelled->status().code(), base::Code::kCancelled);
  pass(2s);
  ASSERT_TRUE(late->outcome);
  EXPECT_EQ(late->status().code(), base::Code::kDeadline);
  CallOptions batch;
  batch.priority = 1;
  const auto second = start(kChat, batch);
  const auto first = start(kChat);
  net_->reply(ok());
  queue.release(taken.back(), flow::FairQueue::End::kOther);  // the stranger who waits
  queue.release(taken.back(), flow::FairQueue::End::kOther);
  EXPECT_TRUE(first->outcome);
  EXPECT_FALSE(second->outcome) << "a slot is free again, but the answer has not come";
  net_->reply(ok());
  net_->pump();
  EXPECT_TRUE(second->outcome);
}

TEST_F(ClientTest, SeveralAddressesShareTheLoadAndTakeOverAtOnce) {
  endpoint_ = client_
                  ->endpoint({.base_url = "http://127.0.0.1/a",
                              .keys = {"sk-one"},
                              .also = {"http://127.0.0.1/b", "http://127.0.0.1/c"}})
                  .value();
  const auto asked = [this](std::size_t from, std::string_view place) {
    int count = 0;
    const auto requests = net_->requests();
    for (std::size_t i = from; i < requests.size(); ++i) {
      if (requests[i].url.find(place) != std::string::npos) ++count;
    }
    return count;
  };
  net_->reply(refusal(503, {{"Retry-After", "60"}}));
  net_->reply(ok());
  const auto heard = start(kChat);
  ASSERT_TRUE(heard->outcome) << "no wait: another address is asked at once";
  EXPECT_TRUE(heard->status().ok());
  EXPECT_NE(net_->requests()[0].url, net_->requests()[1].url);

  std::size_t sent = net_->requests().size();
  for (int i = 0; i < 60; ++i) {  // c is slow
    const auto one = start(kChat);
    const bool slow = net_->requests().back().url.find("/c/") != std::string::npos;
    clock_.advance(slow ? 500ms : 20ms);
    net_->reply(ok());
    net_->pump();
    ASSERT_TRUE(one->outcome);
  }
  EXPECT_LT(asked(sent, "/c/"), 10);
  EXPECT_GT(asked(sent, "/a/"), 10);
  EXPECT_GT(asked(sent, "/b/"), 10);

  clock_.advance(11s);
  sent = net_->requests().size();
  for (int i = 0; i < 40; ++i) {  // a is down: its breaker opens
    const auto one = start(kChat);
    while (!one->outcome) {
      const bool down = net_->requests().back().url.find("/a/") != std::string::npos;
      net_->reply(down ? refusal(503) : ok());
      net_->pump();
    }
    EXPECT_TRUE(one->status().ok());
  }
  EXPECT_LE(asked(sent, "/a/"), 25) << "after twenty failures it is left alone";
  EXPECT_FALSE(client_->endpoint({.base_url = "http://127.0.0.1/a", .also = {"ftp://x"}}));
}

TEST(Endpoint, RefusesWhatCannotWork) {
  testing::FakeClock clock;
  testing::FakeRandom random(1);
  for (const char* url : {"", "ftp://x", "http://", "https://user@host/v1", "https://h/v1?a=b",
                          "javascript:alert(1)", "https://a b/"}) {
    EXPECT_FALSE(Endpoint::create({.base_url = url, .keys = {"k"}}, clock, random)) << url;
  }
  EXPECT_FALSE(Endpoint::create({.base_url = "https://api.openai.com/v1"}, clock, random));
  EXPECT_FALSE(
      Endpoint::create({.base_url = "https://api.openai.com/v1", .keys = {"a\nb"}}, clock, random));
  for (const char* url : {"http://localhost:1/v1", "http://127.0.0.1:8000", "http://[::1]:9/v1/"}) {
    const auto endpoint = Endpoint::create({.base_url = url}, clock, random);
    ASSERT_TRUE(endpoint) << url;
    EXPECT_FALSE(net::HeaderView((*endpoint)->headers(0)).get("authorization"));
  }
}

}  // namespace
}  // namespace dure::client
