// dure/policy/select.h - the cheapest model that may and can; and why the others were dropped.
//
// Thread-safe: pure functions over immutable books.
#ifndef DURE_POLICY_SELECT_H_
#define DURE_POLICY_SELECT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dure/base/clock.h"
#include "dure/catalog/prices.h"
#include "dure/policy/service_policy.h"

namespace dure::policy {

struct Request {
  std::int64_t input_tokens = 0;
  std::int64_t max_output_tokens = 0;       // 0: the caller gave none
  std::int64_t expected_output_tokens = 0;  // 0: max_output_tokens
  catalog::Capabilities needs;              // beyond what the service requires
  base::WallTime at;
};

struct Choice {
  const catalog::Model* model = nullptr;  // lives as long as the policy book
  std::string dropped_because;            // empty: may be used
  catalog::Pico expected_cost = 0;        // 0 if dropped
};

// Every model of the catalogue, usable ones first by expected cost (then tier, then id), dropped
// ones after them. Fails with kNotFound for an unknown service.
[[nodiscard]] base::Result<std::vector<Choice>> explain(const PolicyBook& policies,
                                                        const catalog::PriceBook& prices,
                                                        std::string_view service,
                                                        const Request& request);

// The first of explain. Fails with kDenied if every model was dropped.
[[nodiscard]] base::Result<const catalog::Model*> select(const PolicyBook& policies,
                                                         const catalog::PriceBook& prices,
                                                         std::string_view service,
                                                         const Request& request);

}  // namespace dure::policy

#endif  // DURE_POLICY_SELECT_H_
