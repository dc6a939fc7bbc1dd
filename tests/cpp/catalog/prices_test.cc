#include "dure/catalog/prices.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

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
    EXPECT_GT(model.max_input_tokens, 0) << model.id;
    EXPECT_GE(model.context_window, model.max_input_tokens) << model.id;
    EXPECT_EQ(model.max_output_tokens == 0, model.capabilities.has(Capability::kEmbedding));
    const auto row =
        PriceBook::builtin()->find({.model = model.id, .at = {1'795'000'000'000'000}}, 1);
    ASSERT_TRUE(row.has_value()) << model.id;
    EXPECT_TRUE((*row)->rate(Unit::kInput).has_value()) << model.id;
  }
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

TEST(PriceRow, MissingUnitsTakeTheirParentsPrice) {
  PriceRow row;
  row.rates[static_cast<std::size_t>(Unit::kInput)] = Rate{3, 1};
  EXPECT_EQ(row.rate(Unit::kInputCacheWrite1h)->pico, 3);
  EXPECT_FALSE(row.rate(Unit::kOutputReasoning).has_value());
  EXPECT_FALSE(row.rate(Unit::kWebSearch).has_value());
}

}  // namespace
}  // namespace dure::catalog
