// dure/policy/service_policy.h - which models a service may use. Deny by default.
//
// Immutable. active() and set_active() are thread-safe.
#ifndef DURE_POLICY_SERVICE_POLICY_H_
#define DURE_POLICY_SERVICE_POLICY_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/catalog/model.h"

namespace dure::policy {

// What a service may ask a provider to do beside answering.
struct Terms {
  bool store = false;         // keep the answer; false: responses go out with store=false
  bool remote_mcp = false;    // talk to a server that the request names
  bool server_tools = true;   // use tools of its own: search, code, files
  bool pass_unknown = false;  // take parameters that we do not know
  std::vector<std::string> service_tiers = {};  // beside default: flex, priority, ...
};

struct ServicePolicy {
  std::string service_name;
  catalog::Tiers allowed_tiers;
  std::string default_model;
  catalog::Capabilities required_capabilities;
  Terms terms = {};

  [[nodiscard]] bool allows(const catalog::Model& model) const noexcept {
    return allowed_tiers.has(model.tier) && model.capabilities.contains(required_capabilities);
  }
};

class PolicyBook {
 public:
  // Fails with kInvalidArgument (detail "path" = service) unless every default model exists and
  // passes its own policy, and names are unique.
  [[nodiscard]] static base::Result<std::shared_ptr<const PolicyBook>> create(
      std::vector<ServicePolicy> policies, std::shared_ptr<const catalog::Catalog> catalog);
  // StrategyBuilder, NarrativeReport, ChatOpsAdvanced. Lives for ever.
  [[nodiscard]] static const std::shared_ptr<const PolicyBook>& builtin();

  // Fails with kNotFound.
  [[nodiscard]] base::Result<const ServicePolicy*> find(std::string_view service) const;
  // The model that `name` means, if `service` may use it; an empty name is the service's default.
  // Fails with kDenied, "Model X not allowed for service Y" (details model, service), also for an
  // unknown model or service.
  [[nodiscard]] base::Result<const catalog::Model*> validate(std::string_view name,
                                                             std::string_view service) const;
  [[nodiscard]] const std::vector<ServicePolicy>& policies() const noexcept { return policies_; }
  [[nodiscard]] const catalog::Catalog& catalog() const noexcept { return *catalog_; }

 private:
  PolicyBook() = default;

  std::vector<ServicePolicy> policies_;
  std::shared_ptr<const catalog::Catalog> catalog_;
};

// The policies in force in this process: the builtin ones until set_active.
[[nodiscard]] std::shared_ptr<const PolicyBook> active();
void set_active(std::shared_ptr<const PolicyBook> book);

}  // namespace dure::policy

#endif  // DURE_POLICY_SERVICE_POLICY_H_
