#include "dure/catalog/prices.h"

#include <algorithm>
#include <span>
#include <utility>

#include "dure/base/hash.h"

namespace dure::catalog {
namespace {

constexpr std::int64_t kAlways = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kDay = 86'400;  // seconds

struct RateData {
  Unit unit = Unit::kCall;
  Pico pico = -1;  // -1: no rate
};
struct RowData {
  std::string_view model;
  std::int64_t from;
  std::int64_t until;
  std::string_view service_tier;
  std::string_view mode;
  std::int64_t input_over;
  std::array<RateData, 12> rates;
};

#include "catalog/price_rows.inc"
#include "catalog/speech_rows.inc"

PriceRow to_row(const RowData& data, std::string_view source) {
  PriceRow row;
  row.from.us = data.from;
  row.until.us = data.until;
  row.service_tier = data.service_tier;
  row.mode = data.mode;
  row.input_over = data.input_over;
  row.source = source;
  for (const RateData& rate : data.rates) {
    if (rate.pico >= 0) row.rates[static_cast<std::size_t>(rate.unit)] = Rate{rate.pico, 1};
  }
  return row;
}

void add_rows(std::vector<ModelPrices>& models, std::span<const RowData> rows,
              std::string_view source) {
  for (const RowData& data : rows) {
    if (models.empty() || models.back().model != data.model) {
      models.push_back({std::string(data.model), {}, {}});
    }
    models.back().rows.push_back(to_row(data, source));
  }
}

std::vector<ModelPrices> shipped_prices() {
  std::vector<ModelPrices> models;
  add_rows(models, kPriceRows, kPriceSource);
  add_rows(models, kSpeechRows, kSpeechSource);
  return models;
}

std::string_view fold_tier(std::string_view tier) noexcept {
  if (tier.empty() || tier == "auto" || tier == "standard" || tier == "standard_only") {
    return "default";
  }
  if (tier == "fast") return "priority";
  return tier;
}

std::string_view fold_mode(std::string_view mode) noexcept {
  return mode.empty() ? std::string_view("standard") : mode;
}

// One decimal text over every field that can change a cost.
std::string canonical_text(std::span<const ModelPrices> models) {
  std::string text;
  const auto add = [&text](std::string_view field) {
    text += field;
    text += '|';
  };
  for (const ModelPrices& model : models) {
    add(model.model);
    for (const std::string& alias : model.aliases) add(alias);
    for (const PriceRow& row : model.rows) {
      add(std::to_string(row.from.us));
      add(std::to_string(row.until.us));
      add(row.service_tier);
      add(row.mode);
      add(std::to_string(row.input_over));
      if (row.region != "*") add(row.region);
      if (row.quality != "*") add("quality " + row.quality);
      if (row.size != "*") add("size " + row.size);
      if (row.day_from != row.day_until) {
        add(std::to_string(row.day_from) + "-" + std::to_string(row.day_until));
      }
      for (std::size_t unit = 0; unit < kUnits; ++unit) {
        if (!row.rates[unit]) continue;
        add(kUnitNames[unit]);
        add(std::to_string(row.rates[unit]->pico) + "/" + std::to_string(row.rates[unit]->per));
      }
      text += '\n';
    }
  }
  return text;
}

bool same_conditions(const PriceRow& a, const PriceRow& b) {
  return a.service_tier == b.service_tier && a.mode == b.mode && a.input_over == b.input_over &&
         a.region == b.region && a.quality == b.quality && a.size == b.size &&
         a.day_from == b.day_from && a.day_until == b.day_until;
}

bool all_day(const PriceRow& row) noexcept { return row.day_from == row.day_until; }

bool holds_at(const PriceRow& row, base::WallTime at) noexcept {
  if (at < row.from || at >= row.until) return false;
  if (all_day(row)) return true;
  const std::int64_t seconds = at.us / 1'000'000 - (at.us % 1'000'000 < 0 ? 1 : 0);
  const std::int64_t of_day = ((seconds % kDay) + kDay) % kDay;
  if (row.day_from < row.day_until) return of_day >= row.day_from && of_day < row.day_until;
  return of_day >= row.day_from || of_day < row.day_until;
}

// What a row says of a request: this, or nothing ("*").
bool fits(std::string_view named, std::string_view asked) noexcept {
  return named == "*" || named == asked;
}

// Whether a request may turn out to be what the row names: it is, or does not say.
bool may_fit(std::string_view named, std::string_view asked) noexcept {
  return asked.empty() || fits(named, asked);
}

// The row that says more about the request comes first: its region, then quality and size of the
// picture, then its hour, then the size of its input.
bool nearer(const PriceRow& row, const PriceRow& best) noexcept {
  if ((row.region != "*") != (best.region != "*")) return row.region != "*";
  const int named = (row.quality != "*" ? 1 : 0) + (row.size != "*" ? 1 : 0);
  const int best_named = (best.quality != "*" ? 1 : 0) + (best.size != "*" ? 1 : 0);
  if (named != best_named) return named > best_named;
  if (all_day(row) != all_day(best)) return !all_day(row);
  return row.input_over > best.input_over;
}

base::Status bad_row(const ModelPrices& model, const std::string& what) {
  return base::invalid_argument("overlay", "price book, " + model.model + ": " + what)
      .with("path", model.model);
}

base::Status check(const ModelPrices& model) {
  for (std::size_t i = 0; i < model.rows.size(); ++i) {
    const PriceRow& row = model.rows[i];
    if (row.from >= row.until) return bad_row(model, "`from` is not before `until`");
    if (row.input_over < 0) return bad_row(model, "input_over is negative");
    for (std::size_t unit = 0; unit < kUnits; ++unit) {
      const auto& rate = row.rates[unit];
      if (rate && (rate->pico < 0 || rate->per <= 0)) {
        return bad_row(model, "the rate of " + std::string(kUnitNames[unit]) + " is negative");
      }
    }
    if (row.day_from < 0 || row.day_from >= kDay || row.day_until < 0 || row.day_until >= kDay) {
      return bad_row(model, "an hour of the day is outside of 00:00 to 24:00");
    }
    const auto follows = [&](const PriceRow& other) {
      return same_conditions(row, other) && other.from >= row.until;
    };
    if (std::any_of(model.rows.begin(), model.rows.end(), follows) &&
        std::none_of(model.rows.begin(), model.rows.end(), [&](const PriceRow& other) {
          return same_conditions(row, other) && other.from == row.until;
        })) {
      return bad_row(model, "no price from " + base::to_iso8601(row.until) +
                                " on, but a later one (" + row.service_tier + ", " + row.mode +
                                ")");
    }
    for (std::size_t j = 0; j < i; ++j) {
      const PriceRow& other = model.rows[j];
      if (same_conditions(row, other) && row.from < other.until && other.from < row.until) {
        return bad_row(model, "two rows overlap in time (" + row.service_tier + ", " + row.mode +
                                  ", input_over " + std::to_string(row.input_over) + ")");
      }
    }
  }
  return {};
}

base::Status unknown_price(std::string_view model, std::string_view axis, base::WallTime at) {
  return base::Status(base::Code::kDenied,
                      "No price is known for " + std::string(model) + ", " + std::string(axis) +
                          ": give one in PriceBook(overlay=...); nothing is free by default")
      .as("UnknownPriceError")
      .with("model", std::string(model))
      .with("unit", std::string(axis))
      .with("at", base::to_iso8601(at));
}

}  // namespace

std::optional<Unit> unit_named(std::string_view text) noexcept {
  for (std::size_t i = 0; i < kUnits; ++i) {
    if (kUnitNames[i] == text) return static_cast<Unit>(i);
  }
  return std::nullopt;
}

std::optional<Unit> parent(Unit unit) noexcept {
  switch (unit) {
    case Unit::kInputCacheRead:
    case Unit::kInputCacheWrite:
    case Unit::kInputAudio:
    case Unit::kInputImage:
    case Unit::kInputVideo:
      return Unit::kInput;
    case Unit::kInputCacheWrite1h:
      return Unit::kInputCacheWrite;
    case Unit::kInputAudioCacheRead:
      return Unit::kInputAudio;
    case Unit::kInputImageCacheRead:
      return Unit::kInputImage;
    case Unit::kInputVideoCacheRead:
      return Unit::kInputVideo;
    case Unit::kOutputReasoning:
    case Unit::kOutputAudio:
    case Unit::kOutputImage:
      return Unit::kOutput;
    default:
      return std::nullopt;
  }
}

std::optional<Rate> PriceRow::rate(Unit unit) const noexcept {
  for (std::optional<Unit> at = unit; at; at = parent(*at)) {
    if (const auto& own = rates[static_cast<std::size_t>(*at)]) return own;
  }
  return std::nullopt;
}

base::Status PriceBook::add(PriceLayer layer) {
  const std::size_t first = models_.size();
  for (ModelPrices& model : layer.models) {
    // A layer of any spelling replaces the prices of the one model it means.
    if (const auto known = Catalog::builtin()->find(model.model)) model.model = (*known)->id;
    if (base::Status status = check(model); !status.ok()) return status;
    models_.push_back(std::move(model));
  }
  for (std::size_t i = first; i < models_.size(); ++i) {
    const ModelPrices& model = models_[i];
    // A name that an earlier layer has stays with it; twice in one layer is a mistake.
    const auto name = by_name_.emplace(model.model, i).first;
    if (name->second >= first && name->second != i) return bad_row(model, "it stands twice");
    for (const std::string& alias : model.aliases) {
      const auto named = by_name_.emplace(alias, i).first;
      if (named->second >= first && named->second != i) {
        return bad_row(model, "the alias " + alias + " stands twice");
      }
    }
  }
  const std::string text = canonical_text(std::span(models_).subspan(first));
  layers_.push_back({std::move(layer.name), base::hex(base::sha256(text), 6)});
  return {};
}

base::Result<std::shared_ptr<const PriceBook>> PriceBook::create(std::vector<PriceLayer> layers) {
  std::shared_ptr<PriceBook> book(new PriceBook());
  layers.push_back({"snapshot", shipped_prices()});
  for (PriceLayer& layer : layers) DURE_RETURN_IF_ERROR(book->add(std::move(layer)));
  book->version_ = base::hex(base::sha256(canonical_text(book->models_)), 6);
  return book;
}

base::Result<std::shared_ptr<const PriceBook>> PriceBook::create(std::vector<ModelPrices> overlay) {
  std::vector<PriceLayer> layers;
  if (!overlay.empty()) layers.push_back({"overlay", std::move(overlay)});
  return create(std::move(layers));
}

const std::shared_ptr<const PriceBook>& PriceBook::builtin() {
  static const std::shared_ptr<const PriceBook> snapshot =
      create(std::vector<PriceLayer>()).value();
  return snapshot;
}

std::string_view PriceBook::canonical(std::string_view model) const {
  const auto own = by_name_.find(model);
  if (own != by_name_.end()) return models_[own->second].model;
  if (const auto known = Catalog::builtin()->find(model)) return (*known)->id;
  return model;
}

const ModelPrices* PriceBook::prices_of(std::string_view model) const {
  auto found = by_name_.find(model);
  const bool by_id = found != by_name_.end() && models_[found->second].model == model;
  if (!by_id) found = by_name_.find(canonical(model));
  return found == by_name_.end() ? nullptr : &models_[found->second];
}

base::Result<const PriceRow*> PriceBook::find(const PriceQuery& query,
                                              std::int64_t total_input) const {
  const ModelPrices* prices = prices_of(query.model);
  if (prices == nullptr) return base::fail(unknown_price(query.model, "any unit", query.at));
  const std::string_view tier = fold_tier(query.service_tier);
  const std::string_view mode = fold_mode(query.mode);
  const PriceRow* best = nullptr;
  for (const PriceRow& row : prices->rows) {
    if (row.service_tier != tier || row.mode != mode) continue;
    if (!fits(row.region, query.region) || !fits(row.quality, query.quality) ||
        !fits(row.size, query.size)) {
      continue;
    }
    if (!holds_at(row, query.at)) continue;
    if (row.input_over > 0 && total_input <= row.input_over) continue;
    if (best == nullptr || nearer(row, *best)) best = &row;
  }
  if (best != nullptr) return best;
  std::string axis = "service tier " + std::string(tier) + ", mode " + std::string(mode);
  if (!query.quality.empty()) axis += ", quality " + std::string(query.quality);
  if (!query.size.empty()) axis += ", size " + std::string(query.size);
  return base::fail(unknown_price(query.model, axis, query.at));
}

base::Result<std::vector<const PriceRow*>> PriceBook::reachable(const PriceQuery& query,
                                                                base::WallTime until,
                                                                std::int64_t max_input) const {
  auto now = find(query, max_input);
  if (!now) return base::fail(std::move(now.error()));
  std::vector<const PriceRow*> rows{*now};
  const std::string_view tier = fold_tier(query.service_tier);
  const std::string_view mode = fold_mode(query.mode);
  // The project's setting decides then, and the answer alone says what it was.
  const bool any_tier = query.service_tier.empty() || query.service_tier == "auto";
  for (const PriceRow& row : prices_of(query.model)->rows) {
    const bool tier_fits = any_tier || row.service_tier == tier || row.service_tier == "default";
    if (!tier_fits || row.mode != mode || &row == *now) continue;
    if (!may_fit(row.region, query.region) || !may_fit(row.quality, query.quality) ||
        !may_fit(row.size, query.size)) {
      continue;
    }
    if (row.until <= query.at || row.from > until) continue;
    if (row.input_over > 0 && max_input <= row.input_over) continue;
    rows.push_back(&row);
  }
  return rows;
}

}  // namespace dure::catalog
