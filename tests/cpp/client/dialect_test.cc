#include "dure/client/dialect.h"

#include <gtest/gtest.h>

#include <cstring>

#include "dure/client/embeddings.h"

namespace dure::client {
namespace {

class Builtin final : public ModelFinder {
 public:
  [[nodiscard]] base::Result<const catalog::Model*> find(std::string_view name) const override {
    return catalog::Catalog::builtin()->find(name);
  }
};

base::Result<Prepared> chat(const std::string& body) {
  return prepare("/chat/completions", body, Builtin{});
}

std::string path_of(const base::Status& status) {
  const auto* path = status.detail("path");
  return path != nullptr ? std::get<std::string>(*path) : "";
}

class OfService final : public ModelFinder {
 public:
  explicit OfService(policy::Terms terms) : terms_(std::move(terms)) {}
  [[nodiscard]] base::Result<const catalog::Model*> find(std::string_view name) const override {
    return catalog::Catalog::builtin()->find(name);
  }
  [[nodiscard]] const policy::Terms* terms() const override { return &terms_; }

 private:
  policy::Terms terms_;
};

TEST(Prepare, TermsOfAServiceAreKept) {
  const auto ask = [](const std::string& more, policy::Terms terms = {}) {
    const std::string body = R"({"model":"gpt-4o","input":"hi","max_output_tokens":8)" + more + "}";
    return prepare("/responses", body, OfService(std::move(terms)));
  };
  struct Case {
    const char* more;
    const char* path;
    policy::Terms allows;
  };
  const Case cases[] = {
      {R"(,"store":true)", "store", {.store = true}},
      {R"(,"service_tier":"priority")", "service_tier", {.service_tiers = {"priority"}}},
      {R"(,"tools":[{"type":"mcp","server_url":"https://x"}])", "tools", {.remote_mcp = true}},
  };
  for (const Case& one : cases) {
    const auto refused = ask(one.more);
    ASSERT_FALSE(refused) << one.more;
    EXPECT_EQ(refused.error().code(), base::Code::kInvalidArgument);
    EXPECT_EQ(path_of(refused.error()), one.path);
    EXPECT_TRUE(ask(one.more, one.allows)) << one.more;
  }
  const char* search = R"(,"tools":[{"type":"web_search"}])";
  EXPECT_TRUE(ask(search));
  EXPECT_EQ(path_of(ask(search, {.server_tools = false}).error()), "tools");
  EXPECT_TRUE(ask(R"(,"service_tier":"default")"));
  // The provider keeps what is not told otherwise.
  EXPECT_NE(ask("")->body.find(R"("store":false)"), std::string::npos);
  EXPECT_EQ(ask("", {.store = true})->body.find("store"), std::string::npos);
  const std::string free = R"({"model":"gpt-4o","input":"hi","store":true})";
  EXPECT_EQ(prepare("/responses", free, Builtin{})->body, free) << "no service, no terms";
}

TEST(Prepare, CountsAsTheCookbookDoes) {
  // "hi" is 1 token, "user" 1; 3 per message, 3 for the reply.
  const auto one = chat(R"({"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]})");
  ASSERT_TRUE(one) << one.error().message();
  EXPECT_EQ(one->input_tokens, 8);
  EXPECT_EQ(one->input_kind, money::BoundKind::kExact);
  EXPECT_FALSE(one->output_was_limited);
  EXPECT_GT(one->max_output_tokens, 0);
  const auto parts = chat(
      R"({"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]})");
  EXPECT_EQ(parts->input_tokens, 8);
  const auto image = chat(
      R"({"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"image_url","image_url":)"
      R"({"url":"data:"}}]}]})");
  EXPECT_EQ(image->input_kind, money::BoundKind::kGuess);
}

TEST(Prepare, AliasesAreOneModelAndTheBodyStays) {
  const std::string body =
      R"({"model":"openai/gpt-4o-mini-2024-07-18","messages":[{"role":"user","content":"x"}]})";
  const auto prepared = chat(body);
  ASSERT_TRUE(prepared);
  EXPECT_EQ(prepared->canonical, "gpt-4o-mini");
  EXPECT_EQ(prepared->body, body);
}

TEST(Prepare, SmallestOutputLimitWins) {
  const auto prepared =
      chat(R"({"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"max_tokens":50,)"
           R"("max_completion_tokens":20,"n":3})");
  EXPECT_EQ(prepared->max_output_tokens, 20);
  EXPECT_TRUE(prepared->output_was_limited);
  EXPECT_EQ(prepared->choices, 3);
}

TEST(Prepare, NamesWhatIsWrongAndWhere) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"model":"gpt-4o","messages":"x"})", "messages"},
      {R"({"model":"gpt-4o","messages":[]})", "messages"},
      {R"({"model":"gpt-4o","messages":["x"]})", "messages[0]"},
      {R"({"model":5,"messages":[]})", "model"},
      {R"({"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"max_tokens":0})",
       "max_tokens"},
      {R"({"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"n":0})", "n"},
      {R"([1])", ""},
      {R"({)", ""}};
  for (const auto& [body, path] : rows) {
    const auto prepared = chat(body);
    ASSERT_FALSE(prepared) << body;
    EXPECT_EQ(prepared.error().code(), base::Code::kInvalidArgument) << body;
    EXPECT_EQ(path_of(prepared.error()), path) << body;
  }
}

TEST(Prepare, RefusesAKeyThatIsThereTwice) {
  const std::string messages = R"("messages":[{"role":"user","content":"x"}])";
  const std::pair<std::string, const char*> rows[] = {
      {R"({"model":"gpt-4o-mini","model":"gpt-4",)" + messages + "}", "model"},
      {R"({"model":"gpt-4o-mini",)" + messages + R"(,"mod\u0065l":"gpt-4"})", "model"},
      {R"({"model":"gpt-4o","max_tokens":1,)" + messages + R"(,"max_tokens":9000})", "max_tokens"},
      {R"({"model":"gpt-4o","stream":false,"stream":true,)" + messages + "}", "stream"},
      {R"({"model":"gpt-4o","n":1,"n":128,)" + messages + "}", "n"},
      {R"({"model":"gpt-4o",)" + messages + "," + messages + "}", "messages"},
      {R"({"model":"gpt-4o","service_tier":"flex","service_tier":"priority",)" + messages + "}",
       "service_tier"},
      {R"({"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true,)"
       R"("include_usage":false},)" +
           messages + "}",
       "stream_options.include_usage"},
      {R"({"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"a"},)"
       R"({"type":"text","text":"","text":"long"}]}]})",
       "messages[0].content[1].text"}};
  for (const auto& [body, path] : rows) {
    const auto prepared = chat(body);
    ASSERT_FALSE(prepared) << body;
    EXPECT_EQ(prepared.error().code(), base::Code::kInvalidArgument) << body;
    EXPECT_EQ(path_of(prepared.error()), path) << body;
    EXPECT_NE(prepared.error().message().find(path), std::string::npos) << body;
  }
  EXPECT_FALSE(prepare("/embeddings",
                       R"({"model":"text-embedding-3-small","input":"x","input":["long"]})",
                       Builtin{}));
  EXPECT_FALSE(prepare("/responses", R"({"model":"gpt-4o","input":"x","input":"y"})", Builtin{}));
}

TEST(Prepare, RefusesAPromptBeyondTheWindowWithBothNumbers) {
  std::string text;
  for (int i = 0; i < 140'000; ++i) text += " word";
  const auto prepared =
      chat(R"({"model":"gpt-4o","messages":[{"role":"user","content":")" + text + R"("}]})");
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().provider_code(), "context_length_exceeded");
  EXPECT_NE(prepared.error().message().find("128000"), std::string::npos);
}

TEST(Prepare, StreamOptionsOfTheCallerAreKept) {
  const auto prepared =
      chat(R"({"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"stream":true,)"
           R"("stream_options":{"include_obfuscation":false}})");
  EXPECT_TRUE(prepared->stream);
  EXPECT_TRUE(prepared->hide_usage);
  EXPECT_NE(prepared->body.find(R"({"include_obfuscation":false,"include_usage":true})"),
            std::string::npos);
}

TEST(Prepare, EmbeddingInputsOfEveryForm) {
  const auto count = [](const std::string& input) {
    const auto prepared = prepare(
        "/embeddings", R"({"model":"text-embedding-3-small","input":)" + input + "}", Builtin{});
    return prepared ? prepared->input_tokens : -1;
  };
  EXPECT_EQ(count(R"("hello world")"), 2);
  EXPECT_EQ(count(R"(["hello world","hello"])"), 3);
  EXPECT_EQ(count("[1,2,3]"), 3);
  EXPECT_EQ(count("[[1,2],[3]]"), 3);
  EXPECT_EQ(count("5"), -1);
  EXPECT_EQ(count("[true]"), -1);
}

TEST(WithOutputLimit, ReplacesTheNameTheCallerUsed) {
  EXPECT_EQ(with_output_limit(R"({"max_tokens":50,"model":"m"})", 7),
            R"({"model":"m","max_tokens":7})");
  EXPECT_EQ(with_output_limit(R"({"model":"m"})", 7), R"({"model":"m","max_completion_tokens":7})");
  EXPECT_EQ(with_output_limit(R"({"input":"x"})", 7), R"({"input":"x","max_output_tokens":7})");
}

TEST(Prepare, ResponsesInputOfEveryForm) {
  const auto responses = [](std::string body) { return prepare("/responses", body, Builtin{}); };
  const auto text = responses(R"({"model":"gpt-4o","input":"hi","max_output_tokens":20})");
  ASSERT_TRUE(text) << text.error().message();
  EXPECT_EQ(text->operation, Operation::kResponses);
  EXPECT_EQ(text->input_tokens, 8);
  EXPECT_EQ(text->input_kind, money::BoundKind::kGuess);
  EXPECT_EQ(text->max_output_tokens, 20);
  const auto items = responses(
      R"({"model":"gpt-4o","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},)"
      R"({"role":"user","content":[{"type":"input_image","detail":"low","image_url":"data:"}]}],)"
      R"("instructions":"be brief","stream":true})");
  ASSERT_TRUE(items) << items.error().message();
  EXPECT_GT(items->input_tokens, text->input_tokens + 85);
  EXPECT_TRUE(items->stream);
  EXPECT_FALSE(items->hide_usage);
  EXPECT_EQ(items->body.find("include_usage"), std::string::npos);
  EXPECT_EQ(path_of(responses(R"({"model":"gpt-4o","input":5})").error()), "input");
  EXPECT_EQ(path_of(responses(R"({"model":"gpt-4o","input":"x","background":true})").error()),
            "background");
}

TEST(Prepare, WhatTheProviderAddsIsHiddenAndAGuess) {
  const auto hides = [](std::string_view path, std::string_view more) {
    const auto prepared = prepare(
        path,
        R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"input":"hi")" +
            std::string(more) + "}",
        Builtin{});
    EXPECT_TRUE(prepared.has_value()) << more;
    return prepared && prepared->hidden_output && prepared->input_kind == money::BoundKind::kGuess;
  };
  EXPECT_FALSE(hides("/responses", ""));
  EXPECT_FALSE(hides("/responses", R"(,"previous_response_id":null)"));
  EXPECT_FALSE(hides("/responses", R"(,"tools":[{"type":"function","name":"f"}])"));
  EXPECT_TRUE(hides("/responses", R"(,"tools":[{"type":"web_search"}])"));
  EXPECT_TRUE(hides("/responses", R"(,"previous_response_id":"resp_1")"));
  EXPECT_TRUE(hides("/responses", R"(,"prompt":{"id":"pmpt_1"})"));
  EXPECT_TRUE(hides("/responses", R"(,"conversation":"conv_1")"));
  EXPECT_FALSE(hides("/chat/completions", R"(,"tools":[{"type":"function","function":{}}])"));
  EXPECT_TRUE(hides("/chat/completions", R"(,"web_search_options":{})"));
}

TEST(ReadUsage, NothingUnknownIsFree) {
  const auto known = read_usage(
      R"({"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"text_tokens":7,)"
      R"("audio_tokens":3,"cached_tokens":4,"cached_tokens_details":{"audio_tokens":2}},)"
      R"("completion_tokens_details":{"image_tokens":1,"accepted_prediction_tokens":2}})");
  ASSERT_TRUE(known.has_value());
  EXPECT_FALSE(known->garbage);
  EXPECT_EQ(known->as_reported().input_audio_cached, 2);
  EXPECT_EQ(known->as_reported().output_image, 1);
  EXPECT_TRUE(
      read_usage(R"({"prompt_tokens":9,"prompt_tokens_details":{"video_tokens":8}})")->garbage);
  EXPECT_FALSE(
      read_usage(R"({"prompt_tokens":9,"prompt_tokens_details":{"video_tokens":0}})")->garbage);
}

TEST(ReadReply, SearchesOfAResponseAreCounted) {
  const auto usage = [](std::string_view items) {
    return read_reply(Operation::kResponses,
                      R"({"usage":{"input_tokens":3,"output_tokens":2},"output":[)" +
                          std::string(items) + R"({"type":"message"}]})")
        .usage;
  };
  EXPECT_FALSE(usage("").web_searches.has_value());
  EXPECT_EQ(usage(R"({"type":"web_search_call"},{"type":"web_search_call","action":)"
                  R"({"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},)")
                .web_searches,
            2);
  EXPECT_FALSE(usage(R"({"type":"function_call"},)").garbage);
  EXPECT_TRUE(usage(R"({"type":"code_interpreter_call"},)").garbage);
}

TEST(Prepare, AQueryDoesNotHideWhatCostsMoney) {
  const std::string body = R"({"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]})";
  for (const char* path : {"/chat/completions?a=b", "/chat/completions/", "/chat/completions"}) {
    const auto prepared = prepare(path, body, Builtin{});
    ASSERT_TRUE(prepared) << path;
    EXPECT_EQ(prepared->operation, Operation::kChat) << path;
  }
}

TEST(ChatAssembler, ReadsAStreamOfResponses) {
  using Kind = ChatAssembler::Event::Kind;
  ChatAssembler events(true, Operation::kResponses);
  EXPECT_EQ(events.feed(R"({"type":"response.created","response":{"id":"r","usage":null}})").kind,
            Kind::kChunk);
  EXPECT_EQ(events.feed(R"({"type":"response.output_text.delta","delta":"Hel"})").text, "Hel");
  events.feed(R"({"type":"response.output_text.delta","delta":"lo"})");
  events.feed(R"({"type":"response.function_call_arguments.delta","delta":"{}"})");
  EXPECT_FALSE(events.finished());
  EXPECT_EQ(events.text(), "Hello");
  EXPECT_EQ(events.billed_text(), "Hello{}");
  events.feed(
      R"({"type":"response.completed","response":{"id":"r","service_tier":"flex","usage":)"
      R"({"input_tokens":9,"output_tokens":4,"output_tokens_details":{"reasoning_tokens":1}}}})");
  EXPECT_TRUE(events.finished());
  EXPECT_EQ(events.usage().prompt_tokens, 9);
  EXPECT_EQ(events.usage().completion_tokens, 4);
  EXPECT_EQ(events.usage().reasoning_tokens, 1);
  EXPECT_EQ(events.service_tier(), "flex");
  EXPECT_TRUE(events.whole().starts_with(R"({"id":"r")"));
  EXPECT_EQ(events.feed(R"({"type":"error","code":"x","message":"broken"})").kind, Kind::kError);
  EXPECT_EQ(events.feed(R"({"delta":"no type"})").kind, Kind::kGarbage);
}

TEST(ReadReply, AResponseHasOutputAndItsOwnNamesOfUsage) {
  const auto facts = read_reply(Operation::kResponses,
                                R"({"output":[],"usage":{"input_tokens":3,"output_tokens":2}})");
  EXPECT_TRUE(facts.usable);
  EXPECT_EQ(facts.usage.prompt_tokens, 3);
  EXPECT_FALSE(read_reply(Operation::kResponses, R"({"choices":[]})").usable);
}

TEST(ChatAssembler, PutsToolCallsTogether) {
  ChatAssembler chunks(true);
  for (const char* data :
       {R"({"id":"c","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant",)"
        R"("content":null,"tool_calls":[{"index":0,"id":"t1","type":"function","function":)"
        R"({"name":"f","arguments":"{\"a\""}}]}}]})",
        R"({"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":)"
        R"({"arguments":":1}"}}]}}]})",
        R"({"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]})",
        R"({"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}})"}) {
    EXPECT_NE(chunks.feed(data).kind, ChatAssembler::Event::Kind::kGarbage);
  }
  EXPECT_TRUE(chunks.finished());
  EXPECT_EQ(chunks.usage().completion_tokens, 2);
  EXPECT_EQ(chunks.billed_text(), R"(f{"a":1})");
  EXPECT_EQ(
      chunks.whole(),
      R"({"id":"c","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,)"
      R"("message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"t1",)"
      R"("type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"logprobs":null,)"
      R"("finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2},)"
      R"("system_fingerprint":null})");
}

TEST(ChatAssembler, TellsErrorsAndGarbageFromChunks) {
  using Kind = ChatAssembler::Event::Kind;
  ChatAssembler chunks(false);
  EXPECT_EQ(chunks.feed("nonsense").kind, Kind::kGarbage);
  EXPECT_EQ(chunks.feed("[]").kind, Kind::kGarbage);
  EXPECT_EQ(chunks.feed("{}").kind, Kind::kGarbage);
  EXPECT_EQ(chunks.feed(R"({"error":{"message":"x"}})").kind, Kind::kError);
  EXPECT_EQ(chunks.feed(R"({"choices":[]})").kind, Kind::kChunk);
  EXPECT_FALSE(chunks.finished());
}

TEST(ReadVectors, Base64AndNumbersByIndex) {
  // 1.0f = 00 00 80 3f, 2.0f = 00 00 00 40
  const auto vectors = read_vectors(
      R"({"data":[{"index":1,"embedding":[3,4.5]},{"index":0,"embedding":"AACAPwAAAEA="}]})", 2);
  ASSERT_TRUE(vectors) << vectors.error().message();
  EXPECT_EQ(vectors->dimensions, 2U);
  EXPECT_EQ(vectors->values, (std::vector<float>{1, 2, 3, 4.5}));
}

TEST(ReadVectors, RefusesEveryBrokenReply) {
  for (const char* body :
       {"{}", "x", R"({"data":[]})", R"({"data":[{"index":0,"embedding":[]}]})",
        R"({"data":[{"index":1,"embedding":[1]}]})", R"({"data":[{"embedding":[1]}]})",
        R"({"data":[{"index":0,"embedding":"AACAP"}]})",
        R"({"data":[{"index":0,"embedding":"A*=="}]})",
        R"({"data":[{"index":0,"embedding":"AADAfw=="}]})",  // NaN
        R"({"data":[{"index":0,"embedding":["x"]}]})",
        R"({"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]})"}) {
    EXPECT_FALSE(read_vectors(body, 1)) << body;
  }
  EXPECT_FALSE(
      read_vectors(R"({"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]})", 2));
}

}  // namespace
}  // namespace dure::client
