// The request side of OpenAI's wire: what a body asks for, and the body that goes out.
#include <algorithm>
#include <optional>

#include "client/recent_counts.h"
#include "dure/client/anthropic.h"
#include "dure/client/dialect.h"
#include "dure/tokenize/encoding.h"
#include "dure/tokenize/prompt_count.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::client {
namespace {

using json::Value;
using money::BoundKind;

base::Status wrong(std::string_view path, std::string message) {
  return base::invalid_argument("body", std::move(message)).with("path", std::string(path));
}

// We read the first of two members of one name, most providers the last: what is held must not be
// cheaper than what is billed.
base::Status check_keys(const Value& root) {
  const std::optional<std::string> path = json::find_duplicate(root);
  if (!path) return {};
  return wrong(*path, "the key " + *path + " is there twice: leave one out");
}

// Sums tokens and remembers how sure the sum is.
class InputCount {
 public:
  explicit InputCount(const catalog::Model& model) : model_(model) {
    if (!model.tokenizer.empty()) {
      if (auto encoding = tokenize::Encoding::get(model.tokenizer)) encoding_ = *encoding;
    }
    if (encoding_ == nullptr) weaken(BoundKind::kSafe);
  }
  // A byte-level tokenizer that we do not have gives at most one token per byte.
  void text(std::string_view text) {
    tokens_ += encoding_ != nullptr ? RecentCounts::count(*encoding_, text)
                                    : static_cast<std::int64_t>(text.size());
  }
  void tokens(std::int64_t count) { tokens_ += count; }
  void guess() { weaken(BoundKind::kGuess); }
  [[nodiscard]] const catalog::Model& model() const { return model_; }
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }
  [[nodiscard]] BoundKind kind() const { return kind_; }

 private:
  void weaken(BoundKind kind) { kind_ = std::max(kind_, kind); }

  const catalog::Model& model_;
  const tokenize::Encoding* encoding_ = nullptr;
  std::int64_t tokens_ = 0;
  BoundKind kind_ = BoundKind::kExact;
};

void count_image_part(const Value& part, InputCount& input) {
  // The size is not on the wire: the largest that the detail allows is taken. Responses write the
  // detail beside the URL.
  const Value there = part["image_url"]["detail"];
  const std::string_view detail = (there.missing() ? part["detail"] : there).string_or("auto");
  const bool low = detail == "low";
  const std::int64_t side = low ? 512 : 2048;
  const auto image = tokenize::count_image(input.model().id, side, side, low ? "low" : "high");
  input.tokens(image ? image->tokens : 2000);
  input.guess();
}

void count_content(const Value& content, InputCount& input) {
  if (const auto text = content.string()) {
    input.text(*text);
    return;
  }
  for (const Value& part : content.items()) {
    if (const auto text = part["text"].string()) {
      input.text(*text);
    } else if (const auto type = part["type"].string_or("");
               type == "image_url" || type == "input_image") {
      count_image_part(part, input);
    } else {
      input.text(part.text());
      input.guess();
    }
  }
}

void count_message(const Value& message, const tokenize::MessageFormula& formula,
                   InputCount& input) {
  input.tokens(formula.per_message);
  for (const auto& [key, value] : message.members()) {
    if (key == "content") {
      count_content(value, input);
    } else if (key == "name") {
      input.text(value.string_or(""));
      input.tokens(formula.per_name);
    } else if (const auto text = value.string()) {
      input.text(*text);
    } else if (!value.absent()) {
      input.text(value.text());
      input.guess();
    }
  }
}

// Definitions of tools and schemas: their JSON text is a little longer than what is billed.
void count_definitions(const Value& root, InputCount& input) {
  for (const char* name : {"tools", "functions", "response_format"}) {
    const Value value = root[name];
    if (value.absent() || value["type"].string_or("") == "text") continue;
    input.text(value.text());
    input.guess();
  }
}

base::Status count_chat(const Value& root, InputCount& input) {
  const Value messages = root["messages"];
  if (!messages.is_array() || messages.items().empty()) {
    return wrong("messages", "messages must be a list with at least one message");
  }
  const tokenize::MessageFormula formula = tokenize::message_formula(input.model().id);
  input.tokens(formula.per_reply);
  std::size_t index = 0;
  for (const Value& message : messages.items()) {
    if (!message.is_object()) {
      return wrong("messages[" + std::to_string(index) + "]", "a message must be an object");
    }
    count_message(message, formula, input);
    ++index;
  }
  count_definitions(root, input);
  return {};
}

// What Responses bills beyond its items is not published, and parts of the prompt may be stored at
// the provider: a guess in every case.
base::Status count_responses(const Value& root, InputCount& input) {
  input.guess();
  const tokenize::MessageFormula formula = tokenize::message_formula(input.model().id);
  input.tokens(formula.per_reply);
  if (const auto instructions = root["instructions"].string()) {
    input.tokens(formula.per_message + 1);
    input.text(*instructions);
  }
  const Value given = root["input"];
  if (const auto text = given.string()) {
    input.tokens(formula.per_message + 1);
    input.text(*text);
  } else if (given.is_array()) {
    for (const Value& item : given.items()) {
      if (!item.is_object()) return wrong("input", "an item of input must be an object");
      count_message(item, formula, input);
    }
  } else if (!given.absent()) {
    return wrong("input", "input must be text or a list of items");
  }
  for (const char* name : {"tools", "text"}) {
    const Value value = root[name];
    if (!value.absent()) input.text(value.text());
  }
  return {};
}

// What would run on, or be billed, after the answer has come.
base::Status check_response(const Value& root) {
  if (root["background"].boolean().value_or(false)) {
    return wrong("background",
                 "background=true goes on after the answer, so its cost cannot be held: leave it "
                 "out, or send it with Call(metered=False)");
  }
  return {};
}

base::Status count_one_input(const Value& value, InputCount& input) {
  if (const auto text = value.string()) {
    input.text(*text);
  } else if (value.is_array()) {
    input.tokens(static_cast<std::int64_t>(value.items().size()));  // token ids
  } else {
    return wrong("input", "input must be text, token ids, or a list of them");
  }
  return {};
}

base::Status count_embeddings(const Value& root, InputCount& input) {
  const Value value = root["input"];
  const std::vector<Value> items = value.items();
  const bool list = !items.empty() && !items.front().integer();
  if (!list) return count_one_input(value, input);
  for (const Value& item : items) {
    if (base::Status status = count_one_input(item, input); !status.ok()) return status;
  }
  return {};
}

base::Status read_output_limit(const Value& root, const catalog::Model& model, Prepared& out) {
  out.max_output_tokens = model.max_output_tokens;
  for (const char* name : {"max_completion_tokens", "max_tokens", "max_output_tokens"}) {
    const Value value = root[name];
    if (value.absent()) continue;
    const auto limit = value.integer();
    if (!limit || *limit < 1)
      return wrong(name, std::string(name) + " must be a whole number from 1");
    out.output_was_limited = true;
    out.max_output_tokens = std::min(out.max_output_tokens, *limit);
  }
  const Value n = root["n"];
  if (n.absent()) return {};
  const auto choices = n.integer();
  if (!choices || *choices < 1 || *choices > 128) return wrong("n", "n must be 1 to 128");
  out.choices = *choices;
  return {};
}

base::Status check_window(const catalog::Model& model, const Prepared& prepared) {
  if (model.max_input_tokens == 0 || prepared.input_kind == BoundKind::kGuess ||
      prepared.input_tokens <= model.max_input_tokens) {
    return {};
  }
  return base::invalid_argument("messages",
                                "the prompt has " + std::to_string(prepared.input_tokens) +
                                    " tokens, the context window of " + model.id + " " +
                                    std::to_string(model.max_input_tokens) + ": shorten it")
      .with_provider_code("context_length_exceeded");
}

// Members of `root` in their order; `changed` replaces or, where the body lacks it, is added.
std::string rewrite(const Value& root, std::string_view changed, std::string_view json) {
  json::Writer out(256);
  out.begin_object();
  for (const auto& [key, value] : root.members()) {
    if (key == changed) continue;
    out.key(key);
    out.raw(value.text());
  }
  out.key(changed);
  out.raw(json);
  out.end_object();
  return std::move(out).take();
}

// Usage must come with every stream, or it could not be settled exactly.
std::string ask_for_usage(std::string body, const Value& root) {
  const Value options = root["stream_options"];
  if (options.is_object()) {
    return rewrite(root, "stream_options", rewrite(options, "include_usage", "true"));
  }
  if (!options.missing()) return rewrite(root, "stream_options", R"({"include_usage":true})");
  body.insert(body.find('{') + 1, R"("stream_options":{"include_usage":true},)");
  return body;
}

Operation operation_of(std::string_view path) {
  path = path.substr(0, path.find('?'));
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path == "/responses") return Operation::kResponses;
  if (path == "/chat/completions") return Operation::kChat;
  if (path == "/embeddings") return Operation::kEmbeddings;
  return Operation::kUnmetered;
}

// Whether the provider may use more than the body and the answer show: its own tools, a prompt or
// a conversation that it keeps, a search.
bool uses_provider_side(const Value& root) {
  for (const char* name :
       {"previous_response_id", "conversation", "prompt", "web_search_options"}) {
    if (!root[name].absent()) return true;
  }
  const std::vector<Value> tools = root["tools"].items();
  return std::any_of(tools.begin(), tools.end(), [](const Value& tool) {
    const std::string_view type = tool["type"].string_or("function");
    return type != "function" && type != "custom";
  });
}

base::Status forbidden(std::string_view path, const std::string& what, const char* field) {
  return wrong(path, what + " is not allowed for this service: leave it out, or set " + field +
                         " in its policy");
}

bool is_default_tier(std::string_view tier) {
  return tier.empty() || tier == "auto" || tier == "default" || tier == "standard" ||
         tier == "standard_only";
}

base::Status check_tools(const Value& root, const policy::Terms& terms) {
  for (const Value& tool : root["tools"].items()) {
    const std::string_view type = tool["type"].string_or("function");
    if (type == "mcp" && !terms.remote_mcp) return forbidden("tools", "a remote MCP", "remote_mcp");
    const bool ours = type == "function" || type == "custom" || type == "mcp";
    if (!ours && !terms.server_tools) {
      return forbidden("tools", "the provider's tool " + std::string(type), "server_tools");
    }
  }
  const bool searches = !root["web_search_options"].absent();
  if (searches && !terms.server_tools) {
    return forbidden("web_search_options", "the provider's search", "server_tools");
  }
  return {};
}

base::Status check_terms(const Value& root, const policy::Terms& terms) {
  if (root["store"].boolean().value_or(false) && !terms.store) {
    return forbidden("store", "store=true", "store");
  }
  const std::string_view tier = root["service_tier"].string_or("");
  const auto& tiers = terms.service_tiers;
  if (!is_default_tier(tier) && std::find(tiers.begin(), tiers.end(), tier) == tiers.end()) {
    return forbidden("service_tier", "service_tier " + std::string(tier), "service_tiers");
  }
  return check_tools(root, terms);
}

base::Status understand(const Value& root, const catalog::Model& model, Prepared& out) {
  InputCount input(model);
  base::Status status;
  if (out.operation == Operation::kChat) {
    status = count_chat(root, input);
  } else if (out.operation == Operation::kResponses) {
    status = check_response(root);
    if (status.ok()) status = count_responses(root, input);
  } else {
    status = count_embeddings(root, input);
  }
  if (!status.ok()) return status;
  out.input_tokens = input.tokens();
  out.input_kind = input.kind();
  out.canonical = model.id;
  out.hidden_output = model.hidden_output;
  if (out.operation != Operation::kEmbeddings && uses_provider_side(root)) {
    out.hidden_output = out.provider_side = true;
    out.input_kind = BoundKind::kGuess;
  }
  out.service_tier = root["service_tier"].string_or("");
  if (out.operation == Operation::kEmbeddings) {
    out.output_was_limited = true;
    return {};
  }
  if (status = read_output_limit(root, model, out); !status.ok()) return status;
  return check_window(model, out);
}

// Anthropic always streams its usage.
base::Result<Prepared> for_anthropic(const Value& root, const catalog::Model& model, Prepared out) {
  if (out.operation != Operation::kChat) {
    return base::fail(wrong("model",
                            "Anthropic's API has chat completions only: no embeddings, no "
                            "responses"));
  }
  if (out.model.empty()) out.model = model.id;
  auto body = to_messages(root, out.model, out.max_output_tokens);
  if (!body) return base::fail(std::move(body.error()));
  out.body = std::move(*body);
  out.stream = root["stream"].boolean().value_or(false);
  out.hide_usage = !root["stream_options"]["include_usage"].boolean().value_or(false);
  return out;
}

}  // namespace

base::Result<Prepared> prepare(std::string_view path, std::string body, const ModelFinder& models,
                               Wire wire) {
  Prepared out;
  out.operation = operation_of(path);
  if (out.operation == Operation::kUnmetered) {
    out.body = std::move(body);
    return out;
  }
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root) return base::fail(wrong("", "the body is " + root.error().message()));
  if (!root->is_object()) return base::fail(wrong("", "the body must be a JSON object"));
  DURE_RETURN_IF_ERROR(check_keys(*root));
  const Value name = (*root)["model"];
  if (!name.absent() && !name.string()) return base::fail(wrong("model", "model must be text"));
  out.model = name.string_or("");
  const auto model = models.find(out.model);
  if (!model) return base::fail(model.error());
  const policy::Terms* const terms = models.terms();
  if (terms != nullptr) DURE_RETURN_IF_ERROR(check_terms(*root, *terms));
  DURE_RETURN_IF_ERROR(understand(*root, **model, out));
  if (wire == Wire::kAnthropic) return for_anthropic(*root, **model, std::move(out));
  std::string named = std::move(body);
  if (out.model.empty()) {
    out.model = (*model)->id;
    std::string quoted;
    json::append_quoted(quoted, out.model);
    named = rewrite(*root, "model", quoted);
  }
  // Responses are kept by the provider unless told otherwise.
  const bool keeps = out.operation == Operation::kResponses && terms != nullptr && !terms->store &&
                     (*root)["store"].missing();
  if (keeps) named.insert(named.find('{') + 1, R"("store":false,)");
  out.stream =
      out.operation != Operation::kEmbeddings && (*root)["stream"].boolean().value_or(false);
  if (!out.stream || out.operation == Operation::kResponses) {
    out.body = std::move(named);
    return out;
  }
  out.hide_usage = !(*root)["stream_options"]["include_usage"].boolean().value_or(false);
  if (!out.hide_usage) {
    out.body = std::move(named);
    return out;
  }
  json::Parser again;
  const auto rewritten = again.parse(named);
  if (!rewritten) return base::fail(rewritten.error());
  out.body = ask_for_usage(std::move(named), *rewritten);
  return out;
}

std::string with_model(std::string_view body, std::string_view model) {
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root) return std::string(body);
  std::string quoted;
  json::append_quoted(quoted, model);
  return rewrite(*root, "model", quoted);
}

std::string with_output_limit(std::string_view body, std::int64_t tokens) {
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root) return std::string(body);
  const std::string digits = std::to_string(tokens);
  std::string_view name = "max_completion_tokens";
  if (!(*root)["max_tokens"].missing()) name = "max_tokens";
  if ((*root)["messages"].missing() && !(*root)["input"].missing()) name = "max_output_tokens";
  return rewrite(*root, name, digits);
}

std::int64_t count_output_tokens(const catalog::Model& model, std::string_view text) {
  if (text.empty()) return 0;
  InputCount counter(model);
  counter.text(text);
  return counter.tokens();
}

}  // namespace dure::client
