// dure/client/usage.h - what a provider says a call used, read off the wire.
//
// Usage of one kind is never summed over chunks: the last value of each field wins, because
// providers repeat running totals on every chunk.
//
// Immutable: values and pure functions.
#ifndef DURE_CLIENT_USAGE_H_
#define DURE_CLIENT_USAGE_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "dure/base/result.h"
#include "dure/money/cost.h"

namespace dure::client {

// Fields of a usage object; nullopt: it did not say. Names are those of the chat wire.
struct WireUsage {
  std::optional<std::int64_t> prompt_tokens;      // or input_tokens
  std::optional<std::int64_t> completion_tokens;  // or output_tokens
  std::optional<std::int64_t> total_tokens;
  std::optional<std::int64_t> cached_tokens;
  std::optional<std::int64_t> cache_write_tokens;
  std::optional<std::int64_t> cache_write_1h_tokens;
  std::optional<std::int64_t> prompt_audio_tokens;
  std::optional<std::int64_t> prompt_image_tokens;
  std::optional<std::int64_t> cached_audio_tokens;  // of prompt_audio_tokens and cached_tokens
  std::optional<std::int64_t> cached_image_tokens;
  std::optional<std::int64_t> completion_audio_tokens;
  std::optional<std::int64_t> completion_image_tokens;
  std::optional<std::int64_t> reasoning_tokens;
  std::optional<std::int64_t> web_searches;
  // A field is there and is no count (negative, a fraction, beyond 62 bits, no number at all), or
  // it counts what we know no unit of. Then nothing here is to be billed by: what the call cost is
  // not known.
  bool garbage = false;

  // Something that can be billed was reported.
  [[nodiscard]] bool reported() const noexcept {
    return prompt_tokens.has_value() || completion_tokens.has_value() || total_tokens.has_value();
  }
  // Each field that `later` knows replaces ours; garbage stays.
  void merge(const WireUsage& later) noexcept;
  // As money counts it. A total without parts (embeddings) counts as input.
  [[nodiscard]] money::ReportedUsage as_reported() const noexcept;
};

// Reads a `usage` object given as JSON text; null or an empty object reports nothing. Fails with
// kInvalidArgument for what is no object.
[[nodiscard]] base::Result<WireUsage> read_usage(std::string_view json);

}  // namespace dure::client

#endif  // DURE_CLIENT_USAGE_H_
