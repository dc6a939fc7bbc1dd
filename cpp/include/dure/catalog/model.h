// dure/catalog/model.h - what a model IS: tier, capabilities, limits, tokenizer, names.
//
// The catalogue is data, compiled in and never fetched. Every spelling of a model (alias, dated
// snapshot, provider prefix) resolves to one canonical id, which policy, budgets, prices and
// records then use: another spelling must never pass by a budget.
//
// Immutable.
#ifndef DURE_CATALOG_MODEL_H_
#define DURE_CATALOG_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dure/base/result.h"
#include "dure/catalog/capabilities.h"

namespace dure::catalog {

struct Model {
  std::string id;        // canonical, without provider: "gpt-4o-mini"
  std::string provider;  // "openai"
  Tier tier = Tier::kStandard;
  Capabilities capabilities;
  std::int64_t context_window = 0;  // input and output together may not exceed it
  std::int64_t max_input_tokens = 0;
  std::int64_t max_output_tokens = 0;  // 0: gives no text (embeddings)
  std::string tokenizer;               // "o200k_base"; empty: no public one
  bool hidden_output = false;          // reasoning: output is billed that is never shown
  bool supports_rag = false;
  std::string description;
  std::vector<std::string> aliases;  // other exact names, without provider
  std::string deprecated_on;         // ISO date, empty: in service
  std::string source;                // where the limits were read, with the date
};

class Catalog {
 public:
  // Fails with kInvalidArgument if a name stands twice or an id is empty.
  [[nodiscard]] static base::Result<std::shared_ptr<const Catalog>> create(
      std::vector<Model> models);
  // The snapshot shipped with this build. Lives for ever.
  [[nodiscard]] static const std::shared_ptr<const Catalog>& builtin();

  // The model that `name` means: exact id or alias, then without its own provider's prefix
  // ("openai/gpt-4o"), then without a date at the end (-2024-07-18, -20240718).
  // Fails with kDenied (InvalidModelError, detail "model"). The reference lives as long as this.
  [[nodiscard]] base::Result<const Model*> find(std::string_view name) const;
  // In the order given to create.
  [[nodiscard]] const std::vector<Model>& models() const noexcept { return models_; }

 private:
  explicit Catalog(std::vector<Model> models) : models_(std::move(models)) {}
  [[nodiscard]] const Model* exact(std::string_view name) const;

  std::vector<Model> models_;
  std::unordered_map<std::string, std::size_t> by_name_;
};

}  // namespace dure::catalog

#endif  // DURE_CATALOG_MODEL_H_
