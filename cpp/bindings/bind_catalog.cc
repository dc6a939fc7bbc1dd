#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>

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
// (from, until, service tier, mode, region, input over, (day from, day until), rates, source,
// (quality, size))
using RowTuple =
    std::tuple<std::optional<std::int64_t>, std::optional<std::int64_t>, std::string, std::string,
               std::string, std::int64_t, std::pair<std::int32_t, std::int32_t>,
               std::vector<RateTuple>, std::string, std::pair<std::string, std::string>>;
// (model, aliases, rows)
using PricesTuple = std::tuple<std::string, std::vector<std::string>, std::vector<RowTuple>>;
// (name, prices)
using LayerTuple = std::pair<std::string, std::vector<PricesTuple>>;

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
  const auto& [from, until, tier, mode, region, input_over, hours, rates, source, picture] = given;
  catalog::PriceRow row;
  if (from) row.from.us = *from;
  if (until) row.until.us = *until;
  row.service_tier = tier;
  row.mode = mode;
  row.region = region;
  row.quality = picture.first;
  row.size = picture.second;
  row.input_over = input_over;
  row.day_from = hours.first;
  row.day_until = hours.second;
  row.source = source;
  for (const auto& [name, pico, per] : rates) {
    const auto unit = catalog::unit_named(name);
    if (!unit) {
      std::string units;
      for (const std::string_view known : catalog::kUnitNames) units += " " + std::string(known);
      throw StatusException(
          base::invalid_argument("overlay", "there is no unit " + name + "; there are:" + units));
    }
    row.rates[static_cast<std::size_t>(*unit)] = catalog::Rate{pico, per};
  }
  return row;
}

// As it came: RowTuple's order, named.
py::dict to_dict(const catalog::PriceRow& row) {
  const auto moment = [](base::WallTime at, std::int64_t none) {
    return at.us == none ? py::object(py::none()) : py::object(py::int_(at.us));
  };
  py::dict rates;
  for (std::size_t i = 0; i < catalog::kUnits; ++i) {
    if (!row.rates[i]) continue;
    rates[py::str(std::string(catalog::kUnitNames[i]))] =
        py::make_tuple(row.rates[i]->pico, row.rates[i]->per);
  }
  py::dict out;
  out["from_us"] = moment(row.from, std::numeric_limits<std::int64_t>::min());
  out["until_us"] = moment(row.until, std::numeric_limits<std::int64_t>::max());
  out["service_tier"] = row.service_tier;
  out["mode"] = row.mode;
  out["region"] = row.region;
  out["quality"] = row.quality;
  out["size"] = row.size;
  out["input_over"] = row.input_over;
  out["hours"] = std::pair(row.day_from, row.day_until);
  out["rates"] = rates;
  out["source"] = row.source;
  return out;
}

std::shared_ptr<const PriceBook> make_book(const std::vector<LayerTuple>& given) {
  if (given.empty()) return PriceBook::builtin();
  std::vector<catalog::PriceLayer> layers;
  for (const auto& [name, prices] : given) {
    catalog::PriceLayer layer{name, {}};
    for (const auto& [model, aliases, rows] : prices) {
      catalog::ModelPrices entry{model, aliases, {}};
      for (const RowTuple& row : rows) entry.rows.push_back(to_row(row));
      layer.models.push_back(std::move(entry));
    }
    layers.push_back(std::move(layer));
  }
  return value_or_throw(PriceBook::create(std::move(layers)));
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
      .def(py::init([](const std::vector<LayerTuple>& layers) {
             return std::const_pointer_cast<PriceBook>(make_book(layers));
           }),
           py::arg("layers"))
      .def_property_readonly("layers",
                             [](const PriceBook& book) {
                               std::vector<std::pair<std::string, std::string>> layers;
                               for (const auto& layer : book.layers()) {
                                 layers.emplace_back(layer.name, layer.version);
                               }
                               return layers;
                             })
      .def(
          "rows",
          [](const PriceBook& book, const std::string& model) {
            py::list rows;
            const std::string_view id = book.canonical(model);
            for (const catalog::ModelPrices& prices : book.models()) {
              if (prices.model != id) continue;
              for (const catalog::PriceRow& row : prices.rows) rows.append(to_dict(row));
              break;
            }
            return rows;
          },
          py::arg("model"), "Every row that can price the model, with its source.")
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
