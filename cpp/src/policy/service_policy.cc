#include "dure/policy/service_policy.h"

#include <mutex>
#include <utility>

namespace dure::policy {
namespace {

using catalog::Capability;
using catalog::Tier;

std::vector<ServicePolicy> builtin_policies() {
  return {
      {"StrategyBuilder",
       {Tier::kMini, Tier::kStandard},
       "gpt-4o-mini",
       {Capability::kChat, Capability::kAnalysis},
       {}},
      {"NarrativeReport",
       {Tier::kStandard, Tier::kAdvanced},
       "gpt-4o",
       {Capability::kChat, Capability::kAnalysis},
       {}},
      {"ChatOpsAdvanced",
       {Tier::kStandard, Tier::kAdvanced, Tier::kPremium},
       "gpt-4o",
       {Capability::kChat, Capability::kFunctionCalling},
       {}},
  };
}

base::Status denied(std::string_view model, std::string_view service) {
  return base::Status(base::Code::kDenied, "Model " + std::string(model) +
                                               " not allowed for service " + std::string(service))
      .with("model", std::string(model))
      .with("service", std::string(service));
}

base::Status bad_policy(const std::string& service, const std::string& what,
                        const std::string& field = "") {
  return base::invalid_argument("policies", "policy of " + service + ": " + what)
      .with("path", field.empty() ? service : service + "." + field);
}

struct Active {
  std::mutex mutex;
  std::shared_ptr<const PolicyBook> book;  // guarded by mutex; null: builtin
};
Active& active_state() {
  static Active state;
  return state;
}

}  // namespace

base::Result<std::shared_ptr<const PolicyBook>> PolicyBook::create(
    std::vector<ServicePolicy> policies, std::shared_ptr<const catalog::Catalog> catalog) {
  std::shared_ptr<PolicyBook> book(new PolicyBook());
  book->catalog_ = std::move(catalog);
  for (ServicePolicy& policy : policies) {
    const std::string service = policy.service_name;
    if (service.empty()) {
      return base::fail(base::invalid_argument("policies", "a policy needs a service_name"));
    }
    if (book->find(service)) return base::fail(bad_policy(service, "it stands twice"));
    const auto model = book->catalog_->find(policy.default_model);
    if (!model) {
      return base::fail(
          bad_policy(service, "unknown default model " + policy.default_model, "default_model"));
    }
    if (!policy.allows(**model)) {
      return base::fail(bad_policy(service,
                                   "its default model " + policy.default_model +
                                       " is not allowed by it: add the tier, or choose another",
                                   "default_model"));
    }
    book->policies_.push_back(std::move(policy));
  }
  return book;
}

const std::shared_ptr<const PolicyBook>& PolicyBook::builtin() {
  static const std::shared_ptr<const PolicyBook> book =
      create(builtin_policies(), catalog::Catalog::builtin()).value();
  return book;
}

base::Result<const ServicePolicy*> PolicyBook::find(std::string_view service) const {
  for (const ServicePolicy& policy : policies_) {
    if (policy.service_name == service) return &policy;
  }
  return base::fail(base::Code::kNotFound, "No policy for service " + std::string(service) +
                                               ": load one with models.load_policies");
}

base::Result<const catalog::Model*> PolicyBook::validate(std::string_view name,
                                                         std::string_view service) const {
  const auto policy = find(service);
  if (!policy) return base::fail(denied(name, service));
  const auto model = catalog_->find(name.empty() ? (*policy)->default_model : name);
  if (!model || !(*policy)->allows(**model)) return base::fail(denied(name, service));
  return *model;
}

std::shared_ptr<const PolicyBook> active() {
  Active& state = active_state();
  const std::scoped_lock lock(state.mutex);
  return state.book ? state.book : PolicyBook::builtin();
}

void set_active(std::shared_ptr<const PolicyBook> book) {
  Active& state = active_state();
  const std::scoped_lock lock(state.mutex);
  state.book = std::move(book);
}

}  // namespace dure::policy
