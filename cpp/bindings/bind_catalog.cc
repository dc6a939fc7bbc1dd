#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "dure/catalog/model.h"
#include "dure/catalog/prices.h"
#include "status.h"

namespace dure::bindings {
namespace {

using catalog::Catalog;
using catalog::PriceBook;

// (unit, pico-dollars, per)
using RateTuple = std::tuple<std::string, std::int64_t, std::int64_t>;
// (from, until, service tier, mode, input over, rates, source)
using RowTuple = std::tuple<std::optional<std::int64_t>, std::optional<std::int64_t>, std::string,
                            std::string, std::int64_t, std::vector<RateTuple>, std::string>;
// (model, aliases, rows)
using PricesTuple = std::tuple<std::string, std::vector<std::string>, std::vector<RowTuple>>;

py::dict to_dict(const catalog::Model& model) {
  py::list capabilities;
  for (std::size_t i = 0; i < catalog::kCapabilityNames.size(); ++i) {
    const auto capability = static_cast<catalog::Capability>(i);
    if (model.capabilities.has(capability)) capabilities.append(catalog::name(capability));
  }
  py::dict out;
  out["model_id"] = model.id;
  out["provider"] = model.provider;
  out["tier"] = catalog::name(model.tier);
  out["capabilities"] = capabilities;
  out["context_window"] = model.context_window;
  out["max_input_tokens"] = model.max_input_tokens;
  out["max_tokens"] = model.max_output_tokens;
  out["tokenizer"] = model.tokenizer;
  out["supports_rag"] = model.supports_rag;
  out["description"] = model.description;
  out["aliases"] = model.aliases;
  out["deprecated_on"] = model.deprecated_on;
  out["source"] = model.source;
  return out;
}

catalog::PriceRow to_row(const RowTuple& given) {
  const auto& [from, until, tier, mode, input_over, rates, source] = given;
  catalog::PriceRow row;
  if (from) row.from.us = *from;
  if (until) row.until.us = *until;
  row.service_tier = tier;
  row.mode = mode;
  row.input_over = input_over;
  row.source = source;
  for (const auto& [name, pico, per] : rates) {
    const auto unit = catalog::unit_named(name);
    if (!unit) {
      throw StatusException(base::invalid_argument("overlay", "there is no unit " + name));
    }
    row.rates[static_cast<std::size_t>(*unit)] = catalog::Rate{pico, per};
  }
  return row;
}

std::shared_ptr<const PriceBook> make_book(const std::vector<PricesTuple>& overlay) {
  if (overlay.empty()) return PriceBook::builtin();
  std::vector<catalog::ModelPrices> prices;
  for (const auto& [model, aliases, rows] : overlay) {
    catalog::ModelPrices entry{model, aliases, {}};
    for (const RowTuple& row : rows) entry.rows.push_back(to_row(row));
    prices.push_back(std::move(entry));
  }
  return value_or_throw(PriceBook::create(std::move(prices)));
}

}  // namespace

void bind_catalog(py::module_& core) {
  py::module_ room = core.def_submodule("catalog", "Models and their prices.");
  room.attr("TIERS") = py::cast(catalog::kTierNames);
  room.attr("CAPABILITIES") = py::cast(catalog::kCapabilityNames);
  room.attr("UNITS") = py::cast(catalog::kUnitNames);
  room.def(
      "models",
      [] {
        py::list models;
        for (const catalog::Model& model : Catalog::builtin()->models()) {
          models.append(to_dict(model));
        }
        return models;
      },
      "Every model of the shipped catalogue.");
  room.def(
      "canonical",
      [](const std::string& name) { return value_or_throw(Catalog::builtin()->find(name))->id; },
      py::arg("name"), "The canonical id of any spelling.");
  // Held as const in C++; Python has no const, and nothing here changes it.
  py::class_<PriceBook, std::shared_ptr<PriceBook>>(room, "PriceBook", "Effective-dated prices.")
      .def(py::init([](const std::vector<PricesTuple>& overlay) {
             return std::const_pointer_cast<PriceBook>(make_book(overlay));
           }),
           py::arg("overlay"))
      .def_property_readonly("price_version", &PriceBook::price_version)
      .def(
          "canonical",
          [](const PriceBook& book, const std::string& model) {
            return std::string(book.canonical(model));
          },
          py::arg("model"))
      .def(
          "rate",
          [](const PriceBook& book, const std::string& model, const std::string& unit,
             std::int64_t at_us) -> std::optional<std::pair<std::int64_t, std::int64_t>> {
            const auto row = book.find({.model = model, .at = {at_us}}, 0);
            const auto named = catalog::unit_named(unit);
            if (!row || !named) return std::nullopt;
            const auto rate = (*row)->rate(*named);
            if (!rate) return std::nullopt;
            return std::pair{rate->pico, rate->per};
          },
          py::arg("model"), py::arg("unit"), py::arg("at_us"),
          "(pico-dollars, per) of the standard row at that time, or None.");
}

}  // namespace dure::bindings
