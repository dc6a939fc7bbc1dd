#include "dure/tokenize/model_map.h"

#include <algorithm>
#include <array>

namespace dure::tokenize {
namespace {

constexpr auto kModels = std::to_array<ModelName>({
    {"o1", "o200k_base"},
    {"o3", "o200k_base"},
    {"o4-mini", "o200k_base"},
    {"gpt-5", "o200k_base"},
    {"gpt-4.1", "o200k_base"},
    {"gpt-4o", "o200k_base"},
    {"gpt-4", "cl100k_base"},
    {"gpt-3.5-turbo", "cl100k_base"},
    {"gpt-3.5", "cl100k_base"},
    {"gpt-35-turbo", "cl100k_base"},
    {"davinci-002", "cl100k_base"},
    {"babbage-002", "cl100k_base"},
    {"text-embedding-ada-002", "cl100k_base"},
    {"text-embedding-3-small", "cl100k_base"},
    {"text-embedding-3-large", "cl100k_base"},
    {"text-davinci-003", "p50k_base"},
    {"text-davinci-002", "p50k_base"},
    {"text-davinci-001", "r50k_base"},
    {"text-curie-001", "r50k_base"},
    {"text-babbage-001", "r50k_base"},
    {"text-ada-001", "r50k_base"},
    {"davinci", "r50k_base"},
    {"curie", "r50k_base"},
    {"babbage", "r50k_base"},
    {"ada", "r50k_base"},
    {"code-davinci-002", "p50k_base"},
    {"code-davinci-001", "p50k_base"},
    {"code-cushman-002", "p50k_base"},
    {"code-cushman-001", "p50k_base"},
    {"davinci-codex", "p50k_base"},
    {"cushman-codex", "p50k_base"},
    {"text-davinci-edit-001", "p50k_edit"},
    {"code-davinci-edit-001", "p50k_edit"},
    {"text-similarity-davinci-001", "r50k_base"},
    {"text-similarity-curie-001", "r50k_base"},
    {"text-similarity-babbage-001", "r50k_base"},
    {"text-similarity-ada-001", "r50k_base"},
    {"text-search-davinci-doc-001", "r50k_base"},
    {"text-search-curie-doc-001", "r50k_base"},
    {"text-search-babbage-doc-001", "r50k_base"},
    {"text-search-ada-doc-001", "r50k_base"},
    {"code-search-babbage-code-001", "r50k_base"},
    {"code-search-ada-code-001", "r50k_base"},
    {"gpt2", "gpt2"},
    {"gpt-2", "gpt2"},
});

constexpr auto kPrefixes = std::to_array<ModelName>({
    {"o1-", "o200k_base"},
    {"o3-", "o200k_base"},
    {"o4-mini-", "o200k_base"},
    {"gpt-5", "o200k_base"},
    {"gpt-4.5-", "o200k_base"},
    {"gpt-4.1-", "o200k_base"},
    {"chatgpt-4o-", "o200k_base"},
    {"gpt-4o-", "o200k_base"},
    {"gpt-4-", "cl100k_base"},
    {"gpt-3.5-turbo-", "cl100k_base"},
    {"gpt-35-turbo-", "cl100k_base"},
    {"gpt-oss-", "o200k_harmony"},
    {"ft:gpt-4o", "o200k_base"},
    {"ft:gpt-4", "cl100k_base"},
    {"ft:gpt-3.5-turbo", "cl100k_base"},
    {"ft:davinci-002", "cl100k_base"},
    {"ft:babbage-002", "cl100k_base"},
});

// Fine-tunes that tiktoken does not know, or takes for an older model ("ft:gpt-4.1" starts with
// "ft:gpt-4"): they have the encoding of what was tuned.
constexpr auto kFineTunes = std::to_array<ModelName>({
    {"ft:gpt-4.1", "o200k_base"},
    {"ft:gpt-5", "o200k_base"},
    {"ft:o4-mini", "o200k_base"},
});

constexpr std::string_view kTiktoken = "tiktoken 0.14.0, model.py";
constexpr std::string_view kTuned = "the model that was fine-tuned, by tiktoken 0.14.0, model.py";
constexpr std::string_view kProvider = "the name after the provider, by tiktoken 0.14.0, model.py";
constexpr std::string_view kGuess = "no source: o200k_base, the newest published encoding";

}  // namespace

std::span<const ModelName> models() noexcept { return kModels; }
std::span<const ModelName> model_prefixes() noexcept { return kPrefixes; }

std::optional<std::string_view> encoding_name_for_model(std::string_view model) noexcept {
  const auto exact = std::find_if(kModels.begin(), kModels.end(),
                                  [&](const ModelName& known) { return known.model == model; });
  if (exact != kModels.end()) return exact->encoding;
  const auto prefix = std::find_if(kPrefixes.begin(), kPrefixes.end(), [&](const ModelName& known) {
    return model.starts_with(known.model);
  });
  if (prefix != kPrefixes.end()) return prefix->encoding;
  return std::nullopt;
}

EncodingChoice choose_encoding(std::string_view model) noexcept {
  for (const ModelName& tuned : kFineTunes) {
    if (model.starts_with(tuned.model)) return {tuned.encoding, true, kTuned};
  }
  if (const auto name = encoding_name_for_model(model)) return {*name, true, kTiktoken};
  constexpr std::string_view kOpenai = "openai/";
  if (model.starts_with(kOpenai)) {
    const EncodingChoice choice = choose_encoding(model.substr(kOpenai.size()));
    if (choice.exact) return {choice.encoding, true, kProvider};
  }
  return {"o200k_base", false, kGuess};
}

}  // namespace dure::tokenize
