// client/policy_finder.h - any model of the catalogue, or those that a service's policy allows.
//
// Thread-safe; keeps the policies that were in force when it was made.
#ifndef DURE_SRC_CLIENT_POLICY_FINDER_H_
#define DURE_SRC_CLIENT_POLICY_FINDER_H_

#include <memory>
#include <string>
#include <string_view>

#include "dure/client/dialect.h"
#include "dure/policy/service_policy.h"

namespace dure::client {

class PolicyFinder final : public ModelFinder {
 public:
  explicit PolicyFinder(std::string_view service)
      : service_(service), policies_(policy::active()) {}
  [[nodiscard]] base::Result<const catalog::Model*> find(std::string_view name) const override {
    if (!service_.empty()) return policies_->validate(name, service_);
    if (name.empty()) {
      return base::fail(base::invalid_argument("body", "model is missing: name one, or a service")
                            .with("path", std::string("model")));
    }
    return policies_->catalog().find(name);
  }
  [[nodiscard]] const policy::Terms* terms() const override {
    if (service_.empty()) return nullptr;
    const auto policy = policies_->find(service_);
    return policy ? &(*policy)->terms : nullptr;
  }

 private:
  std::string_view service_;
  std::shared_ptr<const policy::PolicyBook> policies_;
};

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_POLICY_FINDER_H_
