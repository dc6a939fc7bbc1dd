// dure/catalog/prices.h - effective-dated prices in integer pico-dollars (1e-12 $) per unit.
//
// A row holds the rates of one model from one instant, for one service tier, mode, region, quality
// and size of pictures, size of input and time of day. Layers: a model that a layer prices is
// priced by that layer alone; the shipped snapshot is the last. A model, unit, tier or date without
// a price is an error (UnknownPriceError), never zero.
//
// Immutable.
#ifndef DURE_CATALOG_PRICES_H_
#define DURE_CATALOG_PRICES_H_

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dure/base/clock.h"
#include "dure/base/result.h"
#include "dure/catalog/model.h"

namespace dure::catalog {

using Pico = std::int64_t;  // 1e-12 dollars

// What is counted. Units are disjoint: a cached token is not also an input token.
enum class Unit : std::uint8_t {
  kInput,
  kInputCacheRead,
  kInputCacheWrite,
  kInputCacheWrite1h,
  kInputAudio,
  kInputAudioCacheRead,
  kInputImage,
  kInputImageCacheRead,
  kOutput,
  kOutputReasoning,
  kOutputAudio,
  kOutputImage,
  kWebSearch,
  kCharacter,
  kMillisecond,
  kImage,
  kCall,
  kInputVideo,  // from here on as they were added: ledgers hold the numbers
  kInputVideoCacheRead,
  kOutputVideo,
  kVideoMillisecond,
  kTraining,  // tokens of a fine-tuning job
};
inline constexpr std::size_t kUnits = 22;
inline constexpr std::array<std::string_view, kUnits> kUnitNames{"input.text",
                                                                 "input.text.cache_read",
                                                                 "input.text.cache_write",
                                                                 "input.text.cache_write_1h",
                                                                 "input.audio",
                                                                 "input.audio.cache_read",
                                                                 "input.image",
                                                                 "input.image.cache_read",
                                                                 "output.text",
                                                                 "output.reasoning",
                                                                 "output.audio",
                                                                 "output.image",
                                                                 "search.web",
                                                                 "character",
                                                                 "millisecond",
                                                                 "image",
                                                                 "call",
                                                                 "input.video",
                                                                 "input.video.cache_read",
                                                                 "output.video",
                                                                 "video.millisecond",
                                                                 "training"};

[[nodiscard]] constexpr std::string_view name(Unit unit) noexcept {
  return kUnitNames[static_cast<std::size_t>(unit)];
}
[[nodiscard]] std::optional<Unit> unit_named(std::string_view text) noexcept;
// The unit whose price counts where `unit` has none of its own (reasoning -> output text, cache
// read -> input, ...); nullopt: none, the price must be there.
[[nodiscard]] std::optional<Unit> parent(Unit unit) noexcept;
// Tokens are what token limits count; searches, characters, images, time and training are not.
[[nodiscard]] constexpr bool is_input_token(Unit unit) noexcept {
  return unit <= Unit::kInputImageCacheRead || unit == Unit::kInputVideo ||
         unit == Unit::kInputVideoCacheRead;
}
[[nodiscard]] constexpr bool is_token(Unit unit) noexcept {
  return unit <= Unit::kOutputImage || is_input_token(unit) || unit == Unit::kOutputVideo;
}

// `pico` for `per` units: $0.006 a minute is {6'000'000'000, 60'000} per millisecond.
struct Rate {
  Pico pico = 0;
  std::int64_t per = 1;  // > 0
  friend bool operator==(const Rate&, const Rate&) = default;
};

// Prices of one model under one set of conditions.
struct PriceRow {
  base::WallTime from{std::numeric_limits<std::int64_t>::min()};
  base::WallTime until{std::numeric_limits<std::int64_t>::max()};  // exclusive
  std::string service_tier = "default";  // default | flex | priority | scale
  std::string mode = "standard";         // standard | batch
  std::string region = "*";              // the provider's; "*": where no row names the region
  std::string quality = "*";             // of images and videos; "*": where no row names it
  std::string size = "*";                // likewise, as the provider writes it: "1024x1024"
  std::int64_t input_over = 0;           // holds when total input tokens > this (0: always)
  // Holds from `day_from` to before `day_until`, seconds after midnight UTC; over midnight if it
  // is later. Equal: all day, where no row names the hour.
  std::int32_t day_from = 0;
  std::int32_t day_until = 0;
  std::array<std::optional<Rate>, kUnits> rates{};
  std::string source;  // where the price was read, with the date

  // The rate of `unit`, its parent's where it has none; nullopt: no price.
  [[nodiscard]] std::optional<Rate> rate(Unit unit) const noexcept;
};

struct ModelPrices {
  std::string model;  // canonical id, or a name that only the overlay knows
  std::vector<std::string> aliases;
  std::vector<PriceRow> rows;
};

// Prices from one source: a call's, an organisation's contract, a user's file, the snapshot.
struct PriceLayer {
  std::string name;
  std::vector<ModelPrices> models;
};
struct LayerVersion {
  std::string name;
  std::string version;  // 12 hexadecimal digits over its rows
};

// Which row: the moment of sending, the tier that the response names, the whole input.
struct PriceQuery {
  std::string_view model;
  base::WallTime at;
  // Empty, "auto", "standard", "standard_only": default; "fast": priority.
  std::string_view service_tier = {};
  std::string_view mode = {};     // empty: standard
  std::string_view region = {};   // empty: any, the rows of "*"
  std::string_view quality = {};  // likewise; a row that names one is never taken for another
  std::string_view size = {};
};

class PriceBook {
 public:
  // The first of `layers` that knows a model prices it; the snapshot is added as the last. Fails
  // with kInvalidArgument (detail "path" = model) when rows of one model overlap in time or leave
  // a gap, a rate is negative or a name is twice in a layer.
  [[nodiscard]] static base::Result<std::shared_ptr<const PriceBook>> create(
      std::vector<PriceLayer> layers);
  // The same with one layer, "overlay".
  [[nodiscard]] static base::Result<std::shared_ptr<const PriceBook>> create(
      std::vector<ModelPrices> overlay);
  // The snapshot shipped with this build. Lives for ever.
  [[nodiscard]] static const std::shared_ptr<const PriceBook>& builtin();

  // The row for `query` and `total_input` tokens. Fails with kDenied, leaf UnknownPriceError,
  // details model, unit (the missing axis), at. The pointer lives as long as this.
  [[nodiscard]] base::Result<const PriceRow*> find(const PriceQuery& query,
                                                   std::int64_t total_input) const;
  // Every row that a call sent in [at, until] with up to `max_input` tokens may be billed by, for
  // upper bounds: the tier asked for or the default one; no tier or "auto": every tier, for the
  // provider chooses. Without a region, quality or size: every one.
  [[nodiscard]] base::Result<std::vector<const PriceRow*>> reachable(const PriceQuery& query,
                                                                     base::WallTime until,
                                                                     std::int64_t max_input) const;
  // The canonical id under which `model` is priced; the name itself if only the overlay knows it.
  [[nodiscard]] std::string_view canonical(std::string_view model) const;
  // 12 hexadecimal digits over every row of every layer.
  [[nodiscard]] const std::string& price_version() const noexcept { return version_; }
  [[nodiscard]] const std::vector<ModelPrices>& models() const noexcept { return models_; }
  // In the order in which they are asked; the last is "snapshot".
  [[nodiscard]] const std::vector<LayerVersion>& layers() const noexcept { return layers_; }

 private:
  PriceBook() = default;
  [[nodiscard]] const ModelPrices* prices_of(std::string_view model) const;

  base::Status add(PriceLayer layer);

  std::vector<ModelPrices> models_;
  std::vector<LayerVersion> layers_;
  struct NameHash {  // looks up by string_view too
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept {
      return std::hash<std::string_view>()(name);
    }
  };
  std::unordered_map<std::string, std::size_t, NameHash, std::equal_to<>> by_name_;
  std::string version_;
};

}  // namespace dure::catalog

#endif  // DURE_CATALOG_PRICES_H_
