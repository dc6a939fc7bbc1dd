#include "client/question.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "client/policy_finder.h"
#include "dure/base/hash.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::client {
namespace {

using json::Kind;
using json::Value;

constexpr std::string_view kVersion = "dure answer 1";
constexpr double kExact = 9007199254740992.0;  // 2^53: reals beyond may stand for several texts

void add_part(std::string& out, std::string_view text) {
  out.append(std::to_string(text.size())).append(":").append(text);
}

// Writes `value` with sorted members; false: it holds a number that is not known exactly.
bool add_value(std::string& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kObject: {
      auto members = value.members();
      std::sort(members.begin(), members.end(),
                [](const auto& a, const auto& b) { return a.first < b.first; });
      out += '{';
      for (const auto& [name, member] : members) {
        json::append_quoted(out, name);
        out += ':';
        if (!add_value(out, member)) return false;
        out += ',';
      }
      out += '}';
      return true;
    }
    case Kind::kArray:
      out += '[';
      for (const Value& item : value.items()) {
        if (!add_value(out, item)) return false;
        out += ',';
      }
      out += ']';
      return true;
    case Kind::kString:
      json::append_quoted(out, *value.string());
      return true;
    case Kind::kReal:
      if (std::abs(*value.number()) >= kExact) return false;
      [[fallthrough]];
    default:
      out += value.text();
      return true;
  }
}

// How an answer travels is no part of the question; events of responses are kept as they came.
bool is_neutral(std::string_view name, Operation operation) {
  return operation == Operation::kChat && (name == "stream" || name == "stream_options");
}

bool add_body(std::string& out, const Value& root, Operation operation) {
  auto members = root.members();
  std::sort(members.begin(), members.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [name, member] : members) {
    if (is_neutral(name, operation)) continue;
    add_part(out, name);
    if (!add_value(out, member)) return false;
  }
  return true;
}

std::string_view org_of(const CallOptions& options) {
  for (const std::string_view scope : options.scopes) {
    if (scope.starts_with("org:")) return scope.substr(4);
  }
  return {};
}

// Without an organisation the provider's key says whose the answers are.
void add_owner(std::string& out, const Plan& plan) {
  const std::string_view org = org_of(plan.options);
  add_part(out, kVersion);
  add_part(out, org.empty() ? "key" : "org");
  add_part(out, org.empty() ? plan.endpoint->key_id(0) : std::string(org));
  add_part(out, plan.endpoint->identity());
  add_part(out, plan.path);
  // Held and settled at other prices is another question: what an answer saves is exact.
  const auto& prices = plan.options.prices;
  add_part(out, prices == nullptr ? std::string() : prices->price_version());
  add_part(out, plan.options.region);
  net::Headers headers = plan.headers;
  std::sort(headers.begin(), headers.end());
  for (const auto& [name, value] : headers) {
    add_part(out, name);
    add_part(out, value);
  }
}

std::optional<Operation> operation_of(std::string_view path) {
  path = path.substr(0, path.find('?'));
  if (path == "/chat/completions") return Operation::kChat;
  if (path == "/embeddings") return Operation::kEmbeddings;
  if (path == "/responses") return Operation::kResponses;
  return std::nullopt;
}

// What is stored at the provider, or runs tools there, is more than its answer.
bool has_effects(const Value& root, Operation operation) {
  if (root["store"].boolean().value_or(false)) return true;
  return operation == Operation::kResponses &&
         (!root["previous_response_id"].absent() || !root["conversation"].absent() ||
          !root["tools"].absent() || root["store"].missing());
}

bool is_settled(const Value& root, Operation operation) {
  if (operation == Operation::kEmbeddings) return true;
  const auto temperature = root["temperature"].number();
  return (temperature && *temperature == 0) || !root["seed"].absent();
}

template <typename Number>
void put_number(std::string& out, Number value) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  out.append(bytes, sizeof(value));
}

// Takes parts off the front; says false once anything was missing.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}
  template <typename Number>
  [[nodiscard]] Number number() {
    Number value{};
    const std::string_view part = take(sizeof(value));
    if (part.size() == sizeof(value)) std::memcpy(&value, part.data(), sizeof(value));
    return value;
  }
  [[nodiscard]] std::string text() { return std::string(take(number<std::uint32_t>())); }
  [[nodiscard]] std::string_view rest() { return std::exchange(bytes_, {}); }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::string_view take(std::size_t size) {
    ok_ = ok_ && size <= bytes_.size();
    if (!ok_) return {};
    const std::string_view part = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return part;
  }
  std::string_view bytes_;
  bool ok_ = true;
};

void put_text(std::string& out, std::string_view text) {
  put_number(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

// The head that every chunk of an answer has.
void write_head(json::Writer& out, const Value& root) {
  for (const auto& [name, value] : root.members()) {
    if (name == "choices" || name == "usage" || name == "object") continue;
    out.key(name);
    out.raw(value.text());
  }
  out.key("object");
  out.string("chat.completion.chunk");
}

void write_tool_calls(json::Writer& out, const Value& calls) {
  out.key("tool_calls");
  out.begin_array();
  std::int64_t index = 0;
  for (const Value& call : calls.items()) {
    out.begin_object();
    out.key("index");
    out.integer(index++);
    for (const auto& [name, value] : call.members()) {
      out.key(name);
      out.raw(value.text());
    }
    out.end_object();
  }
  out.end_array();
}

void write_delta(json::Writer& out, const Value& message) {
  out.key("delta");
  out.begin_object();
  for (const auto& [name, value] : message.members()) {
    if (name == "tool_calls" && value.is_array()) {
      write_tool_calls(out, value);
      continue;
    }
    out.key(name);
    out.raw(value.text());
  }
  out.end_object();
}

// One chunk with all that a choice says, or (`end`) one with how it ended.
std::string choice_chunk(const Value& root, const Value& choice, bool end) {
  json::Writer out(256);
  out.begin_object();
  write_head(out, root);
  out.key("choices");
  out.begin_array();
  out.begin_object();
  out.key("index");
  out.integer(choice["index"].integer().value_or(0));
  if (end) {
    out.key("delta");
    out.raw("{}");
  } else {
    write_delta(out, choice["message"]);
  }
  out.key("logprobs");
  out.raw(end || choice["logprobs"].missing() ? "null" : choice["logprobs"].text());
  out.key("finish_reason");
  out.raw(end && !choice["finish_reason"].missing() ? choice["finish_reason"].text() : "null");
  out.end_object();
  out.end_array();
  out.end_object();
  return std::move(out).take();
}

std::string usage_chunk(const Value& root) {
  json::Writer out(256);
  out.begin_object();
  write_head(out, root);
  out.key("choices");
  out.raw("[]");
  out.key("usage");
  out.raw(root["usage"].text());
  out.end_object();
  return std::move(out).take();
}

}  // namespace

bool may_be_settled(const Plan& plan) {
  return plan.path.starts_with("/embeddings") ||
         plan.body.find("\"temperature\"") != std::string::npos ||
         plan.body.find("\"seed\"") != std::string::npos;
}

std::optional<Question> read_question(const Plan& plan) {
  const auto operation = operation_of(plan.path);
  if (!operation) return std::nullopt;
  json::Parser parser;
  const auto root = parser.parse(plan.body);
  if (!root || !root->is_object() || json::find_duplicate(*root)) return std::nullopt;
  if (has_effects(*root, *operation)) return std::nullopt;
  const Value name = (*root)["model"];
  if (!name.absent() && !name.string()) return std::nullopt;
  const PolicyFinder models(plan.options.service);
  const auto model = models.find(name.string_or(""));
  if (!model) return std::nullopt;
  Question out;
  out.operation = *operation;
  out.model = (*model)->id;
  out.stream = (*root)["stream"].boolean().value_or(false);
  out.wants_usage = (*root)["stream_options"]["include_usage"].boolean().value_or(false);
  out.settled = is_settled(*root, *operation);
  out.identity.reserve(plan.body.size() + 256);
  add_owner(out.identity, plan);
  add_part(out.identity, out.model);
  if (!add_body(out.identity, *root, *operation)) return std::nullopt;
  return out;
}

flow::CacheKey key_of(const Question& question) { return base::sha256(question.identity); }

std::string pack(const Kept& kept) {
  std::string out;
  out.reserve(kept.body.size() + 128);
  put_number(out, std::uint32_t{0});  // the check's place
  put_text(out, kVersion);
  put_number(out, kept.cost);
  put_number(out, kept.input_tokens);
  put_number(out, kept.output_tokens);
  put_text(out, kept.model);
  put_number(out, static_cast<std::uint32_t>(kept.events.size()));
  for (const std::string& event : kept.events) put_text(out, event);
  out += kept.body;
  const std::uint32_t check = base::crc32c(std::string_view(out).substr(sizeof(std::uint32_t)));
  std::memcpy(out.data(), &check, sizeof(check));
  return out;
}

std::optional<Kept> unpack(std::string_view bytes) {
  Unpacker from(bytes);
  const auto check = from.number<std::uint32_t>();
  if (!from.ok() || check != base::crc32c(bytes.substr(sizeof(check)))) return std::nullopt;
  if (from.text() != kVersion) return std::nullopt;
  Kept kept;
  kept.cost = from.number<money::Pico>();
  kept.input_tokens = from.number<std::int64_t>();
  kept.output_tokens = from.number<std::int64_t>();
  kept.model = from.text();
  const auto events = from.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < events && from.ok(); ++i) kept.events.push_back(from.text());
  if (!from.ok()) return std::nullopt;
  kept.body = from.rest();
  return kept;
}

std::vector<std::string> to_chunks(std::string_view body, bool usage) {
  std::vector<std::string> chunks;
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root) return chunks;
  for (const Value& choice : (*root)["choices"].items()) {
    chunks.push_back(choice_chunk(*root, choice, false));
    chunks.push_back(choice_chunk(*root, choice, true));
  }
  if (usage && !(*root)["usage"].absent()) chunks.push_back(usage_chunk(*root));
  return chunks;
}

}  // namespace dure::client
