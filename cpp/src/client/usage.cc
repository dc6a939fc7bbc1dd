#include "dure/client/usage.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "client/usage_json.h"

namespace dure::client {
namespace {

using Field = std::optional<std::int64_t>;

// Output of a response that is billed beside its tokens, by prices that no book of ours has.
constexpr std::array<std::string_view, 3> kUnpricedItems{
    "file_search_call", "code_interpreter_call", "image_generation_call"};

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
  // Every count of an object that splits a whole up; nullptr: a part that costs what the whole
  // does. A part of another name is of a kind whose price nobody knows.
  void read_all(const json::Value& details,
                std::initializer_list<std::pair<std::string_view, Field*>> parts) {
    if (!details.is_object()) return;
    for (const auto& [name, value] : details.members()) {
      if (value.absent() || value.is_object()) continue;
      const auto* part = std::find_if(parts.begin(), parts.end(),
                                      [&](const auto& entry) { return entry.first == name; });
      if (part == parts.end()) {
        usage_.garbage = usage_.garbage || value.integer().value_or(0) > 0;
      } else if (part->second != nullptr) {
        read(*part->second, details, name);
      }
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
  take(cached_audio_tokens, later.cached_audio_tokens);
  take(cached_image_tokens, later.cached_image_tokens);
  take(completion_audio_tokens, later.completion_audio_tokens);
  take(completion_image_tokens, later.completion_image_tokens);
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
  reported.input_audio_cached = cached_audio_tokens.value_or(0);
  reported.input_image_cached = cached_image_tokens.value_or(0);
  reported.output_image = completion_image_tokens.value_or(0);
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
    counts.read_all(usage[name], {{"cached_tokens", &out.cached_tokens},
                                  {"cache_write_tokens", &out.cache_write_tokens},
                                  {"cache_write_1h_tokens", &out.cache_write_1h_tokens},
                                  {"audio_tokens", &out.prompt_audio_tokens},
                                  {"image_tokens", &out.prompt_image_tokens},
                                  {"text_tokens", nullptr}});
    counts.read_all(usage[name]["cached_tokens_details"],
                    {{"audio_tokens", &out.cached_audio_tokens},
                     {"image_tokens", &out.cached_image_tokens},
                     {"text_tokens", nullptr}});
  }
  for (const char* name : {"completion_tokens_details", "output_tokens_details"}) {
    counts.read_all(usage[name], {{"audio_tokens", &out.completion_audio_tokens},
                                  {"image_tokens", &out.completion_image_tokens},
                                  {"reasoning_tokens", &out.reasoning_tokens},
                                  {"text_tokens", nullptr},
                                  {"accepted_prediction_tokens", nullptr},
                                  {"rejected_prediction_tokens", nullptr}});
  }
  return out;
}

WireUsage usage_of_response(const json::Value& response) {
  WireUsage out = usage_of(response["usage"]);
  std::int64_t searches = 0;
  for (const json::Value& item : response["output"].items()) {
    const std::string_view type = item["type"].string_or("");
    // Opening a page and finding a word in it are no searches.
    if (type == "web_search_call" && item["action"]["type"].string_or("search") == "search") {
      ++searches;
    }
    out.garbage = out.garbage || std::find(kUnpricedItems.begin(), kUnpricedItems.end(), type) !=
                                     kUnpricedItems.end();
  }
  if (searches > 0) out.web_searches = searches;
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
