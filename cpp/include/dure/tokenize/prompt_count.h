// dure/tokenize/prompt_count.h - what a chat request adds to its texts.
//
// Sources: openai-cookbook "How to count tokens with tiktoken" (messages, tools), OpenAI's images
// guide (tiles and patches). Providers publish no formula for newer models, so a count says
// whether it is exact and where its formula stands.
//
// Thread-safe: pure functions.
#ifndef DURE_TOKENIZE_PROMPT_COUNT_H_
#define DURE_TOKENIZE_PROMPT_COUNT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/result.h"

namespace dure::tokenize {

// What one message costs beyond its texts, and the whole request beyond its messages.
struct MessageFormula {
  int per_message = 3;
  int per_name = 1;
  int per_reply = 3;
  bool exact = false;       // published for this very model, and checked against its API
  std::string_view source;  // where
};

[[nodiscard]] MessageFormula message_formula(std::string_view model) noexcept;

// What function definitions cost beyond their texts.
struct ToolFormula {
  int function_start = 7;
  int properties_start = 3;
  int property = 3;
  int enum_start = -3;
  int enum_item = 3;
  int function_end = 12;
  std::string_view source;
};

[[nodiscard]] ToolFormula tool_formula(std::string_view model) noexcept;

// Tokens of one image. Always an estimate.
struct ImageCount {
  std::int64_t tokens = 0;
  std::string_view source;
};

// `detail`: "low", "high" or "auto" (taken as high). Fails with kInvalidArgument for another
// word, or if a side is not in 1..1,000,000.
[[nodiscard]] base::Result<ImageCount> count_image(std::string_view model, std::int64_t width,
                                                   std::int64_t height, std::string_view detail);

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_PROMPT_COUNT_H_
