#include "dure/tokenize/prompt_count.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace dure::tokenize {
namespace {

constexpr std::string_view kMessages =
    "openai-cookbook, How to count tokens with tiktoken: messages";
constexpr std::string_view kMessagesGuess =
    "openai-cookbook, How to count tokens with tiktoken: messages; not published for this model";
constexpr std::string_view kTools =
    "openai-cookbook, How to count tokens with tiktoken: tools; an estimate";
constexpr std::string_view kTiles = "OpenAI images guide: tiles of 512 px; an estimate";
constexpr std::string_view kPatches = "OpenAI images guide: patches of 32 px; an estimate";
constexpr std::string_view kUnknownImage =
    "OpenAI images guide: tiles as for gpt-4o; not published for this model";

// The cookbook compared its formula with the API for these.
constexpr auto kChecked = std::to_array<std::string_view>(
    {"gpt-3.5-turbo-0125", "gpt-4-0314", "gpt-4-32k-0314", "gpt-4-0613", "gpt-4-32k-0613",
     "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"});

struct TileModel {
  std::string_view prefix;
  std::int64_t base;
  std::int64_t tile;
};
constexpr auto kTileModels = std::to_array<TileModel>({
    {"gpt-4o-mini", 2833, 5667},
    {"gpt-4o", 85, 170},
    {"gpt-4.5", 85, 170},
    {"gpt-4.1", 85, 170},
});

struct PatchModel {
  std::string_view prefix;
  double factor;
};
constexpr auto kPatchModels = std::to_array<PatchModel>({
    {"gpt-4.1-mini", 1.62},
    {"gpt-4.1-nano", 2.46},
    {"gpt-5-mini", 1.62},
    {"gpt-5-nano", 2.46},
    {"o4-mini", 1.72},
});

struct Size {
  double width;
  double height;
};

std::int64_t steps(double length, double step) {
  return static_cast<std::int64_t>(std::ceil(length / step - 1e-9));
}

// Fitted into 2048 x 2048, then the short side to 768; both only ever shrink.
std::int64_t tiles(Size size) {
  const double fit = std::min(1.0, 2048 / std::max(size.width, size.height));
  const double shrink = std::min(1.0, 768 / (fit * std::min(size.width, size.height)));
  const double scale = fit * shrink;
  return steps(size.width * scale, 512) * steps(size.height * scale, 512);
}

// Shrunk until at most 1536 patches cover it, as the guide's formula does.
std::int64_t patches(Size size) {
  constexpr double kSide = 32;
  constexpr std::int64_t kMost = 1536;
  const std::int64_t plain = steps(size.width, kSide) * steps(size.height, kSide);
  if (plain <= kMost) return plain;
  const double shrink =
      std::sqrt(kSide * kSide * static_cast<double>(kMost) / (size.width * size.height));
  const double across = size.width * shrink / kSide;
  const double down = size.height * shrink / kSide;
  const double fit = std::min(std::floor(across) / across, std::floor(down) / down);
  return std::min(kMost, steps(across * fit, 1) * steps(down * fit, 1));
}

}  // namespace

MessageFormula message_formula(std::string_view model) noexcept {
  if (model == "gpt-3.5-turbo-0301") return {4, -1, 3, false, kMessages};
  const bool checked = std::find(kChecked.begin(), kChecked.end(), model) != kChecked.end();
  return {3, 1, 3, checked, checked ? kMessages : kMessagesGuess};
}

ToolFormula tool_formula(std::string_view model) noexcept {
  ToolFormula formula;
  const bool older =
      model.starts_with("gpt-3.5") ||
      (model.starts_with("gpt-4") && !model.starts_with("gpt-4o") && !model.starts_with("gpt-4."));
  if (older) formula.function_start = 10;
  formula.source = kTools;
  return formula;
}

base::Result<ImageCount> count_image(std::string_view model, std::int64_t width,
                                     std::int64_t height, std::string_view detail) {
  constexpr std::int64_t kMost = 1'000'000;
  if (width < 1 || height < 1 || width > kMost || height > kMost) {
    return base::fail(base::invalid_argument(
        "images", "an image side must be 1 to 1,000,000 pixels: give (width, height, detail)"));
  }
  if (detail != "low" && detail != "high" && detail != "auto") {
    return base::fail(base::invalid_argument("images", "detail must be low, high or auto"));
  }
  const Size size{static_cast<double>(width), static_cast<double>(height)};
  for (const PatchModel& known : kPatchModels) {
    if (!model.starts_with(known.prefix)) continue;
    const double tokens = std::ceil(static_cast<double>(patches(size)) * known.factor - 1e-9);
    return ImageCount{static_cast<std::int64_t>(tokens), kPatches};
  }
  TileModel tile{"", 85, 170};
  std::string_view source = kUnknownImage;
  for (const TileModel& known : kTileModels) {
    if (!model.starts_with(known.prefix)) continue;
    tile = known;
    source = kTiles;
    break;
  }
  if (detail == "low") return ImageCount{tile.base, source};
  return ImageCount{tile.base + tile.tile * tiles(size), source};
}

}  // namespace dure::tokenize
