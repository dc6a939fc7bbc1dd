#include "dure/money/cost.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace dure::money {
namespace {

using catalog::Unit;

constexpr std::array<std::string_view, 13> kFlagNames{
    "estimated", "possible_spend", "overrun", "usage_inconsistent", "cached",    "coalesced",
    "hedge",     "batch",          "stage",   "conflict",           "recovered", "detached",
    "shrunk"};

// Far above any real usage, far below overflow of sums.
constexpr std::int64_t kMostTokens = std::int64_t{1} << 50;

base::Status bad_count(std::string_view what) {
  return base::invalid_argument("usage", std::string(what) + " is negative or absurdly large");
}

base::Status no_price(const catalog::PriceQuery& query, Unit unit) {
  return base::Status(base::Code::kDenied,
                      "No price is known for " + std::string(query.model) + ", " +
                          std::string(catalog::name(unit)) +
                          ": give one in PriceBook(overlay=...); nothing is free by default")
      .as("UnknownPriceError")
      .with("model", std::string(query.model))
      .with("unit", std::string(catalog::name(unit)))
      .with("at", base::to_iso8601(query.at));
}

// Takes `part` out of `whole`; a part larger than what is left counts in full and is flagged.
std::int64_t take(std::int64_t& whole, std::int64_t part, Flags& flags) {
  if (part > whole) flags = flags | Flag::kUsageInconsistent;
  whole = std::max<std::int64_t>(whole - part, 0);
  return part;
}

std::int64_t cleaned(std::int64_t reported, Flags& flags) {
  if (reported >= 0 && reported <= kMostTokens) return reported;
  flags = flags | Flag::kUsageInconsistent;
  return reported < 0 ? 0 : kMostTokens;
}

struct Dearest {
  const std::vector<const catalog::PriceRow*>& rows;
  const catalog::PriceQuery& query;

  // The highest cost of `count` units, however they are spread over `units`, in any row.
  [[nodiscard]] base::Result<Pico> of(std::int64_t count, std::initializer_list<Unit> units) const {
    Pico highest = 0;
    if (count == 0) return highest;
    bool fractional = false;
    for (const catalog::PriceRow* row : rows) {
      for (const Unit unit : units) {
        const auto rate = row->rate(unit);
        if (!rate) return base::fail(no_price(query, unit));
        const auto pico = multiply(count, *rate, Rounding::kUp);
        if (!pico) return base::fail(pico.error());
        highest = std::max(highest, *pico);
        fractional = fractional || (rate->per != 1 && rate->pico % rate->per != 0);
      }
    }
    if (!fractional) return highest;
    // A settlement rounds each line to the nearest pico-dollar: half a one too much a line.
    const auto lines = std::min(count, static_cast<std::int64_t>(units.size()));
    if (highest > std::numeric_limits<Pico>::max() - lines)
      return base::fail(bad_count("the bound"));
    return highest + lines / 2;
  }
};

// All bits of a unit that counts, none of one that does not: a sum without branches.
using Masks = std::array<std::int64_t, catalog::kUnits>;
template <typename Counts>
constexpr Masks masks_of(Counts counts) {
  Masks masks{};
  for (std::size_t i = 0; i < masks.size(); ++i) masks[i] = counts(static_cast<Unit>(i)) ? -1 : 0;
  return masks;
}
constexpr Masks kOfInput = masks_of([](Unit unit) { return catalog::is_input_token(unit); });
constexpr Masks kOfOutput =
    masks_of([](Unit unit) { return catalog::is_token(unit) && !catalog::is_input_token(unit); });

std::int64_t sum_of(const Masks& counts, const Masks& masks) noexcept {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) sum += counts[i] & masks[i];
  return sum;
}

}  // namespace

std::vector<std::string_view> flag_names(Flags flags) {
  std::vector<std::string_view> names;
  for (std::size_t bit = 0; bit < kFlagNames.size(); ++bit) {
    if ((flags >> bit & 1U) != 0) names.push_back(kFlagNames[bit]);
  }
  return names;
}

std::int64_t UnitCounts::input_tokens() const noexcept { return sum_of(counts_, kOfInput); }

std::int64_t UnitCounts::output_tokens() const noexcept { return sum_of(counts_, kOfOutput); }

Usage count_units(const ReportedUsage& reported) noexcept {
  Usage usage;
  Flags& flags = usage.flags;
  std::int64_t input = cleaned(reported.input, flags);
  std::int64_t output = cleaned(reported.output, flags);
  const auto part = [&](std::int64_t& whole, std::int64_t count, bool contained) {
    const std::int64_t clean = cleaned(count, flags);
    return contained ? take(whole, clean, flags) : clean;
  };
  const bool contained = reported.input_contains_parts;
  UnitCounts& counts = usage.counts;
  std::int64_t read = cleaned(reported.cache_read, flags);
  std::int64_t audio = cleaned(reported.input_audio, flags);
  std::int64_t image = cleaned(reported.input_image, flags);
  std::int64_t video = cleaned(reported.input_video, flags);
  // What was read from the cache and is no text: once, out of both that contain it.
  const auto cached = [&](std::int64_t& modality, std::int64_t count) {
    const std::int64_t clean = part(modality, count, true);
    return part(read, clean, true);
  };
  counts[Unit::kInputAudioCacheRead] = cached(audio, reported.input_audio_cached);
  counts[Unit::kInputImageCacheRead] = cached(image, reported.input_image_cached);
  counts[Unit::kInputVideoCacheRead] = cached(video, reported.input_video_cached);
  for (const Unit unit :
       {Unit::kInputAudioCacheRead, Unit::kInputImageCacheRead, Unit::kInputVideoCacheRead}) {
    (void)part(input, counts[unit], contained);
  }
  counts[Unit::kInputCacheRead] = part(input, read, contained);
  counts[Unit::kInputCacheWrite] = part(input, reported.cache_write, contained);
  counts[Unit::kInputCacheWrite1h] = part(input, reported.cache_write_1h, contained);
  counts[Unit::kInputAudio] = part(input, audio, contained);
  counts[Unit::kInputImage] = part(input, image, contained);
  counts[Unit::kInputVideo] = part(input, video, contained);
  counts[Unit::kInput] = input;
  counts[Unit::kOutputReasoning] = part(output, reported.output_reasoning, true);
  counts[Unit::kOutputAudio] = part(output, reported.output_audio, true);
  counts[Unit::kOutputImage] = part(output, reported.output_image, true);
  counts[Unit::kOutputVideo] = part(output, reported.output_video, true);
  counts[Unit::kOutput] = output;
  counts[Unit::kWebSearch] = cleaned(reported.web_searches, flags);
  counts[Unit::kCharacter] = cleaned(reported.characters, flags);
  counts[Unit::kMillisecond] = cleaned(reported.milliseconds, flags);
  counts[Unit::kImage] = cleaned(reported.images, flags);
  counts[Unit::kVideoMillisecond] = cleaned(reported.video_milliseconds, flags);
  counts[Unit::kTraining] = cleaned(reported.training, flags);
  return usage;
}

base::Result<Cost> cost(const catalog::PriceBook& prices, const Usage& usage,
                        const catalog::PriceQuery& query) {
  const auto row = prices.find(query, usage.counts.input_tokens());
  if (!row) return base::fail(row.error());
  Cost cost;
  cost.price_version = prices.price_version();
  cost.flags = usage.flags;
  cost.lines.reserve(4);
  base::int128 total = 0;
  for (std::size_t i = 0; i < catalog::kUnits; ++i) {
    const Unit unit = static_cast<Unit>(i);
    const std::int64_t quantity = usage.counts[unit];
    if (quantity == 0) continue;
    if (quantity < 0) return base::fail(bad_count(catalog::name(unit)));
    const auto rate = (*row)->rate(unit);
    if (!rate) return base::fail(no_price(query, unit));
    const auto pico = multiply(quantity, *rate, Rounding::kHalfEven);
    if (!pico) return base::fail(pico.error());
    cost.lines.push_back({unit, quantity, *rate, *pico});
    total += *pico;
  }
  if (total > std::numeric_limits<Pico>::max()) return base::fail(bad_count("the total"));
  cost.pico = static_cast<Pico>(total);
  return cost;
}

base::Result<Bound> upper_bound(const catalog::PriceBook& prices, const BoundQuery& query) {
  if (query.input_tokens < 0 || query.input_tokens > kMostTokens) {
    return base::fail(bad_count("input_tokens"));
  }
  if (query.max_output_tokens < 0 || query.max_output_tokens > kMostTokens) {
    return base::fail(bad_count("max_output_tokens"));
  }
  if (query.choices < 1 || query.choices > 4096) {
    return base::fail(base::invalid_argument("n", "n must be between 1 and 4096"));
  }
  const auto rows = prices.reachable(query.price, query.deadline, query.input_tokens);
  if (!rows) return base::fail(rows.error());
  const Dearest dearest{*rows, query.price};
  const auto input = dearest.of(
      query.input_tokens,
      {Unit::kInput, Unit::kInputCacheRead, Unit::kInputCacheWrite, Unit::kInputCacheWrite1h});
  if (!input) return base::fail(input.error());
  const std::int64_t outputs = query.choices * query.max_output_tokens;
  const auto output = dearest.of(outputs, {Unit::kOutput, Unit::kOutputReasoning});
  if (!output) return base::fail(output.error());
  const auto rate = dearest.of(outputs > 0 ? 1 : 0, {Unit::kOutput, Unit::kOutputReasoning});
  if (!rate) return base::fail(rate.error());
  if (*input > std::numeric_limits<Pico>::max() - *output) {
    return base::fail(bad_count("the bound"));
  }
  Bound bound;
  bound.pico = *input + *output;
  bound.tokens = query.input_tokens + outputs;
  bound.input_pico = *input;
  bound.input_tokens = query.input_tokens;
  bound.output_rate = *rate;
  bound.choices = query.choices;
  bound.max_output_tokens = query.max_output_tokens;
  bound.kind = query.input_kind;
  bound.may_shrink = !query.output_was_limited;
  bound.hidden_output = query.hidden_output;
  bound.provider_side = query.provider_side;
  return bound;
}

}  // namespace dure::money
