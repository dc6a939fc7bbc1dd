#include "dure/client/usage.h"

#include "client/usage_json.h"

namespace dure::client {
namespace {

using Field = std::optional<std::int64_t>;

void take(Field& into, const Field& later) noexcept {
  if (later) into = later;
}

// Reads the counts of one object; remembers whether one of them was none.
class Counts {
 public:
  explicit Counts(WireUsage& usage) : usage_(usage) {}
  void read(Field& into, const json::Value& object, std::string_view name) {
    const json::Value value = object[name];
    if (value.absent()) return;
    const Field count = value.integer();
    if (count && *count >= 0) {
      into = count;
    } else {
      usage_.garbage = true;
    }
  }

 private:
  WireUsage& usage_;
};

}  // namespace

void WireUsage::merge(const WireUsage& later) noexcept {
  take(prompt_tokens, later.prompt_tokens);
  take(completion_tokens, later.completion_tokens);
  take(total_tokens, later.total_tokens);
  take(cached_tokens, later.cached_tokens);
  take(cache_write_tokens, later.cache_write_tokens);
  take(cache_write_1h_tokens, later.cache_write_1h_tokens);
  take(prompt_audio_tokens, later.prompt_audio_tokens);
  take(prompt_image_tokens, later.prompt_image_tokens);
  take(completion_audio_tokens, later.completion_audio_tokens);
  take(reasoning_tokens, later.reasoning_tokens);
  take(web_searches, later.web_searches);
  garbage = garbage || later.garbage;
}

money::ReportedUsage WireUsage::as_reported() const noexcept {
  money::ReportedUsage reported;
  reported.input_contains_parts = true;
  reported.input = prompt_tokens.value_or(0);
  reported.output = completion_tokens.value_or(0);
  if (!prompt_tokens && total_tokens) reported.input = *total_tokens - reported.output;
  reported.cache_read = cached_tokens.value_or(0);
  reported.cache_write = cache_write_tokens.value_or(0);
  reported.cache_write_1h = cache_write_1h_tokens.value_or(0);
  reported.input_audio = prompt_audio_tokens.value_or(0);
  reported.input_image = prompt_image_tokens.value_or(0);
  reported.output_reasoning = reasoning_tokens.value_or(0);
  reported.web_searches = web_searches.value_or(0);
  reported.output_audio = completion_audio_tokens.value_or(0);
  return reported;
}

WireUsage usage_of(const json::Value& usage) {
  WireUsage out;
  if (!usage.is_object()) return out;
  Counts counts(out);
  for (const char* name : {"input_tokens", "prompt_tokens"}) {
    counts.read(out.prompt_tokens, usage, name);
  }
  for (const char* name : {"output_tokens", "completion_tokens"}) {
    counts.read(out.completion_tokens, usage, name);
  }
  counts.read(out.total_tokens, usage, "total_tokens");
  counts.read(out.web_searches, usage, "web_search_requests");
  for (const char* name : {"prompt_tokens_details", "input_tokens_details"}) {
    const json::Value details = usage[name];
    counts.read(out.cached_tokens, details, "cached_tokens");
    counts.read(out.cache_write_tokens, details, "cache_write_tokens");
    counts.read(out.cache_write_1h_tokens, details, "cache_write_1h_tokens");
    counts.read(out.prompt_audio_tokens, details, "audio_tokens");
    counts.read(out.prompt_image_tokens, details, "image_tokens");
  }
  for (const char* name : {"completion_tokens_details", "output_tokens_details"}) {
    const json::Value details = usage[name];
    counts.read(out.completion_audio_tokens, details, "audio_tokens");
    counts.read(out.reasoning_tokens, details, "reasoning_tokens");
  }
  return out;
}

base::Result<WireUsage> read_usage(std::string_view json) {
  json::Parser parser;
  const auto root = parser.parse(json);
  if (!root) return base::fail(root.error());
  if (!root->is_object() && !root->absent()) {
    return base::fail(base::invalid_argument("usage", "usage must be a JSON object"));
  }
  return usage_of(*root);
}

}  // namespace dure::client
