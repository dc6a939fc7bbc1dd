#include "dure/client/classify.h"

#include <gtest/gtest.h>

#include "dure/client/usage.h"

namespace dure::client {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)

constexpr base::WallTime kNow{784'111'777'000'000};  // Sun, 06 Nov 1994 08:49:37 GMT

Verdict of(int status, net::Headers headers = {}, ErrorBody error = {}) {
  return classify_status(status, net::HeaderView(headers), error, kNow);
}

TEST(Classify, TableOfStatuses) {
  struct Row {
    int status;
    Failure failure;
    Resend resend;
  };
  for (const Row& row :
       std::initializer_list<Row>{{400, Failure::kBadRequest, Resend::kNever},
                                  {401, Failure::kAuth, Resend::kNever},
                                  {402, Failure::kQuotaExhausted, Resend::kNever},
                                  {403, Failure::kAuth, Resend::kNever},
                                  {404, Failure::kNotFound, Resend::kNever},
                                  {408, Failure::kTransientStatus, Resend::kAmbiguous},
                                  {409, Failure::kTransientStatus, Resend::kAmbiguous},
                                  {413, Failure::kBadRequest, Resend::kNever},
                                  {422, Failure::kBadRequest, Resend::kNever},
                                  {429, Failure::kRateLimit, Resend::kProven},
                                  {500, Failure::kTransientStatus, Resend::kAmbiguous},
                                  {502, Failure::kTransientStatus, Resend::kAmbiguous},
                                  {503, Failure::kOverloaded, Resend::kProven},
                                  {504, Failure::kTransientStatus, Resend::kAmbiguous},
                                  {529, Failure::kTransientStatus, Resend::kAmbiguous}}) {
    const Verdict verdict = of(row.status);
    EXPECT_EQ(verdict.failure, row.failure) << row.status;
    EXPECT_EQ(verdict.resend, row.resend) << row.status;
  }
  EXPECT_EQ(of(429, {}, {.code = "insufficient_quota"}).failure, Failure::kQuotaExhausted);
  EXPECT_FALSE(of(429).feeds_retry_budget) << "the server paces these itself";
}

TEST(Classify, ServerDecidesByXShouldRetry) {
  EXPECT_EQ(of(503, {{"x-should-retry", "false"}}).resend, Resend::kNever);
  EXPECT_EQ(of(400, {{"x-should-retry", "true"}}).resend, Resend::kAmbiguous);
}

TEST(Classify, TransfersThatDidNotComplete) {
  using base::Code;
  using base::Status;
  EXPECT_EQ(classify_end(Status(Code::kUnavailable, ""), false, false).resend, Resend::kProven);
  EXPECT_EQ(classify_end(Status(Code::kUnavailable, "").with("stage", "certificate"), false, false)
                .failure,
            Failure::kTlsVerify);
  EXPECT_EQ(classify_end(Status(Code::kDeadline, ""), true, false).failure, Failure::kSentTimeout);
  EXPECT_EQ(classify_end(Status(Code::kDeadline, ""), false, false).resend, Resend::kProven);
  EXPECT_EQ(classify_end(Status(Code::kTruncated, ""), true, false).resend, Resend::kAmbiguous);
  EXPECT_EQ(classify_end(Status(Code::kTruncated, ""), true, true).resend, Resend::kNever);
  EXPECT_EQ(classify_end(Status(Code::kCancelled, ""), true, false).failure, Failure::kCancelled);
}

TEST(WaitHint, OrderFormsAndAbsurdities) {
  const auto hint = [](int status, net::Headers headers) {
    return wait_hint(status, net::HeaderView(headers), kNow);
  };
  EXPECT_EQ(hint(429, {{"retry-after-ms", "250"}, {"retry-after", "7"}}), 250ms);
  EXPECT_EQ(hint(429, {{"Retry-After", "1.5"}}), 1500ms);
  EXPECT_EQ(hint(429, {{"retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"}}), 10s);
  EXPECT_EQ(hint(429, {{"retry-after", "Sun, 06 Nov 1994 08:49:27 GMT"}}), 0s) << "past";
  EXPECT_EQ(hint(429, {{"retry-after", "0"}}), 0s);
  EXPECT_EQ(hint(429, {{"retry-after", "-5"}}), 0s);
  EXPECT_GT(*hint(429, {{"retry-after", "1000000000"}}), 24h);
  EXPECT_GT(*hint(429, {{"retry-after", "1e999"}}), 24h);
  EXPECT_EQ(hint(429, {{"retry-after", "nan"}}), 0s);
  for (const char* text : {"", "soon", "5 seconds", "Sun, 06 Xxx 1994 08:49:47 GMT", "12x"}) {
    EXPECT_EQ(hint(429, {{"retry-after", text}}), std::nullopt) << text;
  }
  const net::Headers limits{{"x-ratelimit-remaining-requests", "0"},
                            {"x-ratelimit-reset-requests", "6m0s"},
                            {"x-ratelimit-remaining-tokens", "0"},
                            {"x-ratelimit-reset-tokens", "12ms"}};
  EXPECT_EQ(hint(429, limits), 360s);
  EXPECT_EQ(hint(503, limits), std::nullopt) << "rates say nothing about an overload";
}

TEST(ReadError, ShapesOfProviders) {
  const ErrorBody openai =
      read_error(R"({"error":{"message":"m","type":"t","param":null,"code":"c"}})");
  EXPECT_EQ(openai.message, "m");
  EXPECT_EQ(openai.code, "c");
  EXPECT_EQ(openai.param, "");
  EXPECT_EQ(read_error(R"({"error":"plain"})").message, "plain");
  EXPECT_EQ(read_error(R"({"message":"vllm","code":400})").code, "400");
  EXPECT_EQ(read_error("<html>").message, "");
}

TEST(Usage, EveryShapeOfTheChatWire) {
  const auto chat = read_usage(
      R"({"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":)"
      R"({"cached_tokens":60,"audio_tokens":5},"completion_tokens_details":{"reasoning_tokens":20}})");
  const money::ReportedUsage reported = chat->as_reported();
  EXPECT_EQ(reported.input, 100);
  EXPECT_EQ(reported.cache_read, 60);
  EXPECT_EQ(reported.input_audio, 5);
  EXPECT_EQ(reported.output_reasoning, 20);
  EXPECT_TRUE(reported.input_contains_parts);
  EXPECT_EQ(read_usage(R"({"prompt_tokens":7,"total_tokens":7})")->as_reported().input, 7);
  EXPECT_EQ(read_usage(R"({"total_tokens":7})")->as_reported().input, 7) << "embeddings";
  EXPECT_EQ(read_usage(R"({"input_tokens":3,"output_tokens":4})")->as_reported().output, 4);
  EXPECT_FALSE(read_usage("null")->reported());
  EXPECT_FALSE(read_usage("[1]"));
  EXPECT_FALSE(chat->garbage);
  EXPECT_FALSE(read_usage(R"({"prompt_tokens":0,"completion_tokens":null})")->garbage);
  for (const char* odd :
       {R"({"prompt_tokens":-1})", R"({"completion_tokens":18446744073709551616})",
        R"({"total_tokens":1e999})", R"({"prompt_tokens":"12"})", R"({"prompt_tokens":1.5})",
        R"({"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":-3}})"}) {
    EXPECT_TRUE(read_usage(odd)->garbage) << odd;
    WireUsage sum = *chat;
    sum.merge(*read_usage(odd));
    EXPECT_TRUE(sum.garbage) << odd;
  }
  WireUsage last = *read_usage(R"({"prompt_tokens":8,"completion_tokens":1})");
  last.merge(*read_usage(R"({"completion_tokens":5})"));
  EXPECT_EQ(last.prompt_tokens, 8);
  EXPECT_EQ(last.completion_tokens, 5);
}

TEST(ReadQuota, WhatIsLeftAndForHowLong) {
  const base::WallTime now{1'763'726'000'000'000};  // 2025-11-21T11:53:20Z
  const auto read = [now](net::Headers headers) {
    return read_quota(net::HeaderView(headers), now);
  };
  EXPECT_FALSE(read({}));
  const auto some = read({{"X-RateLimit-Limit-Requests", "100"},
                          {"X-RateLimit-Remaining-Requests", "60"},
                          {"X-RateLimit-Limit-Tokens", "1000"},
                          {"X-RateLimit-Remaining-Tokens", "250"},
                          {"X-RateLimit-Reset-Tokens", "6m0s"}});
  ASSERT_TRUE(some);
  EXPECT_DOUBLE_EQ(some->left, 0.25);
  EXPECT_FALSE(some->empty_for);
  const auto none = read({{"x-ratelimit-limit-requests", "100"},
                          {"x-ratelimit-remaining-requests", "0"},
                          {"x-ratelimit-reset-requests", "12ms"}});
  ASSERT_TRUE(none);
  EXPECT_EQ(none->empty_for, std::chrono::milliseconds(12));
  const auto anthropic = read({{"anthropic-ratelimit-tokens-limit", "80000"},
                               {"anthropic-ratelimit-tokens-remaining", "0"},
                               {"anthropic-ratelimit-tokens-reset", "2025-11-21T11:53:50Z"}});
  ASSERT_TRUE(anthropic);
  EXPECT_EQ(anthropic->empty_for, std::chrono::seconds(30));
  for (const char* wrong : {"-1", "nan", "", "101", "x"}) {
    EXPECT_FALSE(
        read({{"x-ratelimit-limit-requests", "100"}, {"x-ratelimit-remaining-requests", wrong}}))
        << wrong;
  }
  EXPECT_FALSE(
      read({{"x-ratelimit-limit-requests", "0"}, {"x-ratelimit-remaining-requests", "0"}}));
  const net::Headers azure{{"x-ratelimit-limit-requests", "0"},
                           {"x-ratelimit-remaining-requests", "0"},
                           {"x-ratelimit-reset-requests", "60s"}};
  EXPECT_FALSE(wait_hint(429, net::HeaderView(azure), now)) << "0 of 0 says nothing";
}

}  // namespace
}  // namespace dure::client
