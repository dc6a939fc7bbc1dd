#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "dure/policy/select.h"
#include "dure/policy/service_policy.h"
#include "status.h"

namespace dure::bindings {
namespace {

using policy::PolicyBook;

// (store, remote MCP, server tools, unknown parameters pass, service tiers)
using TermsTuple = std::tuple<bool, bool, bool, bool, std::vector<std::string>>;
// (service, allowed tiers, default model, required capabilities, terms)
using PolicyTuple = std::tuple<std::string, std::vector<std::string>, std::string,
                               std::vector<std::string>, TermsTuple>;

base::Status no_such(const std::string& service, const std::string& field, const std::string& what,
                     const std::string& name) {
  return base::invalid_argument("policies", "policy of " + service + ": " + field +
                                                ": there is no " + what + " " + name)
      .with("path", service + "." + field);
}

catalog::Capabilities to_capabilities(const std::string& service,
                                      const std::vector<std::string>& names) {
  catalog::Capabilities set;
  for (const std::string& name : names) {
    const auto capability = catalog::capability_named(name);
    if (!capability)
      throw StatusException(no_such(service, "required_capabilities", "capability", name));
    set.add(*capability);
  }
  return set;
}

policy::ServicePolicy to_policy(const PolicyTuple& given) {
  const auto& [service, tiers, default_model, capabilities, terms] = given;
  const auto& [store, remote_mcp, server_tools, pass_unknown, service_tiers] = terms;
  policy::ServicePolicy out{service,
                            {},
                            default_model,
                            to_capabilities(service, capabilities),
                            {store, remote_mcp, server_tools, pass_unknown, service_tiers}};
  for (const std::string& name : tiers) {
    const auto tier = catalog::tier_named(name);
    if (!tier) throw StatusException(no_such(service, "allowed_tiers", "tier", name));
    out.allowed_tiers.add(*tier);
  }
  return out;
}

PolicyTuple to_tuple(const policy::ServicePolicy& given) {
  std::vector<std::string> tiers;
  for (const std::string_view name : catalog::kTierNames) {
    if (given.allowed_tiers.has(*catalog::tier_named(name))) tiers.emplace_back(name);
  }
  std::vector<std::string> capabilities;
  for (const std::string_view name : catalog::kCapabilityNames) {
    if (given.required_capabilities.has(*catalog::capability_named(name))) {
      capabilities.emplace_back(name);
    }
  }
  const policy::Terms& terms = given.terms;
  return {given.service_name, tiers, given.default_model, capabilities,
          TermsTuple(terms.store, terms.remote_mcp, terms.server_tools, terms.pass_unknown,
                     terms.service_tiers)};
}

}  // namespace

void bind_policy(py::module_& core) {
  py::module_ room = core.def_submodule("policy", "Which models a service may use.");
  room.def(
      "set_active",
      [](const std::vector<PolicyTuple>& given) {
        std::vector<policy::ServicePolicy> policies;
        for (const PolicyTuple& one : given) policies.push_back(to_policy(one));
        policy::set_active(
            value_or_throw(PolicyBook::create(std::move(policies), catalog::Catalog::builtin())));
      },
      py::arg("policies"), "Replaces the policies in force; on error the old ones stay.");
  room.def("reset", [] { policy::set_active(nullptr); }, "The shipped policies again.");
  room.def(
      "policies",
      [] {
        std::vector<PolicyTuple> out;
        const auto book = policy::active();
        for (const policy::ServicePolicy& one : book->policies()) out.push_back(to_tuple(one));
        return out;
      },
      "The policies in force.");
  room.def(
      "find",
      [](const std::string& service) {
        return to_tuple(*value_or_throw(policy::active()->find(service)));
      },
      py::arg("service"));
  room.def(
      "validate",
      [](const std::string& model, const std::string& service) {
        const auto book = policy::active();
        return value_or_throw(book->validate(model, service))->id;
      },
      py::arg("model"), py::arg("service"), "The canonical id, if the service may use the model.");
  room.def(
      "explain",
      [](const catalog::PriceBook& prices, const std::string& service, std::int64_t input_tokens,
         std::int64_t max_output_tokens, std::int64_t expected_output_tokens,
         const std::vector<std::string>& needs, std::int64_t at_us) {
        const policy::Request request{input_tokens,
                                      max_output_tokens,
                                      expected_output_tokens,
                                      to_capabilities(service, needs),
                                      {at_us}};
        const auto book = policy::active();
        std::vector<std::tuple<std::string, std::string, std::int64_t>> out;
        for (const policy::Choice& choice :
             value_or_throw(policy::explain(*book, prices, service, request))) {
          out.emplace_back(choice.model->id, choice.dropped_because, choice.expected_cost);
        }
        return out;
      },
      py::arg("prices"), py::arg("service"), py::arg("input_tokens"), py::arg("max_output_tokens"),
      py::arg("expected_output_tokens"), py::arg("needs"), py::arg("at_us"),
      "(model, why dropped, expected pico-dollars) of every model.");
}

}  // namespace dure::bindings
