// Which row of a model prices a call: region, hour of the day, size of the input.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dure/catalog/prices.h"

namespace dure::catalog {
namespace {

constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kHour = 3'600;

PriceRow row_of(Pico input) {
  PriceRow row;
  row.rates[static_cast<std::size_t>(Unit::kInput)] = Rate{input, 1};
  return row;
}

std::shared_ptr<const PriceBook> book_of(std::vector<PriceRow> rows) {
  ModelPrices prices;
  prices.model = "local";
  prices.rows = std::move(rows);
  auto book = PriceBook::create({prices});
  EXPECT_TRUE(book.has_value()) << book.error().message();
  return *book;
}

Pico rate(const PriceBook& book, std::string_view region, std::int64_t second, std::int64_t input) {
  const PriceQuery query{.model = "local", .at = {second * 1'000'000}, .region = region};
  return book.find(query, input).value()->rate(Unit::kInput)->pico;
}

TEST(PriceRows, ARegionHasItsOwnAndAllOthersTheStar) {
  PriceRow eu = row_of(20);
  eu.region = "eu";
  PriceRow us = row_of(30);
  us.region = "us";
  const auto book = book_of({eu, row_of(10), us});
  EXPECT_EQ(rate(*book, "eu", 0, 1), 20);
  EXPECT_EQ(rate(*book, "us", 0, 1), 30);
  EXPECT_EQ(rate(*book, "", 0, 1), 10);
  EXPECT_EQ(rate(*book, "ap", 0, 1), 10);
}

TEST(PriceRows, HoursBeginWithTheirFirstSecondAndEndBeforeTheirLast) {
  PriceRow office = row_of(20);
  office.day_from = 8 * kHour;
  office.day_until = 18 * kHour;
  PriceRow night = row_of(5);
  night.day_from = 22 * kHour;
  night.day_until = 6 * kHour;
  const auto book = book_of({row_of(10), office, night});
  const std::int64_t today = 20'000 * kDay;
  const std::vector<std::pair<std::int64_t, Pico>> expected{
      {0, 5},          {6 * kHour - 1, 5},   {6 * kHour, 10},  {8 * kHour - 1, 10},
      {8 * kHour, 20}, {18 * kHour - 1, 20}, {18 * kHour, 10}, {22 * kHour - 1, 10},
      {22 * kHour, 5}, {kDay - 1, 5}};
  for (const auto& [second, pico] : expected) {
    EXPECT_EQ(rate(*book, "", today + second, 1), pico) << second;
    EXPECT_EQ(rate(*book, "", second - 3 * kDay, 1), pico) << "before 1970: " << second;
  }
}

TEST(PriceRows, SizeDecidesInWhateverOrderTheyStand) {
  PriceRow large = row_of(2);
  large.input_over = 1'000;
  PriceRow larger = row_of(3);
  larger.input_over = 5'000;
  for (const auto& rows : {std::vector{larger, large, row_of(1)}, {row_of(1), large, larger}}) {
    const auto book = book_of(rows);
    EXPECT_EQ(rate(*book, "", 0, 1'000), 1);
    EXPECT_EQ(rate(*book, "", 0, 1'001), 2);
    EXPECT_EQ(rate(*book, "", 0, 5'000), 2);
    EXPECT_EQ(rate(*book, "", 0, 5'001), 3);
  }
}

TEST(PriceRows, HoursOutsideOfADayAreRefused) {
  for (const std::int64_t wrong : {std::int64_t{-1}, kDay}) {
    ModelPrices prices;
    prices.model = "local";
    prices.rows = {row_of(1)};
    prices.rows[0].day_from = static_cast<std::int32_t>(wrong);
    EXPECT_FALSE(PriceBook::create({prices}).has_value()) << wrong;
    prices.rows[0].day_from = 0;
    prices.rows[0].day_until = static_cast<std::int32_t>(wrong);
    EXPECT_FALSE(PriceBook::create({prices}).has_value()) << wrong;
  }
}

// Whatever changes a price changes the version that a settled call names.
TEST(PriceRows, TheVersionKnowsEveryColumn) {
  const std::string base = book_of({row_of(1)})->price_version();
  std::vector<PriceRow> changed(7, row_of(1));
  changed[0].day_until = 60;
  changed[1].day_until = 61;
  changed[2].region = "eu";
  changed[3].service_tier = "flex";
  changed[4].mode = "batch";
  changed[5].rates[static_cast<std::size_t>(Unit::kImage)] = Rate{5, 1};  // after units without
  changed[6].rates[static_cast<std::size_t>(Unit::kInput)] = Rate{1, 2};
  std::vector<std::string> versions{base};
  for (const PriceRow& row : changed) {
    const std::string version = book_of({row})->price_version();
    EXPECT_EQ(std::count(versions.begin(), versions.end(), version), 0) << versions.size();
    versions.push_back(version);
  }
}

}  // namespace
}  // namespace dure::catalog
