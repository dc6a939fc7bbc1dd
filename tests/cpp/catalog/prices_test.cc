#include "dure/catalog/prices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace dure::catalog {
namespace {

TEST(Catalog, EverySpellingIsOneModel) {
  const Catalog& catalog = *Catalog::builtin();
  for (const char* name : {"gpt-4o-mini", "openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"}) {
    EXPECT_EQ(catalog.find(name).value()->id, "gpt-4o-mini") << name;
  }
  EXPECT_EQ(catalog.find("gpt-4o-2024-05-13").value()->id, "gpt-4o-2024-05-13");  // own price
  EXPECT_EQ(catalog.find("claude-sonnet-4-5-20250929").value()->id, "claude-sonnet-4-5");
  for (const char* name : {"", "gpt-4o-minis", "anthropic/gpt-4o", "gpt-4o-2024-7-18", "GPT-4o"}) {
    const auto found = catalog.find(name);
    ASSERT_FALSE(found.has_value()) << name;
    EXPECT_EQ(found.error().code(), base::Code::kDenied);
  }
}

TEST(Catalog, EveryModelIsWhole) {
  for (const Model& model : Catalog::builtin()->models()) {
    EXPECT_FALSE(model.description.empty()) << model.id;
    EXPECT_FALSE(model.source.empty()) << model.id;
    EXPECT_FALSE(model.capabilities.empty()) << model.id;
    const auto row =
        PriceBook::builtin()->find({.model = model.id, .at = {1'795'000'000'000'000}}, 1);
    ASSERT_TRUE(row.has_value()) << model.id;
    const bool by_tokens = (*row)->rate(Unit::kInput).has_value();
    const bool by_unit = (*row)->rate(Unit::kCharacter) || (*row)->rate(Unit::kMillisecond);
    EXPECT_NE(by_tokens, by_unit) << model.id;
    EXPECT_EQ(by_tokens, model.max_input_tokens > 0) << model.id;
    EXPECT_GE(model.context_window, model.max_input_tokens) << model.id;
    EXPECT_EQ(model.max_output_tokens == 0,
              by_unit || model.capabilities.has(Capability::kEmbedding))
        << model.id;
  }
}

TEST(Catalog, SpeechIsPricedByTimeAndCharacters) {
  const PriceBook& book = *PriceBook::builtin();
  const auto rate = [&](const char* model, Unit unit) {
    return (*book.find({.model = model, .at = {1'795'000'000'000'000}}, 0).value())
        .rate(unit)
        ->pico;
  };
  EXPECT_EQ(rate("whisper-1", Unit::kMillisecond) * 60'000, 6'000'000'000);  // $0.006 a minute
  EXPECT_EQ(rate("tts-1", Unit::kCharacter) * 1'000'000, 15'000'000'000'000);
  EXPECT_EQ(rate("elevenlabs/eleven_multilingual_v2", Unit::kCharacter), 80'000'000);
  EXPECT_EQ(Catalog::builtin()->find("scribe_v2").value()->provider, "elevenlabs");
}

TEST(Catalog, TheSeedsPricesArePinned) {
  const std::pair<const char*, std::pair<Pico, Pico>> kPins[] = {
      {"gpt-4o-mini", {150'000, 600'000}},
      {"gpt-4o", {2'500'000, 10'000'000}},
      {"gpt-4-turbo", {10'000'000, 30'000'000}},
      {"o1-preview", {15'000'000, 60'000'000}},
  };
  for (const auto& [model, prices] : kPins) {
    for (const std::int64_t at : {0LL, 1'795'000'000'000'000LL}) {
      const PriceRow* row = PriceBook::builtin()->find({.model = model, .at = {at}}, 1).value();
      EXPECT_EQ(row->rate(Unit::kInput)->pico, prices.first) << model;
      EXPECT_EQ(row->rate(Unit::kOutput)->pico, prices.second) << model;
    }
  }
}

ModelPrices local(std::size_t rows) {
  ModelPrices model;
  model.model = "local";
  model.rows.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    model.rows[i].rates[0] = Rate{static_cast<Pico>(i + 1), 1};
  }
  return model;
}

TEST(PriceBook, AnOverlayStandsBeforeTheSnapshot) {
  ModelPrices mine;
  mine.model = "openai/gpt-4o";
  mine.rows.resize(1);
  mine.rows[0].rates[0] = Rate{7, 1};
  const auto book = PriceBook::create({mine}).value();
  const auto rate = [&](const char* model) {
    return book->find({.model = model, .at = {0}}, 1).value()->rate(Unit::kInput)->pico;
  };
  EXPECT_EQ(rate("gpt-4o"), 7);
  EXPECT_EQ(rate("gpt-4o-mini"), 150'000);
  EXPECT_NE(book->price_version(), PriceBook::builtin()->price_version());
}

// Also by a name that only a lower layer knows.
TEST(PriceBook, TheFirstLayerPricesAModelByEachOfItsNames) {
  ModelPrices mine = local(1);
  ModelPrices theirs = local(1);
  theirs.rows[0].rates[0] = Rate{5, 1};
  theirs.aliases = {"theirs"};
  const auto book = PriceBook::create({{"contract", {mine}}, {"user", {theirs}}}).value();
  for (const char* model : {"local", "theirs"}) {
    EXPECT_EQ(book->find({.model = model, .at = {0}}, 1).value()->rate(Unit::kInput)->pico, 1);
    EXPECT_EQ(book->canonical(model), "local");
  }
}

TEST(PriceBook, RefusesWhatContradictsItself) {
  ModelPrices model;
  model.model = "m";
  model.rows.resize(2);
  EXPECT_FALSE(PriceBook::create({model}).has_value()) << "overlap";
  model.rows.resize(1);
  EXPECT_TRUE(PriceBook::create({model}).has_value());
  EXPECT_FALSE(PriceBook::create({model, model}).has_value()) << "twice";
  model.rows[0].rates[0] = Rate{-1, 1};
  EXPECT_FALSE(PriceBook::create({model}).has_value()) << "negative";
}

std::string version_of(const ModelPrices& model) {
  return PriceBook::create({model}).value()->price_version();
}

TEST(PriceBook, EveryFieldThatChangesACostChangesTheVersion) {
  ModelPrices plain = local(1);
  plain.rows[0].rates[static_cast<std::size_t>(Unit::kOutput)] = Rate{5, 1};
  const auto changed = [&](const auto& change) {
    ModelPrices model = plain;
    change(model.rows[0]);
    return version_of(model);
  };
  std::vector<std::string> versions{
      version_of(plain), changed([](PriceRow& row) { row.day_from = 60; }),
      changed([](PriceRow& row) { row.day_until = 60; }),
      changed([](PriceRow& row) { row.region = "eu"; }),
      changed([](PriceRow& row) { row.quality = "eu"; }),
      changed([](PriceRow& row) { row.size = "eu"; }),
      changed([](PriceRow& row) { row.input_over = 7; }),
      changed([](PriceRow& row) { row.service_tier = "flex"; }),
      changed([](PriceRow& row) { row.mode = "batch"; }),
      changed([](PriceRow& row) { row.from.us = 7; }),
      changed([](PriceRow& row) { row.until.us = 7; }),
      // Behind units that have no rate of their own.
      changed([](PriceRow& row) { row.rates[static_cast<std::size_t>(Unit::kOutput)]->pico = 6; }),
      changed([](PriceRow& row) { row.rates[static_cast<std::size_t>(Unit::kOutput)]->per = 6; }),
      changed([](PriceRow& row) { row.rates[kUnits - 1] = Rate{5, 1}; })};
  std::sort(versions.begin(), versions.end());
  EXPECT_EQ(std::adjacent_find(versions.begin(), versions.end()), versions.end());
}

TEST(PriceBook, HoursBeginAndEndToTheSecond) {
  ModelPrices model = local(2);
  model.rows[1].day_from = 16 * 3600;
  model.rows[1].day_until = 17 * 3600;
  const auto book = PriceBook::create({model}).value();
  const auto rate = [&](std::int64_t second) {
    const std::int64_t day = 20'000LL * 86'400;
    const base::WallTime at{(day + second) * 1'000'000};
    return book->find({.model = "local", .at = at}, 1).value()->rate(Unit::kInput)->pico;
  };
  EXPECT_EQ(rate(16 * 3600 - 1), 1);
  EXPECT_EQ(rate(16 * 3600), 2);
  EXPECT_EQ(rate(17 * 3600 - 1), 2);
  EXPECT_EQ(rate(17 * 3600), 1);
  for (const auto& [from, until] :
       {std::pair(86'400, 0), std::pair(0, 86'400), std::pair(-1, 0), std::pair(0, -1)}) {
    model.rows[1].day_from = from;
    model.rows[1].day_until = until;
    EXPECT_FALSE(PriceBook::create({model}).has_value()) << from << " " << until;
  }
  model.rows[1].day_from = 86'399;
  EXPECT_FALSE(PriceBook::create({model}).has_value());
  model.rows[1].day_until = 1;
  EXPECT_TRUE(PriceBook::create({model}).has_value());
}

TEST(PriceBook, RegionAndThresholdChooseInAnyOrderOfRows) {
  ModelPrices model = local(4);
  model.rows[0].input_over = 1'000;
  model.rows[1].region = "eu";
  model.rows[2].region = "us";
  const auto book = PriceBook::create({model}).value();
  const auto rate = [&](const char* region, std::int64_t input) {
    return book->find({.model = "local", .at = {0}, .region = region}, input)
        .value()
        ->rate(Unit::kInput)
        ->pico;
  };
  EXPECT_EQ(rate("", 1'000), 4);
  EXPECT_EQ(rate("", 1'001), 1);
  EXPECT_EQ(rate("eu", 1), 2);
  EXPECT_EQ(rate("us", 1), 3);
  EXPECT_EQ(rate("asia", 1), 4);
}

TEST(PriceBook, PicturesCostByQualityAndSize) {
  ModelPrices model;
  model.model = "local";
  model.rows.resize(4);
  constexpr auto kImage = static_cast<std::size_t>(Unit::kImage);
  for (std::size_t i = 0; i < 4; ++i) model.rows[i].rates[kImage] = Rate{Pico(10 * (i + 1)), 1};
  model.rows[1].size = "1024x1024";
  model.rows[2].quality = "hd";
  model.rows[2].size = "1024x1024";
  model.rows[3].quality = "hd";
  model.rows[3].size = "1792x1024";
  const auto rate_of = [](const PriceBook& book, const char* quality, const char* size) {
    const auto row = book.find({.model = "local", .at = {0}, .quality = quality, .size = size}, 0);
    return row ? (*row)->rate(Unit::kImage)->pico : -1;
  };
  const auto book = PriceBook::create({model}).value();
  EXPECT_EQ(rate_of(*book, "", ""), 10);
  EXPECT_EQ(rate_of(*book, "standard", "1024x1024"), 20);
  EXPECT_EQ(rate_of(*book, "hd", "1024x1024"), 30);
  EXPECT_EQ(rate_of(*book, "hd", "1792x1024"), 40);
  EXPECT_EQ(rate_of(*book, "hd", "512x512"), 10);
  // Whoever does not say which may be billed by any of them.
  EXPECT_EQ(book->reachable({.model = "local", .at = {0}}, {0}, 0).value().size(), 4U);
  EXPECT_EQ(book->reachable({.model = "local", .at = {0}, .quality = "hd"}, {0}, 0).value().size(),
            4U);
  EXPECT_EQ(book->reachable({.model = "local", .at = {0}, .quality = "low", .size = "1x1"}, {0}, 0)
                .value()
                .size(),
            1U);
  model.rows.erase(model.rows.begin(), model.rows.begin() + 2);  // no row for the rest
  const auto strict = PriceBook::create({model}).value();
  EXPECT_EQ(rate_of(*strict, "hd", "1792x1024"), 40);
  EXPECT_EQ(rate_of(*strict, "standard", "1792x1024"), -1) << "never another picture's price";
  EXPECT_EQ(rate_of(*strict, "", ""), -1);
  const auto missing =
      strict->find({.model = "local", .at = {0}, .quality = "low", .size = "1x1"}, 0);
  EXPECT_EQ(missing.error().leaf(), "UnknownPriceError");
  EXPECT_NE(missing.error().message().find("quality low, size 1x1"), std::string::npos);
}

TEST(PriceRow, MissingUnitsTakeTheirParentsPrice) {
  PriceRow row;
  row.rates[static_cast<std::size_t>(Unit::kInput)] = Rate{3, 1};
  EXPECT_EQ(row.rate(Unit::kInputCacheWrite1h)->pico, 3);
  EXPECT_FALSE(row.rate(Unit::kOutputReasoning).has_value());
  EXPECT_FALSE(row.rate(Unit::kWebSearch).has_value());
  EXPECT_EQ(row.rate(Unit::kInputVideoCacheRead)->pico, 3);
  EXPECT_FALSE(row.rate(Unit::kOutputVideo).has_value()) << "a film is no text";
  EXPECT_FALSE(row.rate(Unit::kTraining).has_value());
  EXPECT_TRUE(is_token(Unit::kOutputVideo));
  EXPECT_FALSE(is_input_token(Unit::kOutputVideo));
  EXPECT_TRUE(is_input_token(Unit::kInputVideo));
  EXPECT_FALSE(is_token(Unit::kTraining));
  EXPECT_FALSE(is_token(Unit::kVideoMillisecond));
}

}  // namespace
}  // namespace dure::catalog
