// The reply side of Anthropic's wire: messages and their streams as chat completions.
#include <array>
#include <utility>

#include "dure/client/anthropic.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::client {
namespace {

using json::Value;
using json::Writer;

std::string_view finish_reason_of(std::string_view stop_reason) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kReasons{{
      {"max_tokens", "length"},
      {"model_context_window_exceeded", "length"},
      {"tool_use", "tool_calls"},
      {"refusal", "content_filter"},
      {"", ""},
  }};
  for (const auto& [there, here] : kReasons) {
    if (there == stop_reason) return here;
  }
  return "stop";  // end_turn, stop_sequence, pause_turn
}

using Counts = std::map<std::string, std::int64_t, std::less<>>;

// The last value of each count wins: message_delta repeats running totals.
void read_counts(Counts& into, const Value& usage) {
  const auto read = [&into](const Value& object, const char* name) {
    if (const auto count = object[name].integer()) into[name] = *count;
  };
  for (const char* name : {"input_tokens", "output_tokens", "cache_creation_input_tokens",
                           "cache_read_input_tokens"}) {
    read(usage, name);
  }
  read(usage["cache_creation"], "ephemeral_1h_input_tokens");
  read(usage["server_tool_use"], "web_search_requests");
}

std::int64_t count(const Counts& counts, std::string_view name) {
  const auto found = counts.find(name);
  return found == counts.end() ? 0 : found->second;
}

// Chat's usage: the prompt contains what was read from and written to the cache.
void write_usage(Writer& out, const Counts& counts) {
  const std::int64_t read = count(counts, "cache_read_input_tokens");
  const std::int64_t written = count(counts, "cache_creation_input_tokens");
  const std::int64_t hour = count(counts, "ephemeral_1h_input_tokens");
  const std::int64_t prompt = count(counts, "input_tokens") + read + written;
  const std::int64_t output = count(counts, "output_tokens");
  const auto put = [&out](std::string_view name, std::int64_t value) {
    out.key(name);
    out.integer(value);
  };
  out.begin_object();
  put("prompt_tokens", prompt);
  put("completion_tokens", output);
  put("total_tokens", prompt + output);
  out.key("prompt_tokens_details");
  out.begin_object();
  put("cached_tokens", read);
  put("cache_write_tokens", written - hour);
  put("cache_write_1h_tokens", hour);
  out.end_object();
  if (const std::int64_t searches = count(counts, "web_search_requests"); searches > 0) {
    put("web_search_requests", searches);
  }
  out.end_object();
}

// "standard" is what everybody else calls "default".
void write_tier(Writer& out, const Value& usage) {
  const auto tier = usage["service_tier"].string();
  if (!tier) return;
  out.key("service_tier");
  out.string(*tier == "standard" ? "default" : *tier);
}

void write_function(Writer& out, std::string_view name, std::string_view arguments) {
  out.key("function");
  out.begin_object();
  out.key("name");
  out.string(name);
  out.key("arguments");
  out.string(arguments);
  out.end_object();
}

// What the blocks of a whole message come to.
struct Content {
  std::string text, thinking, signature;
  std::vector<Value> tools, others;
  bool has_text = false;

  explicit Content(const Value& blocks) {
    for (const Value& block : blocks.items()) take(block);
  }
  void take(const Value& block) {
    const std::string_view type = block["type"].string_or("");
    if (type == "text") {
      has_text = true;
      text += block["text"].string_or("");
    } else if (type == "thinking") {
      thinking += block["thinking"].string_or("");
      signature = block["signature"].string_or("");
    } else if (type == "tool_use") {
      tools.push_back(block);
    } else {
      others.push_back(block);
    }
  }
};

void write_message(Writer& out, const Content& content) {
  out.begin_object();
  out.key("role");
  out.string("assistant");
  out.key("content");
  if (content.has_text) {
    out.string(content.text);
  } else {
    out.null();
  }
  out.key("refusal");
  out.null();
  if (!content.thinking.empty()) {
    out.key("reasoning_content");
    out.string(content.thinking);
    out.key("thinking_signature");
    out.string(content.signature);
  }
  if (!content.tools.empty()) {
    out.key("tool_calls");
    out.begin_array();
    for (const Value& tool : content.tools) {
      out.begin_object();
      out.key("id");
      out.string(tool["id"].string_or(""));
      out.key("type");
      out.string("function");
      write_function(out, tool["name"].string_or(""), tool["input"].text());
      out.end_object();
    }
    out.end_array();
  }
  if (!content.others.empty()) {  // searches, code runs: as they came
    out.key("anthropic_blocks");
    out.begin_array();
    for (const Value& block : content.others) out.raw(block.text());
    out.end_array();
  }
  out.end_object();
}

void write_head(Writer& out, std::string_view object, std::string_view id, std::string_view model,
                std::int64_t created) {
  out.key("id");
  out.string(id);
  out.key("object");
  out.string(object);
  out.key("created");
  out.integer(created);
  out.key("model");
  out.string(model);
}

}  // namespace

std::string from_message(std::string_view body, std::int64_t created) {
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root || !(*root)["content"].is_array()) return {};
  Counts counts;
  read_counts(counts, (*root)["usage"]);
  Writer out(512);
  out.begin_object();
  write_head(out, "chat.completion", (*root)["id"].string_or(""), (*root)["model"].string_or(""),
             created);
  out.key("choices");
  out.begin_array();
  out.begin_object();
  out.key("index");
  out.integer(0);
  out.key("message");
  write_message(out, Content((*root)["content"]));
  out.key("logprobs");
  out.null();
  out.key("finish_reason");
  out.string(finish_reason_of((*root)["stop_reason"].string_or("end_turn")));
  out.end_object();
  out.end_array();
  if (!counts.empty()) {
    out.key("usage");
    write_usage(out, counts);
  }
  write_tier(out, (*root)["usage"]);
  out.end_object();
  return std::move(out).take();
}

std::vector<std::string> MessageStream::feed(std::string_view data) {
  json::Parser parser;
  const auto root = parser.parse(data);
  const std::string_view type = root ? (*root)["type"].string_or("") : "";
  if (type == "ping" || type == "content_block_stop") return {};
  if (type == "message_start") {
    const Value message = (*root)["message"];
    id_ = message["id"].string_or("");
    model_ = message["model"].string_or("");
    take_usage(message["usage"]);
    return {chunk(R"({"role":"assistant","content":""})", "")};
  }
  if (type == "content_block_start" || type == "content_block_delta") {
    std::string made = type == "content_block_start" ? begin_block(*root) : go_on(*root);
    if (made.empty()) return {};
    return {std::move(made)};
  }
  if (type == "message_delta") {
    take_usage((*root)["usage"]);
    const auto reason = (*root)["delta"]["stop_reason"].string();
    return {chunk("{}", reason ? finish_reason_of(*reason) : "")};
  }
  if (type == "message_stop") return {usage_chunk(), "[DONE]"};
  if (!type.empty() && type != "error") return {};  // a kind of event that came later
  return {std::string(data)};
}

void MessageStream::take_usage(const Value& usage) { read_counts(usage_, usage); }

std::string MessageStream::begin_block(const Value& event) {
  const Value block = event["content_block"];
  const std::string_view type = block["type"].string_or("");
  Block& known = blocks_[event["index"].integer().value_or(0)];
  Writer out;
  out.begin_object();
  if (type == "tool_use") {
    known = {true, tools_++};
    out.key("tool_calls");
    out.begin_array();
    out.begin_object();
    out.key("index");
    out.integer(known.tool);
    out.key("id");
    out.string(block["id"].string_or(""));
    out.key("type");
    out.string("function");
    write_function(out, block["name"].string_or(""), "");
    out.end_object();
    out.end_array();
  } else if (type == "text" || type == "thinking") {
    const std::string_view text = block[type].string_or("");
    if (text.empty()) return {};
    out.key(type == "text" ? "content" : "reasoning_content");
    out.string(text);
  } else {
    out.key("anthropic_block");
    out.raw(block.text());
  }
  out.end_object();
  return chunk(out.text(), "");
}

std::string MessageStream::go_on(const Value& event) {
  constexpr std::array<std::array<std::string_view, 3>, 3> kTexts{{
      {"text_delta", "text", "content"},
      {"thinking_delta", "thinking", "reasoning_content"},
      {"signature_delta", "signature", "thinking_signature"},
  }};
  const Value delta = event["delta"];
  const std::string_view type = delta["type"].string_or("");
  const auto found = blocks_.find(event["index"].integer().value_or(0));
  Writer out;
  out.begin_object();
  if (type == "input_json_delta" && found != blocks_.end() && found->second.is_tool) {
    out.key("tool_calls");
    out.begin_array();
    out.begin_object();
    out.key("index");
    out.integer(found->second.tool);
    out.key("function");
    out.begin_object();
    out.key("arguments");
    out.string(delta["partial_json"].string_or(""));
    out.end_object();
    out.end_object();
    out.end_array();
    out.end_object();
    return chunk(out.text(), "");
  }
  for (const auto& [there, field, here] : kTexts) {
    if (type != there) continue;
    out.key(here);
    out.string(delta[field].string_or(""));
    out.end_object();
    return chunk(out.text(), "");
  }
  out.key("anthropic_delta");  // citations and what is still to come: as it is
  out.raw(delta.text());
  out.end_object();
  return chunk(out.text(), "");
}

std::string MessageStream::chunk(std::string_view delta, std::string_view finish_reason) const {
  Writer out(256);
  out.begin_object();
  write_head(out, "chat.completion.chunk", id_, model_, created_);
  out.key("choices");
  out.begin_array();
  out.begin_object();
  out.key("index");
  out.integer(0);
  out.key("delta");
  out.raw(delta);
  out.key("finish_reason");
  if (finish_reason.empty()) {
    out.null();
  } else {
    out.string(finish_reason);
  }
  out.end_object();
  out.end_array();
  out.end_object();
  return std::move(out).take();
}

std::string MessageStream::usage_chunk() const {
  Writer out(256);
  out.begin_object();
  write_head(out, "chat.completion.chunk", id_, model_, created_);
  out.key("choices");
  out.begin_array();
  out.end_array();
  out.key("usage");
  write_usage(out, usage_);
  out.end_object();
  return std::move(out).take();
}

}  // namespace dure::client
