#include <gtest/gtest.h>

#include "dure/policy/select.h"
#include "dure/policy/service_policy.h"

namespace dure::policy {
namespace {

constexpr base::WallTime kNow{1'795'000'000'000'000};

TEST(PolicyBook, DefaultsPassAndSomethingFails) {
  const PolicyBook& book = *PolicyBook::builtin();
  ASSERT_EQ(book.policies().size(), 3U);
  for (const ServicePolicy& policy : book.policies()) {
    EXPECT_EQ(book.validate("", policy.service_name).value()->id, policy.default_model);
    int refused = 0;
    for (const auto& model : book.catalog().models()) {
      refused += book.validate(model.id, policy.service_name).has_value() ? 0 : 1;
    }
    EXPECT_GT(refused, 0) << policy.service_name;
  }
  EXPECT_EQ(book.find("StrategyBuilder").value()->default_model, "gpt-4o-mini");
  EXPECT_EQ(book.find("NarrativeReport").value()->default_model, "gpt-4o");
  EXPECT_EQ(book.find("ChatOpsAdvanced").value()->default_model, "gpt-4o");
}

TEST(PolicyBook, DeniesByDefaultInTheSeedsWords) {
  const PolicyBook& book = *PolicyBook::builtin();
  const auto tier = book.validate("gpt-4-turbo", "StrategyBuilder");
  ASSERT_FALSE(tier.has_value());
  EXPECT_EQ(tier.error().message(), "Model gpt-4-turbo not allowed for service StrategyBuilder");
  EXPECT_EQ(tier.error().http_status(), 400);
  EXPECT_FALSE(book.validate("o1-preview", "ChatOpsAdvanced").has_value());  // lacks tools
  EXPECT_FALSE(book.validate("nonsense", "StrategyBuilder").has_value());
  EXPECT_FALSE(book.validate("gpt-4o", "NoSuchService").has_value());
  EXPECT_EQ(book.find("NoSuchService").error().code(), base::Code::kNotFound);
  EXPECT_EQ(book.validate("openai/gpt-4o", "ChatOpsAdvanced").value()->id, "gpt-4o");
}

TEST(PolicyBook, RefusesAPolicyThatDeniesItsDefault) {
  ServicePolicy policy{"S", {catalog::Tier::kMini}, "gpt-4o", {}};
  EXPECT_FALSE(PolicyBook::create({policy}, catalog::Catalog::builtin()).has_value());
  policy.default_model = "gpt-4o-mini";
  EXPECT_TRUE(PolicyBook::create({policy}, catalog::Catalog::builtin()).has_value());
  EXPECT_FALSE(PolicyBook::create({policy, policy}, catalog::Catalog::builtin()).has_value());
}

TEST(Select, TakesTheCheapestThatMayAndCan) {
  const auto& prices = *catalog::PriceBook::builtin();
  Request request;
  request.at = kNow;
  request.input_tokens = 10'000;
  request.max_output_tokens = 1'000;
  const auto choices = explain(*PolicyBook::builtin(), prices, "StrategyBuilder", request).value();
  EXPECT_EQ(choices.size(), catalog::Catalog::builtin()->models().size());
  EXPECT_EQ(select(*PolicyBook::builtin(), prices, "StrategyBuilder", request).value(),
            choices[0].model);
  for (std::size_t i = 1; i < choices.size() && choices[i].dropped_because.empty(); ++i) {
    EXPECT_LE(choices[i - 1].expected_cost, choices[i].expected_cost);
  }
  for (const Choice& choice : choices) {
    if (choice.model->id == "gpt-4-turbo") {
      EXPECT_EQ(choice.dropped_because, "tier advanced is not allowed");
    }
    if (choice.model->id == "text-embedding-3-small") {
      EXPECT_EQ(choice.dropped_because, "lacks chat, analysis");
    }
    if (choice.model->id == "gpt-3.5-turbo") {
      EXPECT_EQ(choice.dropped_because, "retired on 2026-10-23");
    }
  }
  request.input_tokens = 100'000'000;
  EXPECT_FALSE(select(*PolicyBook::builtin(), prices, "StrategyBuilder", request).has_value());
}

TEST(Active, StaysUntilReplaced) {
  EXPECT_EQ(active(), PolicyBook::builtin());
  const auto book = PolicyBook::create({}, catalog::Catalog::builtin()).value();
  set_active(book);
  EXPECT_EQ(active(), book);
  set_active(nullptr);
  EXPECT_EQ(active(), PolicyBook::builtin());
}

}  // namespace
}  // namespace dure::policy
