#include "dure/policy/select.h"

#include <algorithm>
#include <tuple>

#include "dure/base/int128.h"

namespace dure::policy {
namespace {

std::string names(catalog::Capabilities set) {
  std::string text;
  for (std::size_t i = 0; i < catalog::kCapabilityNames.size(); ++i) {
    if (!set.has(static_cast<catalog::Capability>(i))) continue;
    if (!text.empty()) text += ", ";
    text += catalog::kCapabilityNames[i];
  }
  return text;
}

// A model for images or speech alone, or a wish for one.
bool draws_or_speaks(catalog::Capabilities set) {
  using catalog::Capability;
  return !set.has(Capability::kChat) &&
         (set.has(Capability::kImage) || set.has(Capability::kAudio));
}

std::string why_not(const ServicePolicy& policy, const catalog::Model& model,
                    const Request& request) {
  if (!policy.allowed_tiers.has(model.tier)) {
    return "tier " + std::string(catalog::name(model.tier)) + " is not allowed";
  }
  catalog::Capabilities needed = policy.required_capabilities;
  const catalog::Capabilities missing_for_service = model.capabilities.lacks(needed);
  if (!missing_for_service.empty()) return "lacks " + names(missing_for_service);
  const catalog::Capabilities missing = model.capabilities.lacks(request.needs);
  if (!missing.empty()) return "lacks " + names(missing);
  if (draws_or_speaks(model.capabilities) && !draws_or_speaks(needed) &&
      !draws_or_speaks(request.needs)) {
    return "does not answer in text";
  }
  if (!model.deprecated_on.empty() &&
      base::to_iso8601(request.at).substr(0, 10) >= model.deprecated_on) {
    return "retired on " + model.deprecated_on;
  }
  if (request.input_tokens > model.max_input_tokens) {
    return "input of " + std::to_string(request.input_tokens) + " tokens exceeds " +
           std::to_string(model.max_input_tokens);
  }
  if (request.max_output_tokens > model.max_output_tokens) {
    return "output of " + std::to_string(request.max_output_tokens) + " tokens exceeds " +
           std::to_string(model.max_output_tokens);
  }
  if (request.input_tokens + request.max_output_tokens > model.context_window) {
    return "input and output exceed the context of " + std::to_string(model.context_window);
  }
  return {};
}

base::Result<catalog::Pico> expected_cost(const catalog::PriceBook& prices,
                                          const catalog::Model& model, const Request& request) {
  const auto row = prices.find({.model = model.id, .at = request.at}, request.input_tokens);
  if (!row) return base::fail(row.error());
  const std::int64_t output = request.expected_output_tokens > 0 ? request.expected_output_tokens
                                                                 : request.max_output_tokens;
  base::int128 total = 0;
  for (const auto& [unit, count] : {std::pair{catalog::Unit::kInput, request.input_tokens},
                                    std::pair{catalog::Unit::kOutput, output}}) {
    if (count == 0) continue;
    const auto rate = (*row)->rate(unit);
    if (!rate) return base::fail(base::Code::kDenied, "no price for " + std::string(name(unit)));
    total += static_cast<base::int128>(count) * rate->pico / rate->per;
  }
  if (total > std::numeric_limits<catalog::Pico>::max()) {
    return base::fail(base::Code::kDenied, "cost is beyond measure");
  }
  return static_cast<catalog::Pico>(total);
}

}  // namespace

base::Result<std::vector<Choice>> explain(const PolicyBook& policies,
                                          const catalog::PriceBook& prices,
                                          std::string_view service, const Request& request) {
  const auto policy = policies.find(service);
  if (!policy) return base::fail(policy.error());
  if (request.input_tokens < 0 || request.max_output_tokens < 0 ||
      request.expected_output_tokens < 0) {
    return base::fail(base::invalid_argument("request", "token counts cannot be negative"));
  }
  std::vector<Choice> choices;
  for (const catalog::Model& model : policies.catalog().models()) {
    Choice choice{&model, why_not(**policy, model, request), 0};
    if (choice.dropped_because.empty()) {
      if (const auto cost = expected_cost(prices, model, request)) {
        choice.expected_cost = *cost;
      } else {
        choice.dropped_because = "no price is known";
      }
    }
    choices.push_back(std::move(choice));
  }
  std::stable_sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
    return std::tuple(!a.dropped_because.empty(), a.expected_cost, a.model->tier, a.model->id) <
           std::tuple(!b.dropped_because.empty(), b.expected_cost, b.model->tier, b.model->id);
  });
  return choices;
}

base::Result<const catalog::Model*> select(const PolicyBook& policies,
                                           const catalog::PriceBook& prices,
                                           std::string_view service, const Request& request) {
  const auto choices = explain(policies, prices, service, request);
  if (!choices) return base::fail(choices.error());
  if (!choices->empty() && choices->front().dropped_because.empty()) {
    return choices->front().model;
  }
  return base::fail(
      base::Status(base::Code::kDenied, "No model fits service " + std::string(service) +
                                            " and this request: ask models.explain why")
          .with("service", std::string(service)));
}

}  // namespace dure::policy
