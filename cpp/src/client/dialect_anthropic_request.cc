// The request side of Anthropic's wire: a chat completion's body as a body for /v1/messages.
#include <algorithm>
#include <array>
#include <optional>

#include "dure/client/anthropic.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::client {
namespace {

using json::Kind;
using json::Value;
using json::Writer;

base::Status wrong(std::string_view path, std::string_view why) {
  return base::invalid_argument("body", std::string(path) + " " + std::string(why))
      .with("path", std::string(path));
}

// What happens to a parameter of chat completions. A name that is not here goes out as it is: it is
// Anthropic's own, or the provider says that it knows none such.
enum class Rule : std::uint8_t {
  kWritten,  // translated by code below
  kNeutral,  // says nothing here: for accounting at OpenAI, or told by our own wire
  kRefused   // has no counterpart: only a value that asks for nothing may be given
};
struct Parameter {
  std::string_view name;
  Rule rule;
};
constexpr std::array kParameters{
    Parameter{"max_completion_tokens", Rule::kWritten},
    Parameter{"max_tokens", Rule::kWritten},
    Parameter{"messages", Rule::kWritten},
    Parameter{"metadata", Rule::kWritten},
    Parameter{"model", Rule::kWritten},
    Parameter{"parallel_tool_calls", Rule::kWritten},
    Parameter{"reasoning_effort", Rule::kWritten},
    Parameter{"response_format", Rule::kWritten},
    Parameter{"safety_identifier", Rule::kWritten},
    Parameter{"service_tier", Rule::kWritten},
    Parameter{"stop", Rule::kWritten},
    Parameter{"tool_choice", Rule::kWritten},
    Parameter{"tools", Rule::kWritten},
    Parameter{"user", Rule::kWritten},
    Parameter{"stream_options", Rule::kNeutral},
    Parameter{"prompt_cache_key", Rule::kNeutral},
    Parameter{"audio", Rule::kRefused},
    Parameter{"frequency_penalty", Rule::kRefused},
    Parameter{"function_call", Rule::kRefused},
    Parameter{"functions", Rule::kRefused},
    Parameter{"logit_bias", Rule::kRefused},
    Parameter{"logprobs", Rule::kRefused},
    Parameter{"modalities", Rule::kRefused},
    Parameter{"n", Rule::kRefused},
    Parameter{"prediction", Rule::kRefused},
    Parameter{"presence_penalty", Rule::kRefused},
    Parameter{"prompt_cache_options", Rule::kRefused},
    Parameter{"prompt_cache_retention", Rule::kRefused},
    Parameter{"seed", Rule::kRefused},
    Parameter{"store", Rule::kRefused},
    Parameter{"top_logprobs", Rule::kRefused},
    Parameter{"verbosity", Rule::kRefused},
    Parameter{"web_search_options", Rule::kRefused},
};

std::optional<Rule> rule_of(std::string_view name) {
  const auto found = std::find_if(kParameters.begin(), kParameters.end(),
                                  [name](const Parameter& one) { return one.name == name; });
  return found == kParameters.end() ? std::nullopt : std::optional(found->rule);
}

// false, 0, an empty container, one choice: the same as leaving it out.
bool asks_for_nothing(std::string_view name, const Value& value) {
  if (value.absent() || (value.boolean() && !*value.boolean())) return true;
  if (name == "n") return value.integer() == 1;
  if (name == "modalities") return value.text() == R"(["text"])";
  if (const auto number = value.number()) return *number == 0 && name != "seed";
  return (value.is_object() || value.is_array()) && value.size() == 0;
}

// Members of `from`, except those named, as they are.
void copy_members(Writer& out, const Value& from, std::initializer_list<std::string_view> except) {
  for (const auto& [key, value] : from.members()) {
    if (std::find(except.begin(), except.end(), key) != except.end()) continue;
    out.key(key);
    out.raw(value.text());
  }
}

void write_text(Writer& out, std::string_view text) {
  out.begin_object();
  out.key("type");
  out.string("text");
  out.key("text");
  out.string(text);
  out.end_object();
}

// "data:TYPE;base64,DATA": {TYPE, DATA}.
std::optional<std::pair<std::string_view, std::string_view>> read_data_url(std::string_view url) {
  constexpr std::string_view kScheme = "data:";
  constexpr std::string_view kMark = ";base64,";
  const auto mark = url.find(kMark);
  if (!url.starts_with(kScheme) || mark == std::string_view::npos) return std::nullopt;
  return std::pair(url.substr(kScheme.size(), mark - kScheme.size()),
                   url.substr(mark + kMark.size()));
}

// {"type": KIND, "source": ...} of an address or of data.
void write_source(Writer& out, std::string_view kind, std::string_view url) {
  out.begin_object();
  out.key("type");
  out.string(kind);
  out.key("source");
  out.begin_object();
  out.key("type");
  if (const auto data = read_data_url(url)) {
    out.string("base64");
    out.key("media_type");
    out.string(data->first);
    out.key("data");
    out.string(data->second);
  } else {
    out.string("url");
    out.key("url");
    out.string(url);
  }
  out.end_object();
  out.end_object();
}

base::Status write_part(Writer& out, const Value& part, const std::string& path) {
  const std::string_view type = part["type"].string_or("");
  if (type == "image_url") {
    const Value url = part["image_url"]["url"];
    if (!url.string()) return wrong(path + ".image_url.url", "must be text");
    write_source(out, "image", *url.string());
    return {};
  }
  if (type == "file") {
    const Value data = part["file"]["file_data"];
    if (!data.string()) return wrong(path + ".file.file_data", "must be a data: URL");
    write_source(out, "document", *data.string());
    return {};
  }
  if (type == "refusal") {
    write_text(out, part["refusal"].string_or(""));
    return {};
  }
  if (type == "input_audio") return wrong(path, "is audio, which Anthropic's API does not take");
  if (!part.is_object() || type.empty()) return wrong(path, "must be an object with a type");
  out.raw(part.text());  // text with or without cache_control, or a block of Anthropic's own
  return {};
}

// The blocks of a message's content, without the brackets.
base::Status write_content(Writer& out, const Value& content, const std::string& path) {
  if (const auto text = content.string()) {
    if (!text->empty()) write_text(out, *text);
    return {};
  }
  if (content.absent()) return {};
  if (!content.is_array()) return wrong(path, "must be text or a list of parts");
  std::size_t index = 0;
  for (const Value& part : content.items()) {
    const std::string at = path + "[" + std::to_string(index++) + "]";
    if (base::Status status = write_part(out, part, at); !status.ok()) return status;
  }
  return {};
}

base::Status write_tool_use(Writer& out, const Value& call, const std::string& path) {
  const Value arguments = call["function"]["arguments"];
  std::string input = "{}";
  if (const auto text = arguments.string(); text && !text->empty()) {
    json::Parser parser;
    const auto parsed = parser.parse(*text);
    if (!parsed || !parsed->is_object()) {
      return wrong(path + ".function.arguments", "must be the text of a JSON object");
    }
    input = parsed->text();
  }
  out.begin_object();
  out.key("type");
  out.string("tool_use");
  out.key("id");
  out.string(call["id"].string_or(""));
  out.key("name");
  out.string(call["function"]["name"].string_or(""));
  out.key("input");
  out.raw(input);
  out.end_object();
  return {};
}

// Thinking goes back only with the signature that came with it.
base::Status write_thinking(Writer& out, const Value& message, const std::string& path) {
  const Value thinking = message["reasoning_content"];
  if (thinking.absent()) return {};
  const Value signature = message["thinking_signature"];
  if (!thinking.string() || !signature.string()) {
    return wrong(path + ".reasoning_content",
                 "goes back to Anthropic's API with its thinking_signature only: leave it out");
  }
  out.begin_object();
  out.key("type");
  out.string("thinking");
  out.key("thinking");
  out.string(*thinking.string());
  out.key("signature");
  out.string(*signature.string());
  out.end_object();
  return {};
}

base::Status write_tool_result(Writer& out, const Value& message, const std::string& path) {
  const Value id = message["tool_call_id"];
  if (!id.string()) return wrong(path + ".tool_call_id", "must be text");
  out.begin_object();
  out.key("type");
  out.string("tool_result");
  out.key("tool_use_id");
  out.string(*id.string());
  out.key("content");
  out.begin_array();
  base::Status status = write_content(out, message["content"], path + ".content");
  out.end_array();
  out.end_object();
  return status;
}

base::Status write_turn(Writer& out, const Value& message, const std::string& path) {
  const std::string_view role = message["role"].string_or("");
  if (role == "tool") return write_tool_result(out, message, path);
  base::Status status = write_thinking(out, message, path);
  if (status.ok()) status = write_content(out, message["content"], path + ".content");
  std::size_t index = 0;
  for (const Value& call : message["tool_calls"].items()) {
    if (!status.ok()) break;
    status = write_tool_use(out, call, path + ".tool_calls[" + std::to_string(index++) + "]");
  }
  return status;
}

std::string_view role_there(std::string_view role) {
  if (role == "tool") return "user";
  return role;
}

bool is_system(const Value& message) {
  const std::string_view role = message["role"].string_or("");
  return role == "system" || role == "developer";
}

base::Status write_system(Writer& out, const std::vector<Value>& messages) {
  if (std::none_of(messages.begin(), messages.end(), is_system)) return {};
  out.key("system");
  out.begin_array();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!is_system(messages[i])) continue;
    const std::string path = "messages[" + std::to_string(i) + "].content";
    base::Status status = write_content(out, messages[i]["content"], path);
    if (!status.ok()) return status;
  }
  out.end_array();
  return {};
}

// Turns of one side that follow each other are one: results of parallel calls must be.
base::Status write_messages(Writer& out, const std::vector<Value>& messages) {
  out.key("messages");
  out.begin_array();
  std::string_view open;  // whose turn is being written
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Value& message = messages[i];
    if (is_system(message)) continue;
    const std::string path = "messages[" + std::to_string(i) + "]";
    const std::string_view role = role_there(message["role"].string_or(""));
    if (role != "user" && role != "assistant") {
      return wrong(path + ".role", "must be system, developer, user, assistant or tool");
    }
    if (role != open) {
      if (!open.empty()) {
        out.end_array();
        out.end_object();
      }
      open = role;
      out.begin_object();
      out.key("role");
      out.string(role);
      out.key("content");
      out.begin_array();
    }
    if (base::Status status = write_turn(out, message, path); !status.ok()) return status;
  }
  if (open.empty()) return wrong("messages", "must hold more than system messages");
  out.end_array();
  out.end_object();
  out.end_array();
  return {};
}

base::Status write_tools(Writer& out, const Value& tools) {
  if (tools.absent()) return {};
  out.key("tools");
  out.begin_array();
  for (const Value& tool : tools.items()) {
    const Value function = tool["function"];
    if (tool["type"].string_or("") != "function" || !function.is_object()) {
      out.raw(tool.text());  // one of Anthropic's own
      continue;
    }
    out.begin_object();
    copy_members(out, function, {"parameters", "strict"});
    if (function["strict"].boolean().value_or(false)) {
      out.key("strict");
      out.boolean(true);
    }
    out.key("input_schema");
    const Value schema = function["parameters"];
    out.raw(schema.absent() ? R"({"type":"object","properties":{}})" : schema.text());
    if (const Value cache = tool["cache_control"]; !cache.absent()) {
      out.key("cache_control");
      out.raw(cache.text());
    }
    out.end_object();
  }
  out.end_array();
  return {};
}

base::Status write_tool_choice(Writer& out, const Value& chat) {
  const Value choice = chat["tool_choice"];
  const bool one_at_a_time = chat["parallel_tool_calls"].boolean() == std::optional(false);
  if (choice.absent() && !one_at_a_time) return {};
  const std::string_view word = choice.absent() ? "auto" : choice.string_or("");
  const Value name = choice["function"]["name"];
  std::string_view type = word == "required" ? "any" : word;
  if (name.string()) type = "tool";
  if (type != "auto" && type != "none" && type != "any" && type != "tool") {
    return wrong("tool_choice", "must be auto, none, required or name a function");
  }
  out.key("tool_choice");
  out.begin_object();
  out.key("type");
  out.string(type);
  if (name.string()) {
    out.key("name");
    out.string(*name.string());
  }
  if (one_at_a_time && type != "none") {
    out.key("disable_parallel_tool_use");
    out.boolean(true);
  }
  out.end_object();
  return {};
}

// How hard to think, and in which form to answer.
base::Status write_output_config(Writer& out, const Value& chat) {
  const Value effort = chat["reasoning_effort"];
  const Value format = chat["response_format"];
  const std::string_view kind = format["type"].string_or("text");
  const bool has_schema = !format.absent() && kind != "text";
  if (has_schema && kind != "json_schema") {
    return wrong("response_format", "must be text or json_schema for Anthropic's API");
  }
  if (!chat["output_config"].absent()) {
    if (effort.absent() && !has_schema) return {};  // copied with the others
    return wrong("output_config", "is given twice: by reasoning_effort or response_format too");
  }
  if (effort.absent() && !has_schema) return {};
  out.key("output_config");
  out.begin_object();
  if (!effort.absent()) {
    const std::string_view word = effort.string_or("");
    if (word != "low" && word != "medium" && word != "high" && word != "xhigh" && word != "max") {
      return wrong("reasoning_effort",
                   "must be low, medium, high, xhigh or max for Anthropic's API");
    }
    out.key("effort");
    out.string(word);
  }
  if (has_schema) {
    out.key("format");
    out.begin_object();
    out.key("type");
    out.string("json_schema");
    out.key("schema");
    out.raw(format["json_schema"]["schema"].text());
    out.end_object();
  }
  out.end_object();
  return {};
}

base::Status write_user(Writer& out, const Value& chat) {
  Value user = chat["safety_identifier"];
  if (user.absent()) user = chat["user"];
  const Value metadata = chat["metadata"];
  for (const auto& [key, value] : metadata.members()) {
    if (key != "user_id") {
      return wrong("metadata." + std::string(key), "is not kept by Anthropic's API: only user_id");
    }
    user = value;
  }
  if (!user.string()) return {};
  out.key("metadata");
  out.begin_object();
  out.key("user_id");
  out.string(*user.string());
  out.end_object();
  return {};
}

base::Status write_stop(Writer& out, const Value& stop) {
  if (stop.absent()) return {};
  out.key("stop_sequences");
  if (const auto text = stop.string()) {
    out.begin_array();
    out.string(*text);
    out.end_array();
  } else {
    out.raw(stop.text());
  }
  return {};
}

base::Status write_tier(Writer& out, const Value& tier) {
  if (tier.absent()) return {};
  const std::string_view word = tier.string_or("");
  if (word != "auto" && word != "default" && word != "standard_only") {
    return wrong("service_tier", "must be auto or default for Anthropic's API");
  }
  out.key("service_tier");
  out.string(word == "auto" ? "auto" : "standard_only");
  return {};
}

base::Status copy_others(Writer& out, const Value& chat) {
  for (const auto& [key, value] : chat.members()) {
    const auto rule = rule_of(key);
    if (!rule) {
      out.key(key);
      out.raw(value.text());
    } else if (*rule == Rule::kRefused && !asks_for_nothing(key, value)) {
      return wrong(key, "has no counterpart in Anthropic's API: leave it out");
    }
  }
  return {};
}

}  // namespace

base::Result<std::string> to_messages(const Value& chat, std::string_view model,
                                      std::int64_t max_tokens) {
  const std::vector<Value> messages = chat["messages"].items();
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    max_tokens = chat[name].integer().value_or(max_tokens);
  }
  constexpr std::string_view kPrefix = "anthropic/";
  if (model.starts_with(kPrefix)) model.remove_prefix(kPrefix.size());
  Writer out(512);
  out.begin_object();
  out.key("model");
  out.string(model);
  out.key("max_tokens");
  out.integer(max_tokens);
  DURE_RETURN_IF_ERROR(write_system(out, messages));
  DURE_RETURN_IF_ERROR(write_messages(out, messages));
  DURE_RETURN_IF_ERROR(write_tools(out, chat["tools"]));
  DURE_RETURN_IF_ERROR(write_tool_choice(out, chat));
  DURE_RETURN_IF_ERROR(write_output_config(out, chat));
  DURE_RETURN_IF_ERROR(write_user(out, chat));
  DURE_RETURN_IF_ERROR(write_stop(out, chat["stop"]));
  DURE_RETURN_IF_ERROR(write_tier(out, chat["service_tier"]));
  DURE_RETURN_IF_ERROR(copy_others(out, chat));
  out.end_object();
  return std::move(out).take();
}

}  // namespace dure::client
