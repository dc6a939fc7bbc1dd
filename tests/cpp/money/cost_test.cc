#include "dure/money/cost.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dure::money {
namespace {

using catalog::PriceBook;
using catalog::Unit;

constexpr base::WallTime kNow{1'795'000'000'000'000};  // 2026-11-18

TEST(Amount, ParsesWithoutDouble) {
  EXPECT_EQ(parse_dollars("0.15").value(), 150'000'000'000);
  EXPECT_EQ(parse_dollars("1.5e-07").value(), 150'000);
  EXPECT_EQ(parse_dollars("-2").value(), -2 * kPicoPerDollar);
  EXPECT_EQ(parse_dollars("+2").value(), 2 * kPicoPerDollar);
  EXPECT_EQ(parse_dollars("1E-12").value(), 1);
  EXPECT_EQ(parse_dollars("1e+2").value(), 100 * kPicoPerDollar);
  EXPECT_EQ(parse_dollars("0.0000000000000").value(), 0);
  EXPECT_EQ(parse_dollars("1.000000000000000000").value(), kPicoPerDollar);
  EXPECT_EQ(parse_dollars("9223372.036854775807").value(), 9'223'372'036'854'775'807);
  for (const char* bad : {"", "+", "-", "+-1", "1+", "1e+", "abc", "1,5", "0x10", "1e", "1e-13",
                          "0.0000000000001", "9223373", "1e300", "nan", "inf", "1.2.3", " 1"}) {
    EXPECT_FALSE(parse_dollars(bad).has_value()) << bad;
  }
}

TEST(Amount, ShowsTheShortestExactDecimal) {
  EXPECT_EQ(format_dollars(450'000'000), "0.00045");
  EXPECT_EQ(format_dollars(0), "0");
  EXPECT_EQ(format_dollars(-kPicoPerDollar), "-1");
  EXPECT_EQ(format_dollars(kPicoPerDollar + 1), "1.000000000001");
}

TEST(Amount, RoundsOncePerLine) {
  EXPECT_EQ(multiply(1, {1, 2}, Rounding::kHalfEven).value(), 0);
  EXPECT_EQ(multiply(3, {1, 2}, Rounding::kHalfEven).value(), 2);
  EXPECT_EQ(multiply(5, {1, 2}, Rounding::kHalfEven).value(), 2);
  EXPECT_EQ(multiply(1, {1, 3}, Rounding::kUp).value(), 1);
  EXPECT_EQ(multiply(2, {2, 3}, Rounding::kHalfEven).value(), 1);
  EXPECT_FALSE(multiply(std::int64_t{1} << 62, {4, 1}, Rounding::kHalfEven).has_value());
}

TEST(Cost, TheSeedsCheck) {
  const Usage usage = count_units({.input = 1000, .output = 500});
  const Cost cost =
      money::cost(*PriceBook::builtin(), usage, {.model = "gpt-4o-mini", .at = kNow}).value();
  EXPECT_EQ(cost.pico, 450'000'000);
  ASSERT_EQ(cost.lines.size(), 2U);
  EXPECT_EQ(cost.lines[0].pico, 150'000'000);
  EXPECT_EQ(cost.price_version.size(), 12U);
}

TEST(Cost, PartsAreTakenOutOfTheirWhole) {
  const Usage openai =
      count_units({.input = 1000, .output = 500, .cache_read = 800, .output_reasoning = 300});
  EXPECT_EQ(openai.counts[Unit::kInput], 200);
  EXPECT_EQ(openai.counts[Unit::kInputCacheRead], 800);
  EXPECT_EQ(openai.counts[Unit::kOutput], 200);
  EXPECT_EQ(openai.counts.input_tokens(), 1000);
  EXPECT_EQ(openai.counts.output_tokens(), 500);
  const Usage anthropic =
      count_units({.input_contains_parts = false, .input = 1000, .cache_read = 800});
  EXPECT_EQ(anthropic.counts[Unit::kInput], 1000);
  EXPECT_EQ(anthropic.counts.input_tokens(), 1800);
}

TEST(Cost, NonsenseIsFlaggedAndNeverNegative) {
  const Usage usage = count_units({.input = 10, .output = -5, .cache_read = 25});
  EXPECT_TRUE(has(usage.flags, Flag::kUsageInconsistent));
  EXPECT_EQ(usage.counts[Unit::kInput], 0);
  EXPECT_EQ(usage.counts[Unit::kInputCacheRead], 25);
  EXPECT_EQ(usage.counts[Unit::kOutput], 0);
  constexpr std::int64_t kMost = std::int64_t{1} << 50;
  EXPECT_FALSE(has(count_units({.input = kMost}).flags, Flag::kUsageInconsistent));
  const Usage absurd = count_units({.input = kMost + 1});
  EXPECT_TRUE(has(absurd.flags, Flag::kUsageInconsistent));
  EXPECT_EQ(absurd.counts[Unit::kInput], kMost);
  EXPECT_FALSE(has(count_units({.input = 5, .cache_read = 5}).flags, Flag::kUsageInconsistent));
}

TEST(Cost, EachReportedNumberHasItsUnit) {
  const Usage usage = count_units({.input = 1'000,
                                   .output = 2'000,
                                   .cache_read = 1,
                                   .cache_write = 2,
                                   .cache_write_1h = 3,
                                   .input_audio = 4,
                                   .input_image = 5,
                                   .output_reasoning = 6,
                                   .output_audio = 7,
                                   .output_image = 8,
                                   .web_searches = 9,
                                   .characters = 10,
                                   .milliseconds = 11,
                                   .images = 12,
                                   .video_milliseconds = 13,
                                   .training = 14});
  EXPECT_EQ(usage.flags, Flags{});
  const std::vector<std::pair<Unit, std::int64_t>> expected{
      {Unit::kInput, 985},           {Unit::kInputCacheRead, 1},  {Unit::kInputCacheWrite, 2},
      {Unit::kInputCacheWrite1h, 3}, {Unit::kInputAudio, 4},      {Unit::kInputImage, 5},
      {Unit::kOutput, 1'979},        {Unit::kOutputReasoning, 6}, {Unit::kOutputAudio, 7},
      {Unit::kOutputImage, 8},       {Unit::kWebSearch, 9},       {Unit::kCharacter, 10},
      {Unit::kMillisecond, 11},      {Unit::kImage, 12},          {Unit::kVideoMillisecond, 13},
      {Unit::kTraining, 14}};
  for (const auto& [unit, count] : expected) {
    EXPECT_EQ(usage.counts[unit], count) << catalog::name(unit);
  }
  EXPECT_EQ(usage.counts.input_tokens(), 1'000);
  EXPECT_EQ(usage.counts.output_tokens(), 2'000);
}

TEST(Cost, ThresholdCountsTheWholeInput) {
  const auto price = [](std::int64_t input) {
    return money::cost(*PriceBook::builtin(), count_units({.input = input}),
                       {.model = "gpt-6-luna", .at = kNow})
        .value()
        .pico;
  };
  EXPECT_EQ(price(272'000), 272'000 * 100'000LL);
  EXPECT_EQ(price(272'001), 272'001 * 200'000LL);
}

TEST(Cost, TierAndDateDecide) {
  const Usage usage = count_units({.input = 1000});
  const auto price = [&](std::string_view tier, std::int64_t at) {
    return money::cost(*PriceBook::builtin(), usage,
                       {.model = "o3", .at = {at}, .service_tier = tier});
  };
  EXPECT_EQ(price("", 1'740'000'000'000'000)->pico, 1000 * 10'000'000LL);  // before 2025-06-10
  EXPECT_EQ(price("", kNow.us)->pico, 1000 * 2'000'000LL);
  EXPECT_EQ(price("flex", kNow.us)->pico, 1000 * 1'000'000LL);
  EXPECT_EQ(price("fast", kNow.us)->pico, price("priority", kNow.us)->pico);
  const auto unknown = price("flex", 1'740'000'000'000'000);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().leaf(), "UnknownPriceError");
}

TEST(Cost, NothingIsFree) {
  const auto model = money::cost(*PriceBook::builtin(), count_units({.input = 1}),
                                 {.model = "no-such-model", .at = kNow});
  ASSERT_FALSE(model.has_value());
  EXPECT_EQ(model.error().leaf(), "UnknownPriceError");
  const auto unit = money::cost(*PriceBook::builtin(), count_units({.milliseconds = 5}),
                                {.model = "gpt-4o", .at = kNow});
  ASSERT_FALSE(unit.has_value());
  EXPECT_EQ(std::get<std::string>(*unit.error().detail("unit")), "millisecond");
  EXPECT_EQ(std::get<std::string>(*unit.error().detail("model")), "gpt-4o");
  EXPECT_EQ(std::get<std::string>(*unit.error().detail("at")), base::to_iso8601(kNow));
}

TEST(UpperBound, CoversEveryWayTheCallMayBeBilled) {
  BoundQuery query;
  query.price = {.model = "gpt-6-luna", .at = kNow, .service_tier = "default"};
  query.deadline = {kNow.us + 600'000'000};
  query.input_tokens = 1'000;
  query.max_output_tokens = 200;
  query.choices = 2;
  const Bound bound = upper_bound(*PriceBook::builtin(), query).value();
  EXPECT_EQ(bound.input_pico, 1'000 * 125'000LL);  // as cache writes
  EXPECT_EQ(bound.pico, 1'000 * 125'000LL + 400 * 500'000LL);
  EXPECT_EQ(bound.tokens, 1'400);
  query.price.service_tier = "priority";
  EXPECT_GT(upper_bound(*PriceBook::builtin(), query).value().pico, bound.pico);
  query.choices = 0;
  EXPECT_FALSE(upper_bound(*PriceBook::builtin(), query).has_value());
}

TEST(Cost, ABatchAboveTheThresholdHasItsOwnRow) {
  catalog::ModelPrices prices;
  prices.model = "local";
  prices.rows.resize(4);  // standard and batch, up to the threshold and above it
  for (std::size_t i = 0; i < prices.rows.size(); ++i) {
    prices.rows[i].mode = i < 2 ? "standard" : "batch";
    prices.rows[i].input_over = i % 2 == 0 ? 0 : 272'000;
    prices.rows[i].rates[0] = catalog::Rate{static_cast<Pico>(10 + i), 1};
  }
  const auto book = PriceBook::create({prices}).value();
  const auto rate = [&](std::int64_t input, std::string_view mode) {
    const Usage usage = count_units({.input = input});
    return money::cost(*book, usage, {.model = "local", .at = kNow, .mode = mode}).value().pico /
           input;
  };
  EXPECT_EQ(rate(272'000, ""), 10);
  EXPECT_EQ(rate(272'001, ""), 11);
  EXPECT_EQ(rate(272'000, "batch"), 12);
  EXPECT_EQ(rate(272'001, "batch"), 13);
}

// I8: whatever a text call is billed within its bounds, on every model, its hold was no smaller.
TEST(UpperBound, IsNeverBelowTheCostOfText) {
  std::mt19937_64 chance(20261121);
  const auto upto = [&](std::int64_t most) {
    return most <= 0 ? 0
                     : static_cast<std::int64_t>(chance() % static_cast<std::uint64_t>(most + 1));
  };
  const PriceBook& book = *PriceBook::builtin();
  int priced = 0;
  for (const catalog::ModelPrices& model : book.models()) {
    for (const std::string_view tier : {"", "auto", "default", "flex", "priority"}) {
      for (int round = 0; round < 20; ++round) {
        BoundQuery query;
        query.price = {.model = model.model, .at = kNow, .service_tier = tier};
        query.deadline = {kNow.us + 600'000'000};
        query.input_tokens = upto(round % 2 == 0 ? 2'000 : 400'000);
        query.max_output_tokens = upto(5'000);
        query.choices = 1 + upto(2);
        const auto bound = upper_bound(book, query);
        if (!bound) continue;  // no price for text, or for this tier
        ReportedUsage used;
        used.input = query.input_tokens;
        used.cache_read = upto(used.input);
        used.cache_write = upto(used.input - used.cache_read);
        used.output = upto(query.max_output_tokens * query.choices);
        used.output_reasoning = upto(used.output);
        // Who names no tier is billed by the one that the provider chose.
        const bool any = tier.empty() || tier == "auto";
        for (const std::string_view answered : {"default", "flex", "priority", "scale"}) {
          if (!any && answered != tier && answered != "default") continue;
          catalog::PriceQuery answer = query.price;
          answer.service_tier = answered;
          const auto billed = money::cost(book, count_units(used), answer);
          if (!billed) continue;
          ++priced;
          EXPECT_LE(billed->pico, bound->pico)
              << model.model << " " << tier << " " << answered << " " << round;
        }
      }
    }
  }
  EXPECT_GT(priced, 1'000);
}

// I8 where a unit costs a fraction of a pico-dollar, in every region: each line is rounded by
// itself.
// 3 fresh and 3 cached tokens at half a pico-dollar: two lines of 1.5, each rounded to 2.
TEST(UpperBound, CoversTheRoundingOfEachLine) {
  catalog::ModelPrices prices;
  prices.model = "local";
  prices.rows.resize(1);
  for (const Unit unit : {Unit::kInput, Unit::kOutput}) {
    prices.rows[0].rates[static_cast<std::size_t>(unit)] = catalog::Rate{1, 2};
  }
  const auto book = PriceBook::create({prices}).value();
  BoundQuery query;
  query.price = {.model = "local", .at = kNow};
  query.deadline = kNow;
  query.input_tokens = 6;
  const Usage usage = count_units({.input = 6, .cache_read = 3});
  EXPECT_EQ(money::cost(*book, usage, query.price)->pico, 4);
  EXPECT_EQ(upper_bound(*book, query)->input_pico, 3 + 2);
  EXPECT_EQ(upper_bound(*book, query)->pico, 3 + 2);
}

TEST(UpperBound, IsNeverBelowTheCostOfFractions) {
  std::mt19937_64 chance(7);
  const auto upto = [&](std::int64_t most) {
    return static_cast<std::int64_t>(chance() % static_cast<std::uint64_t>(most + 1));
  };
  for (int round = 0; round < 3'000; ++round) {
    catalog::ModelPrices prices;
    prices.model = "local";
    prices.rows.resize(3);
    for (std::size_t i = 0; i < 3; ++i) {
      prices.rows[i].region = std::vector<std::string>{"*", "eu", "us"}[i];
      for (const Unit unit : {Unit::kInput, Unit::kInputCacheRead, Unit::kInputCacheWrite,
                              Unit::kInputCacheWrite1h, Unit::kOutput, Unit::kOutputReasoning}) {
        prices.rows[i].rates[static_cast<std::size_t>(unit)] = catalog::Rate{upto(5), 1 + upto(6)};
      }
    }
    const auto book = PriceBook::create({prices}).value();
    BoundQuery query;
    query.price = {.model = "local", .at = kNow};
    query.deadline = kNow;
    query.input_tokens = upto(12);
    query.max_output_tokens = upto(6);
    const Bound bound = upper_bound(*book, query).value();
    ReportedUsage used;
    used.input = query.input_tokens;
    used.cache_read = upto(used.input);
    used.cache_write = upto(used.input - used.cache_read);
    used.cache_write_1h = upto(used.input - used.cache_read - used.cache_write);
    used.output = upto(query.max_output_tokens);
    used.output_reasoning = upto(used.output);
    for (const std::string_view region : {"", "eu", "us", "asia"}) {
      query.price.region = region;
      const Cost billed = money::cost(*book, count_units(used), query.price).value();
      ASSERT_LE(billed.pico, bound.pico) << round << " " << region;
    }
  }
}

TEST(UpperBound, WithoutATierOrRegionTakesTheDearestOfAll) {
  catalog::ModelPrices prices;
  prices.model = "local";
  prices.rows.resize(4);
  for (std::size_t i = 0; i < prices.rows.size(); ++i) {
    prices.rows[i].rates[0] = catalog::Rate{static_cast<Pico>(std::vector{10, 20, 30, 5}[i]), 1};
  }
  prices.rows[1].service_tier = "priority";
  prices.rows[2].region = "eu";
  prices.rows[3].service_tier = "flex";
  const auto book = PriceBook::create({prices}).value();
  const auto held = [&](std::string_view tier, std::string_view region) {
    BoundQuery query;
    query.price = {.model = "local", .at = kNow, .service_tier = tier, .region = region};
    query.deadline = kNow;
    query.input_tokens = 1;
    return upper_bound(*book, query).value().pico;
  };
  EXPECT_EQ(held("", "us"), 20);  // the project may be on priority
  EXPECT_EQ(held("auto", "us"), 20);
  EXPECT_EQ(held("default", "us"), 10);
  EXPECT_EQ(held("standard_only", "us"), 10);
  EXPECT_EQ(held("flex", "us"), 10);  // answered by default when flex has no room
  EXPECT_EQ(held("default", "eu"), 30);
  EXPECT_EQ(held("default", ""), 30);  // nobody said where it is billed
}

TEST(Cost, CachedAudioIsTakenOutOfBothThatContainIt) {
  const Usage usage = count_units({.input = 1'000,
                                   .cache_read = 164,
                                   .input_audio = 200,
                                   .input_image = 50,
                                   .input_audio_cached = 64,
                                   .input_image_cached = 10});
  EXPECT_EQ(usage.flags, Flags{});
  EXPECT_EQ(usage.counts[Unit::kInputAudioCacheRead], 64);
  EXPECT_EQ(usage.counts[Unit::kInputAudio], 136);
  EXPECT_EQ(usage.counts[Unit::kInputImageCacheRead], 10);
  EXPECT_EQ(usage.counts[Unit::kInputImage], 40);
  EXPECT_EQ(usage.counts[Unit::kInputCacheRead], 90);
  EXPECT_EQ(usage.counts[Unit::kInput], 660);
  EXPECT_EQ(usage.counts.input_tokens(), 1'000);
  EXPECT_TRUE(has(count_units({.input = 9, .input_audio_cached = 3}).flags,
                  Flag::kUsageInconsistent));  // cached audio, but neither audio nor cached
}

TEST(Cost, CachedVideoIsTakenOutOfBothThatContainIt) {
  const Usage usage = count_units({.input = 100,
                                   .output = 50,
                                   .cache_read = 30,
                                   .input_video = 40,
                                   .input_video_cached = 10,
                                   .output_video = 20});
  EXPECT_EQ(usage.flags, Flags{});
  EXPECT_EQ(usage.counts[Unit::kInputVideoCacheRead], 10);
  EXPECT_EQ(usage.counts[Unit::kInputVideo], 30);
  EXPECT_EQ(usage.counts[Unit::kInputCacheRead], 20);
  EXPECT_EQ(usage.counts[Unit::kInput], 40);
  EXPECT_EQ(usage.counts[Unit::kOutputVideo], 20);
  EXPECT_EQ(usage.counts[Unit::kOutput], 30);
  EXPECT_EQ(usage.counts.input_tokens(), 100);
  EXPECT_EQ(usage.counts.output_tokens(), 50);
}

TEST(UpperBound, TakesTheDearestPriceBeforeTheDeadline) {
  catalog::ModelPrices prices;
  prices.model = "local";
  prices.rows.resize(2);
  prices.rows[0].until = {kNow.us + 1'000};
  prices.rows[1].from = {kNow.us + 1'000};
  for (auto& row : prices.rows) {
    row.rates[0] = catalog::Rate{row.until.us == kNow.us + 1'000 ? 5 : 9, 1};
  }
  const auto book = PriceBook::create({prices}).value();
  BoundQuery query;
  query.price = {.model = "local", .at = kNow};
  query.deadline = {kNow.us + 10};
  query.input_tokens = 10;
  EXPECT_EQ(upper_bound(*book, query).value().pico, 50);
  query.deadline = {kNow.us + 5'000};
  EXPECT_EQ(upper_bound(*book, query).value().pico, 90);
}

}  // namespace
}  // namespace dure::money
