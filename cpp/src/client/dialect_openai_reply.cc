// The reply side of OpenAI's wire: buffered replies, and streams put together again.
#include <algorithm>

#include "client/usage_json.h"
#include "dure/client/dialect.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::client {

using json::Value;

namespace {

// The list that a success reply of an operation holds.
std::string_view promised(Operation operation) {
  switch (operation) {
    case Operation::kChat:
      return "choices";
    case Operation::kResponses:
      return "output";
    case Operation::kEmbeddings:
    case Operation::kUnmetered:
      break;
  }
  return "data";
}

}  // namespace

ReplyFacts read_reply(Operation operation, std::string_view body) {
  ReplyFacts facts;
  json::Parser parser;
  const auto root = parser.parse(body);
  if (operation == Operation::kUnmetered) {
    facts.usable = true;
    return facts;
  }
  if (!root || !root->is_object()) return facts;
  facts.usable = (*root)[promised(operation)].is_array();
  facts.usage =
      operation == Operation::kResponses ? usage_of_response(*root) : usage_of((*root)["usage"]);
  facts.service_tier = (*root)["service_tier"].string_or("");
  facts.model = (*root)["model"].string_or("");
  return facts;
}

struct ChatAssembler::ToolCall {
  std::string id, type, name, arguments;
};

struct ChatAssembler::Choice {
  std::string role, content, refusal, reasoning, finish_reason;
  bool has_content = false;
  std::map<std::int64_t, ToolCall> tools;
};

struct ChatAssembler::State {
  explicit State(bool keep) : whole(keep) {}
  const bool whole;
  json::Parser parser;
  std::string piece;  // text of the chunk just fed
  std::map<std::int64_t, Choice> choices;
  std::string id, model, fingerprint, usage_text;
  std::int64_t created = 0;
  // Of a stream of responses.
  std::string response_text, response_billed, response;
  bool response_ended = false;

  void take_head(const Value& root);
  void take_choice(const Value& value);
};

namespace {

void append(std::string& into, const Value& value) {
  if (const auto text = value.string()) into += *text;
}

void keep_last(std::string& into, const Value& value) {
  if (const auto text = value.string()) into = *text;
}

void write_text_or_null(json::Writer& out, std::string_view key, const std::string& text,
                        bool present) {
  out.key(key);
  if (present) {
    out.string(text);
  } else {
    out.null();
  }
}

}  // namespace

void ChatAssembler::State::take_head(const Value& root) {
  if (!whole) return;
  keep_last(id, root["id"]);
  keep_last(model, root["model"]);
  keep_last(fingerprint, root["system_fingerprint"]);
  created = root["created"].integer().value_or(created);
}

void ChatAssembler::State::take_choice(const Value& value) {
  Choice& choice = choices[value["index"].integer().value_or(0)];
  const Value delta = value["delta"];
  if (const auto text = delta["content"].string()) {
    choice.content += *text;
    choice.has_content = true;
    piece += *text;
  }
  append(choice.refusal, delta["refusal"]);
  append(choice.reasoning, delta["reasoning_content"]);
  keep_last(choice.role, delta["role"]);
  keep_last(choice.finish_reason, value["finish_reason"]);
  for (const Value& call : delta["tool_calls"].items()) {
    ToolCall& tool = choice.tools[call["index"].integer().value_or(0)];
    keep_last(tool.id, call["id"]);
    keep_last(tool.type, call["type"]);
    append(tool.name, call["function"]["name"]);
    append(tool.arguments, call["function"]["arguments"]);
  }
}

ChatAssembler::ChatAssembler(bool whole, Operation operation)
    : operation_(operation), state_(std::make_unique<State>(whole)) {}
ChatAssembler::~ChatAssembler() = default;

ChatAssembler::Event ChatAssembler::feed(std::string_view data) {
  state_->piece.clear();
  const auto root = state_->parser.parse(data);
  if (!root || !root->is_object()) return {};
  if ((*root)["error"].is_object()) return {Event::Kind::kError, {}};
  if (operation_ == Operation::kResponses) return feed_response(*root);
  const Value choices = (*root)["choices"];
  const Value usage = (*root)["usage"];
  if (!choices.is_array() && usage.absent()) return {};
  usage_.merge(usage_of(usage));
  if (usage.is_object() && state_->whole) state_->usage_text = usage.text();
  keep_last(service_tier_, (*root)["service_tier"]);
  if (model_.empty()) keep_last(model_, (*root)["model"]);
  state_->take_head(*root);
  const std::vector<Value> items = choices.items();
  for (const Value& choice : items) state_->take_choice(choice);
  if (items.empty() && usage.is_object()) return {Event::Kind::kUsageOnly, {}};
  return {Event::Kind::kChunk, state_->piece};
}

// Every event that ends in ".delta" adds billed output; the last event carries the response.
ChatAssembler::Event ChatAssembler::feed_response(const Value& root) {
  const auto type = root["type"].string();
  if (!type) return {};
  if (*type == "error") return {Event::Kind::kError, {}};
  if (type->ends_with(".delta")) {
    state_->piece = root["delta"].string_or("");
    state_->response_billed += state_->piece;
    if (*type == "response.output_text.delta") state_->response_text += state_->piece;
  }
  if (*type == "response.completed" || *type == "response.incomplete" ||
      *type == "response.failed") {
    const Value response = root["response"];
    state_->response_ended = true;
    usage_.merge(usage_of_response(response));
    keep_last(service_tier_, response["service_tier"]);
    keep_last(model_, response["model"]);
    if (state_->whole) state_->response = response.text();
  }
  return {Event::Kind::kChunk, state_->piece};
}

bool ChatAssembler::finished() const noexcept {
  if (operation_ == Operation::kResponses) return state_->response_ended;
  return !state_->choices.empty() &&
         std::all_of(state_->choices.begin(), state_->choices.end(),
                     [](const auto& entry) { return !entry.second.finish_reason.empty(); });
}

std::string ChatAssembler::text() const {
  std::string out = state_->response_text;
  for (const auto& [index, choice] : state_->choices) out += choice.content;
  return out;
}

std::string ChatAssembler::billed_text() const {
  std::string out = state_->response_billed;
  for (const auto& [index, choice] : state_->choices) {
    out += choice.reasoning + choice.content + choice.refusal;
    for (const auto& [at, tool] : choice.tools) out += tool.name + tool.arguments;
  }
  return out;
}

std::string ChatAssembler::whole() const {
  if (operation_ == Operation::kResponses) return state_->response;
  json::Writer out(512);
  out.begin_object();
  out.key("id");
  out.string(state_->id);
  out.key("object");
  out.string("chat.completion");
  out.key("created");
  out.integer(state_->created);
  out.key("model");
  out.string(state_->model);
  out.key("choices");
  out.begin_array();
  for (const auto& [index, choice] : state_->choices) {
    out.begin_object();
    out.key("index");
    out.integer(index);
    out.key("message");
    out.begin_object();
    out.key("role");
    out.string(choice.role.empty() ? "assistant" : choice.role);
    write_text_or_null(out, "content", choice.content, choice.has_content);
    write_text_or_null(out, "refusal", choice.refusal, !choice.refusal.empty());
    if (!choice.reasoning.empty()) {
      out.key("reasoning_content");
      out.string(choice.reasoning);
    }
    if (!choice.tools.empty()) {
      out.key("tool_calls");
      out.begin_array();
      for (const auto& [at, tool] : choice.tools) {
        out.begin_object();
        out.key("id");
        out.string(tool.id);
        out.key("type");
        out.string(tool.type.empty() ? "function" : tool.type);
        out.key("function");
        out.begin_object();
        out.key("name");
        out.string(tool.name);
        out.key("arguments");
        out.string(tool.arguments);
        out.end_object();
        out.end_object();
      }
      out.end_array();
    }
    out.end_object();
    out.key("logprobs");
    out.null();
    write_text_or_null(out, "finish_reason", choice.finish_reason, !choice.finish_reason.empty());
    out.end_object();
  }
  out.end_array();
  if (!state_->usage_text.empty()) {
    out.key("usage");
    out.raw(state_->usage_text);
  }
  if (!service_tier_.empty()) {
    out.key("service_tier");
    out.string(service_tier_);
  }
  write_text_or_null(out, "system_fingerprint", state_->fingerprint, !state_->fingerprint.empty());
  out.end_object();
  return std::move(out).take();
}

}  // namespace dure::client
