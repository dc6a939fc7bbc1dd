#include "dure/catalog/model.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace dure::catalog {
namespace {

using enum Capability;

constexpr Capabilities kText{kChat, kCodeGeneration, kAnalysis, kStreaming};
constexpr Capabilities kTools{kChat, kCodeGeneration, kAnalysis, kStreaming, kFunctionCalling};
constexpr Capabilities kSees{kChat,      kCodeGeneration,  kAnalysis,
                             kStreaming, kFunctionCalling, kVision};
constexpr Capabilities kFull{kChat,   kCodeGeneration,  kAnalysis, kStreaming, kFunctionCalling,
                             kVision, kStructuredOutput};
constexpr Capabilities kThinks{kChat,   kCodeGeneration,   kAnalysis, kStreaming, kFunctionCalling,
                               kVision, kStructuredOutput, kReasoning};

// Limits, capabilities and dates of retirement: litellm 1.109.1's model table, where it has them
// (2026-11-21); o1-preview and the aliases: OpenAI's model pages of 2024. Context windows:
// genai-prices 0.2.3. Tiers: the four of the seed by its order, the others by price.
constexpr std::string_view kSource = "litellm 1.109.1, genai-prices 0.2.3 (2026-11-21)";

struct Limits {
  std::int64_t context;
  std::int64_t input;
  std::int64_t output;
};

Model text_model(std::string id, Tier tier, Capabilities capabilities, Limits limits,
                 std::string tokenizer, std::string description,
                 std::vector<std::string> aliases = {}, std::string deprecated_on = {}) {
  Model model;
  model.provider = id.starts_with("claude") ? "anthropic" : "openai";
  model.id = std::move(id);
  model.tier = tier;
  model.capabilities = capabilities;
  model.context_window = limits.context;
  model.max_input_tokens = limits.input;
  model.max_output_tokens = limits.output;
  model.tokenizer = std::move(tokenizer);
  model.hidden_output = capabilities.has(kReasoning);
  model.supports_rag = capabilities.has(kChat);
  model.description = std::move(description);
  model.aliases = std::move(aliases);
  model.deprecated_on = std::move(deprecated_on);
  model.source = kSource;
  return model;
}

Model embedder(std::string id, Tier tier, std::string description) {
  return text_model(std::move(id), tier, Capabilities{kEmbedding}, {8192, 8191, 0}, "cl100k_base",
                    std::move(description));
}

// Speech and images. `limits`: tokens of the prompt, and of the answer or of one image; zero where
// the model is billed by time or characters. What OpenAI says of its images: at most 6,240 tokens
// each up to gpt-image-1.5 (image generation guide); later sizes are billed by their usage.
Model media_model(std::string id, Tier tier, Capability capability, Limits limits,
                  std::string description, std::string deprecated_on = {}) {
  const bool tokens = limits.input > 0;
  Model model =
      text_model(std::move(id), tier, Capabilities{capability}, limits, tokens ? "o200k_base" : "",
                 std::move(description), {}, std::move(deprecated_on));
  if (model.id.starts_with("eleven_") || model.id.starts_with("scribe_")) {
    model.provider = "elevenlabs";
  }
  return model;
}

std::vector<Model> media_models() {
  constexpr Limits kByUnit{0, 0, 0};
  constexpr Limits kHeard{18'000, 16'000, 2'000};
  constexpr Limits kDrawn{38'240, 32'000, 6'240};
  const std::string closes = "2027-02-26";
  return {
      media_model("whisper-1", Tier::kMini, kAudio, kByUnit, "Speech to text, by time.", closes),
      media_model("gpt-transcribe", Tier::kMini, kAudio, kByUnit, "Speech to text, by time."),
      media_model("gpt-4o-transcribe", Tier::kStandard, kAudio, kHeard,
                  "Speech to text, by tokens.", closes),
      media_model("gpt-4o-mini-transcribe", Tier::kMini, kAudio, kHeard,
                  "Economical speech to text, by tokens.", closes),
      media_model("tts-1", Tier::kMini, kAudio, kByUnit, "Text to speech, by characters.",
                  "2027-01-06"),
      media_model("tts-1-hd", Tier::kStandard, kAudio, kByUnit,
                  "Finer text to speech, by characters."),
      media_model("gpt-4o-mini-tts", Tier::kMini, kAudio, {22'000, 2'000, 20'000},
                  "Text to speech that follows instructions, by tokens.", "2027-01-06"),
      media_model("gpt-image-1", Tier::kStandard, Capability::kImage, kDrawn, "Images, by tokens.",
                  "2026-10-23"),
      media_model("gpt-image-1-mini", Tier::kMini, Capability::kImage, kDrawn, "Economical images.",
                  "2026-12-01"),
      media_model("gpt-image-1.5", Tier::kStandard, Capability::kImage, kDrawn,
                  "Finer images, by tokens.", "2026-12-01"),
      media_model("gpt-image-2", Tier::kAdvanced, Capability::kImage, {48'000, 32'000, 16'000},
                  "Images of many sizes, by tokens."),
      media_model("eleven_v3", Tier::kStandard, kAudio, kByUnit,
                  "ElevenLabs' expressive speech, by characters."),
      media_model("eleven_multilingual_v2", Tier::kStandard, kAudio, kByUnit,
                  "ElevenLabs' speech in many languages, by characters."),
      media_model("eleven_flash_v2_5", Tier::kMini, kAudio, kByUnit,
                  "ElevenLabs' quick speech, by characters."),
      media_model("scribe_v1", Tier::kMini, kAudio, kByUnit,
                  "ElevenLabs' speech to text, by time."),
      media_model("scribe_v2", Tier::kMini, kAudio, kByUnit,
                  "ElevenLabs' later speech to text, by time."),
  };
}

std::vector<Model> seed_models() {
  return {
      text_model("gpt-4o-mini", Tier::kMini, kFull, {128'000, 128'000, 16'384}, "o200k_base",
                 "Fast and economical; enough for most everyday work."),
      text_model("gpt-4o", Tier::kStandard, kFull, {128'000, 128'000, 16'384}, "o200k_base",
                 "The all-round model: text, tools and images.", {"chatgpt-4o"}),
      text_model("gpt-4-turbo", Tier::kAdvanced, kSees, {128'000, 128'000, 4'096}, "cl100k_base",
                 "GPT-4 with a long context and images.",
                 {"gpt-4-turbo-preview", "gpt-4-1106-preview", "gpt-4-0125-preview"}, "2026-10-23"),
      text_model("o1-preview", Tier::kPremium,
                 {kChat, kCodeGeneration, kAnalysis, kReasoning, kStreaming},
                 {128'000, 128'000, 32'768}, "o200k_base",
                 "Thinks before it answers; for hard problems.", {}, "2025-07-28"),
  };
}

std::vector<Model> further_models() {
  const std::string reasoning = "Reasoning model";
  return {
      text_model("gpt-4o-2024-05-13", Tier::kStandard, kSees, {128'000, 128'000, 4'096},
                 "o200k_base", "The first gpt-4o, at its first price.", {}, "2026-10-23"),
      text_model("gpt-4", Tier::kAdvanced, kTools, {8'192, 8'192, 8'192}, "cl100k_base",
                 "The first GPT-4.", {"gpt-4-0613"}, "2026-10-23"),
      text_model("gpt-3.5-turbo", Tier::kMini, kTools, {16'385, 16'385, 4'096}, "cl100k_base",
                 "The first chat model.", {"gpt-3.5-turbo-0125"}, "2026-10-23"),
      text_model("gpt-4.1", Tier::kStandard, kFull, {1'047'576, 1'047'576, 32'768}, "o200k_base",
                 "Long context, strong at following instructions."),
      text_model("gpt-4.1-mini", Tier::kMini, kFull, {1'047'576, 1'047'576, 32'768}, "o200k_base",
                 "The small gpt-4.1."),
      text_model("gpt-4.1-nano", Tier::kMini, kFull, {1'047'576, 1'047'576, 32'768}, "o200k_base",
                 "The smallest gpt-4.1.", {}, "2026-10-23"),
      text_model("o1", Tier::kPremium, kThinks, {200'000, 200'000, 100'000}, "o200k_base",
                 reasoning + " that followed o1-preview.", {}, "2026-10-23"),
      text_model("o3", Tier::kAdvanced, kThinks, {200'000, 200'000, 100'000}, "o200k_base",
                 reasoning + " for analysis over text, code and images.", {}, "2026-12-11"),
      text_model("o4-mini", Tier::kStandard, kThinks, {200'000, 200'000, 100'000}, "o200k_base",
                 "Small reasoning model.", {}, "2026-10-23"),
      text_model("gpt-5", Tier::kAdvanced, kThinks, {400'000, 272'000, 128'000}, "o200k_base",
                 reasoning + " for code and agents.", {}, "2026-12-11"),
      text_model("gpt-5-mini", Tier::kStandard, kThinks, {400'000, 272'000, 128'000}, "o200k_base",
                 "The small gpt-5.", {}, "2026-12-11"),
      text_model("gpt-5-nano", Tier::kMini, kThinks, {400'000, 272'000, 128'000}, "o200k_base",
                 "The smallest gpt-5.", {}, "2026-12-11"),
      text_model("gpt-5.4", Tier::kAdvanced, kThinks, {1'050'000, 1'050'000, 128'000}, "o200k_base",
                 reasoning + " with a long context."),
      text_model("gpt-5.4-mini", Tier::kStandard, kThinks, {400'000, 272'000, 128'000},
                 "o200k_base", "The small gpt-5.4."),
      text_model("gpt-6-sol", Tier::kAdvanced, kThinks, {1'050'000, 922'000, 128'000}, "",
                 reasoning + " for complex professional work."),
      text_model("gpt-6-luna", Tier::kMini, kThinks, {1'050'000, 922'000, 128'000}, "",
                 "Economical reasoning model."),
      text_model("claude-sonnet-4-5", Tier::kAdvanced, kThinks, {200'000, 200'000, 64'000}, "",
                 "Balanced Claude model.", {}, "2026-11-30"),
      text_model("claude-opus-5-5", Tier::kPremium, kThinks, {1'000'000, 1'000'000, 128'000}, "",
                 "The strongest Claude of the Opus line."),
      text_model("claude-sonnet-5-5", Tier::kAdvanced, kThinks, {1'000'000, 1'000'000, 128'000}, "",
                 "Balanced Claude model with a long context."),
      text_model("claude-haiku-5-5", Tier::kMini, kThinks, {1'000'000, 1'000'000, 128'000}, "",
                 "Economical Claude model."),
      embedder("text-embedding-3-small", Tier::kMini, "Economical embeddings, 1,536 dimensions."),
      embedder("text-embedding-3-large", Tier::kStandard, "Strong embeddings, 3,072 dimensions."),
      embedder("text-embedding-ada-002", Tier::kMini, "The first v2 embeddings."),
  };
}

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The name without "-2024-07-18" or "-20240718" at its end; nullopt if it has neither.
std::optional<std::string_view> without_date(std::string_view name) {
  if (name.size() > 11) {
    const std::string_view tail = name.substr(name.size() - 11);
    if (tail[0] == '-' && tail[5] == '-' && tail[8] == '-' && all_digits(tail.substr(1, 4)) &&
        all_digits(tail.substr(6, 2)) && all_digits(tail.substr(9, 2))) {
      return name.substr(0, name.size() - 11);
    }
  }
  if (name.size() > 9) {
    const std::string_view tail = name.substr(name.size() - 9);
    if (tail[0] == '-' && tail[1] == '2' && all_digits(tail.substr(1))) {
      return name.substr(0, name.size() - 9);
    }
  }
  return std::nullopt;
}

}  // namespace

base::Result<std::shared_ptr<const Catalog>> Catalog::create(std::vector<Model> models) {
  std::shared_ptr<Catalog> catalog(new Catalog(std::move(models)));
  for (std::size_t i = 0; i < catalog->models_.size(); ++i) {
    const Model& model = catalog->models_[i];
    if (model.id.empty()) {
      return base::fail(base::invalid_argument("models", "a model needs an id"));
    }
    std::vector<std::string> names = model.aliases;
    names.push_back(model.id);
    for (std::string& name : names) {
      if (!catalog->by_name_.emplace(name, i).second) {
        return base::fail(base::invalid_argument("models", "the name " + name + " stands twice"));
      }
    }
  }
  return catalog;
}

const std::shared_ptr<const Catalog>& Catalog::builtin() {
  static const std::shared_ptr<const Catalog> snapshot = [] {
    std::vector<Model> models = seed_models();
    for (Model& model : further_models()) models.push_back(std::move(model));
    for (Model& model : media_models()) models.push_back(std::move(model));
    return create(std::move(models)).value();  // the table is checked by tests
  }();
  return snapshot;
}

const Model* Catalog::exact(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : &models_[found->second];
}

base::Result<const Model*> Catalog::find(std::string_view name) const {
  if (const Model* model = exact(name)) return model;
  std::string_view bare = name;
  std::string_view provider;
  if (const std::size_t slash = name.find('/'); slash != std::string_view::npos) {
    provider = name.substr(0, slash);
    bare = name.substr(slash + 1);
  }
  const Model* model = exact(bare);
  if (model == nullptr) {
    if (const auto family = without_date(bare)) model = exact(*family);
  }
  if (model != nullptr && (provider.empty() || provider == model->provider)) return model;
  return base::fail(base::Status(base::Code::kDenied,
                                 "Unknown model " + std::string(name) +
                                     ": name one of dure.MODEL_CATALOG, or add it to a price book")
                        .with("model", std::string(name)));
}

}  // namespace dure::catalog
