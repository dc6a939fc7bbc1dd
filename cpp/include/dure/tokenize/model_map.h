// dure/tokenize/model_map.h - which encoding a model uses.
//
// tiktoken 0.14's mapping (model.py): exact names first, then prefixes in its order. `overlay`
// names come first where asked for; each has a source.
//
// Thread-safe: constants.
#ifndef DURE_TOKENIZE_MODEL_MAP_H_
#define DURE_TOKENIZE_MODEL_MAP_H_

#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace dure::tokenize {

struct ModelName {
  std::string_view model;
  std::string_view encoding;
};

// In tiktoken's order.
[[nodiscard]] std::span<const ModelName> models() noexcept;
[[nodiscard]] std::span<const ModelName> model_prefixes() noexcept;

// The encoding's name by tiktoken's rules; nothing for an unknown model.
[[nodiscard]] std::optional<std::string_view> encoding_name_for_model(
    std::string_view model) noexcept;

struct EncodingChoice {
  std::string_view encoding;
  bool exact;               // false: a guess, say so to the user
  std::string_view source;  // where that is written
};

// Never fails: tiktoken's rules, then names that tiktoken does not know (a provider prefix
// "openai/", fine-tunes of newer models), then o200k_base as an estimate.
[[nodiscard]] EncodingChoice choose_encoding(std::string_view model) noexcept;

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_MODEL_MAP_H_
