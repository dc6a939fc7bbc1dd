#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>

#include "bindings.h"
#include "dure/money/account.h"
#include "dure/money/ledger.h"
#include "gil.h"
#include "interruptible.h"
#include "status.h"

namespace dure::bindings {
namespace {

using money::Account;

using IdTuple = std::pair<std::uint64_t, std::uint64_t>;
// (unit, quantity, rate pico, rate per, pico)
using LineTuple = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;
// (pico, lines, price version, flags)
using CostTuple = std::tuple<std::int64_t, std::vector<LineTuple>, std::string, std::uint16_t>;

constexpr std::array<std::string_view, 3> kUnits{"usd", "tokens", "requests"};
constexpr std::array<std::string_view, 5> kPolicies{"block", "shrink", "queue", "warn", "approval"};

template <typename E, std::size_t N>
E named(const std::array<std::string_view, N>& names, const std::string& name,
        const char* argument) {
  const auto* found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw StatusException(base::invalid_argument(
        argument, "there is no " + std::string(argument) + " \"" + name + "\""));
  }
  return static_cast<E>(found - names.begin());
}

money::ReservationId to_id(const IdTuple& id) { return {id.first, id.second}; }

py::int_ to_int(base::int128 value) {
  return py::reinterpret_steal<py::int_>(
      PyLong_FromString(base::to_string(value).c_str(), nullptr, 10));
}

money::ReportedUsage to_usage(const std::map<std::string, std::int64_t>& fields,
                              bool input_contains_parts) {
  money::ReportedUsage usage;
  usage.input_contains_parts = input_contains_parts;
  const std::map<std::string_view, std::int64_t*> places{
      {"input", &usage.input},
      {"output", &usage.output},
      {"cache_read", &usage.cache_read},
      {"cache_write", &usage.cache_write},
      {"cache_write_1h", &usage.cache_write_1h},
      {"input_audio", &usage.input_audio},
      {"input_image", &usage.input_image},
      {"input_audio_cached", &usage.input_audio_cached},
      {"input_image_cached", &usage.input_image_cached},
      {"output_reasoning", &usage.output_reasoning},
      {"output_audio", &usage.output_audio},
      {"output_image", &usage.output_image},
      {"web_searches", &usage.web_searches},
      {"characters", &usage.characters},
      {"milliseconds", &usage.milliseconds},
      {"images", &usage.images},
      {"input_video", &usage.input_video},
      {"input_video_cached", &usage.input_video_cached},
      {"output_video", &usage.output_video},
      {"video_milliseconds", &usage.video_milliseconds},
      {"training", &usage.training}};
  for (const auto& [name, value] : fields) {
    const auto place = places.find(name);
    if (place == places.end()) {
      throw StatusException(base::invalid_argument("usage", "there is no field " + name));
    }
    *place->second = value;
  }
  return usage;
}

CostTuple to_tuple(const money::Cost& cost) {
  std::vector<LineTuple> lines;
  for (const money::Line& line : cost.lines) {
    lines.emplace_back(catalog::name(line.unit), line.quantity, line.rate.pico, line.rate.per,
                       line.pico);
  }
  return {cost.pico, std::move(lines), cost.price_version, cost.flags};
}

money::Bound to_bound(std::int64_t input_pico, std::int64_t input_tokens, std::int64_t output_rate,
                      std::int64_t max_output, bool hidden_output) {
  money::Bound bound;
  bound.input_pico = input_pico;
  bound.input_tokens = input_tokens;
  bound.output_rate = output_rate;
  bound.max_output_tokens = max_output;
  bound.pico = input_pico + output_rate * max_output;
  bound.tokens = input_tokens + max_output;
  bound.hidden_output = hidden_output;
  return bound;
}

// A settlement of so many tokens, as the tests of the account make them.
std::pair<money::Usage, money::Cost> plain(std::int64_t pico, std::int64_t input,
                                           std::int64_t output) {
  money::Usage usage = money::count_units({.input = input, .output = output});
  money::Cost cost;
  cost.pico = pico;
  return {usage, cost};
}

py::dict to_dict(const money::BudgetState& state) {
  py::dict out;
  out["scope"] = state.spec.scope;
  out["unit"] = kUnits[static_cast<std::size_t>(state.spec.unit)];
  out["window"] = state.spec.window.name;
  out["zone"] = state.spec.window.zone;
  out["rolling_ns"] = state.spec.window.rolling.count();
  out["last_edge_us"] = state.spec.window.edges_us.empty() ? 0 : state.spec.window.edges_us.back();
  out["on_limit"] = kPolicies[static_cast<std::size_t>(state.spec.on_limit)];
  out["alerts"] = std::vector<int>(state.spec.alerts.begin(), state.spec.alerts.end());
  out["forbids_provider_side"] = state.spec.forbids_provider_side;
  out["limit"] = state.spec.limit;
  out["granted"] = state.granted;
  out["used"] = to_int(state.used);
  out["held"] = to_int(state.held);
  out["left"] = state.left;
  out["window_start_us"] = state.window_start_us;
  out["resets_at_us"] = state.resets_at_us;
  out["waiting"] = state.waiting;
  return out;
}

// (unit, quantity, rate pico, rate per, pico) of each unit that was priced.
std::vector<LineTuple> lines_of(const money::Record& record) {
  std::vector<LineTuple> lines;
  if (record.rates.size() != record.units.size()) return lines;
  for (std::size_t i = 0; i < record.rates.size(); ++i) {
    const auto& [unit, quantity] = record.units[i];
    const catalog::Rate& rate = record.rates[i];
    if (static_cast<std::size_t>(unit) >= catalog::kUnits || rate.per <= 0) continue;
    const auto pico = money::multiply(quantity, rate, money::Rounding::kHalfEven);
    lines.emplace_back(catalog::name(unit), quantity, rate.pico, rate.per, pico.value_or(0));
  }
  return lines;
}

py::dict units_of(const money::Record& record) {
  py::dict units;
  for (const auto& [unit, quantity] : record.units) {
    const auto index = static_cast<std::size_t>(unit);
    if (index < catalog::kUnits) units[py::str(std::string(catalog::name(unit)))] = quantity;
  }
  return units;
}

py::dict to_dict(const money::Record& record) {
  using enum money::RecordType;
  py::dict out;
  out["type"] = money::name(record.type);
  out["epoch"] = record.epoch;
  out["seq"] = record.seq;
  out["at_us"] = record.at_us;
  out["flags"] = money::flag_names(record.flags);
  if (record.id.epoch != 0) out["id"] = IdTuple(record.id.epoch, record.id.seq);
  out["pico"] = record.pico;
  out["tokens"] = record.tokens;
  py::list postings;
  for (const money::Posting& posting : record.postings) {
    postings.append(
        py::make_tuple(posting.budget, posting.window_start_us, posting.held, posting.used));
  }
  out["postings"] = postings;
  if (record.type == kReserve) {
    out["model"] = record.model;
    out["service"] = record.service;
    out["call_id"] = record.call_id;
    out["key_id"] = record.key_id;
    out["attempt"] = record.attempt;
    out["scopes"] = record.scopes;
    if (record.parent.epoch != 0) out["parent"] = IdTuple(record.parent.epoch, record.parent.seq);
  } else if (record.type == kSettle) {
    out["units"] = units_of(record);
    out["lines"] = lines_of(record);
    out["service_tier"] = record.service_tier;
    out["region"] = record.region;
    out["returned_model"] = record.returned_model;
    out["request_id"] = record.request_id;
    out["held_pico"] = record.held_pico;
    out["price_version"] = record.price_version;
  } else if (record.type == kLimit) {
    out["budget"] = record.budget;
    out["scope"] = record.spec.scope;
    out["unit"] = kUnits[std::min<std::size_t>(static_cast<std::size_t>(record.spec.unit), 2)];
    out["limit"] = record.spec.limit;
    out["window"] = record.spec.window.name;
    out["zone"] = record.spec.window.zone;
  } else if (record.type == kGrant) {
    out["budget"] = record.budget;
    out["amount"] = record.amount;
    out["until_us"] = record.until_us;
  } else if (record.type == kAlert) {
    out["budget"] = record.budget;
    out["percent"] = record.amount;
    out["window_start_us"] = record.until_us;
  } else if (record.type == kPriceVersion) {
    out["price_version"] = record.price_version;
  } else if (record.type == kCheckpoint) {
    out["closed"] = record.closed;
  }
  return out;
}

// Records of calls as short tuples: who posts thousands a second asks for no more than it keeps.
struct CallNews {
  py::list holds, ends, rest;

  // REQUIRES: the GIL.
  void add(const money::Record& record) {
    using enum money::RecordType;
    switch (record.type) {
      case kReserve:
        holds.append(py::make_tuple(record.id.epoch, record.id.seq, record.at_us, record.call_id,
                                    record.attempt, record.model, record.service,
                                    py::tuple(py::cast(record.scopes))));
        break;
      case kSettle:
      case kVoid:
      case kExpire:
      case kAdjust:
        ends.append(py::make_tuple(money::name(record.type), record.epoch, record.seq,
                                   record.id.epoch, record.id.seq, record.at_us, record.pico,
                                   record.tokens, money::flag_names(record.flags), units_of(record),
                                   record.price_version));
        break;
      case kLimit:
      case kAlert:
        rest.append(to_dict(record));
        break;
      default:
        break;
    }
  }
};

py::dict to_dict(const money::Totals& totals) {
  py::dict out;
  out["spent"] = to_int(totals.spent);
  out["held"] = to_int(totals.held);
  out["tokens"] = totals.tokens;
  out["reserved"] = totals.reserved;
  out["settled"] = totals.settled;
  out["voided"] = totals.voided;
  out["open"] = totals.open;
  return out;
}

// Runs `work` without the GIL and throws what it fails with; `long_work` ends on Ctrl-C.
template <typename Work>
auto checked(Work&& work, bool long_work = false) {
  auto result = long_work ? interruptible(work) : without_gil(work);
  if constexpr (std::is_same_v<decltype(result), base::Status>) {
    ok_or_throw(std::move(result));
  } else {
    return value_or_throw(std::move(result));
  }
}

// The records behind `from` whose type is asked for, and where they end; without the GIL.
template <typename Wanted>
std::pair<std::vector<money::Record>, money::LedgerPlace> read_on(const std::string& path,
                                                                  money::LedgerPlace from,
                                                                  Wanted wanted) {
  std::vector<money::Record> found;
  const money::LedgerPlace end = checked([&] {
    return money::read_ledger_on(base::system_files(), path, from,
                                 [&](const money::Record& record) {
                                   if (wanted(record.type)) found.push_back(record);
                                 });
  });
  return {std::move(found), end};
}

// Ends a wait from another thread.
struct Stop {
  std::atomic<bool> set{false};
};

void bind_account(py::module_& room) {
  py::class_<Stop, std::shared_ptr<Stop>>(room, "Stop", "Ends a wait for room.")
      .def(py::init<>())
      .def("set", [](Stop& stop) { stop.set = true; });
  py::class_<Account, std::shared_ptr<Account>>(room, "Account",
                                                "Budgets and ledger of one data folder.")
      .def_static(
          "shared",
          [](const std::string& folder) {
            return checked([&] { return Account::shared(folder); });
          },
          py::arg("folder"))
      .def_static(
          "open",
          [](const std::string& folder, const base::Clock* clock, bool power) {
            const auto level = power ? money::Durability::kPower : money::Durability::kProcess;
            return checked([&] { return Account::open(folder, {level, clock, nullptr}); });
          },
          py::arg("folder"), py::arg("clock") = nullptr, py::arg("power") = false,
          py::keep_alive<0, 2>())
      .def_property_readonly("folder", &Account::folder)
      .def(
          "reserve",
          [](Account& account, const std::vector<std::string>& scopes, std::int64_t input_pico,
             std::int64_t input_tokens, std::int64_t output_rate, std::int64_t max_output,
             bool hidden_output, bool detached, double wait, const std::string& model,
             const std::string& service, const std::string& key_id, const std::string& call_id,
             std::uint16_t flags, IdTuple parent, const std::shared_ptr<Stop>& stop) {
            money::ReserveRequest request;
            request.scopes = scopes;
            request.detached = detached;
            request.call.call_id = call_id;
            request.call.flags = flags;
            request.call.parent = to_id(parent);
            request.call.model = model;
            request.call.service = service;
            request.call.key_id = key_id;
            request.bound =
                to_bound(input_pico, input_tokens, output_rate, max_output, hidden_output);
            const auto most = std::chrono::duration<double>(std::clamp(wait, 0.0, 1e6));
            const auto admission = checked([&] {
              return account.reserve_within(request,
                                            std::chrono::duration_cast<base::Duration>(most),
                                            stop == nullptr ? nullptr : &stop->set);
            });
            return IdTuple(admission.id.epoch, admission.id.seq);
          },
          py::arg("scopes"), py::kw_only(), py::arg("input_pico"), py::arg("input_tokens"),
          py::arg("output_rate"), py::arg("max_output"), py::arg("hidden_output") = false,
          py::arg("detached") = false, py::arg("wait") = 0.0, py::arg("model") = "",
          py::arg("service") = "", py::arg("key_id") = "", py::arg("call_id") = "",
          py::arg("flags") = 0, py::arg("parent") = IdTuple(0, 0), py::arg("stop") = nullptr)
      .def(
          "sent",
          [](Account& account, IdTuple id) { checked([&] { return account.sent(to_id(id)); }); },
          py::arg("id"))
      .def(
          "progress",
          [](Account& account, IdTuple id, std::int64_t tokens) {
            checked([&] { return account.progress(to_id(id), tokens); });
          },
          py::arg("id"), py::arg("output_tokens"))
      .def(
          "settle",
          [](Account& account, IdTuple id, std::int64_t pico, std::int64_t input,
             std::int64_t output) {
            const auto [usage, cost] = plain(pico, input, output);
            checked([&, &usage = usage, &cost = cost] {
              return account.settle(to_id(id), usage, cost);
            });
          },
          py::arg("id"), py::kw_only(), py::arg("pico"), py::arg("input_tokens"),
          py::arg("output_tokens"))
      .def(
          "settle_usage",
          [](Account& account, IdTuple id, const catalog::PriceBook& book,
             const std::map<std::string, std::int64_t>& fields, bool input_contains_parts,
             const std::string& model, std::int64_t at_us, const std::string& service_tier,
             const std::string& mode, const std::string& region, const std::string& quality,
             const std::string& size, const std::string& returned_model,
             const std::string& request_id) {
            const money::Usage usage = money::count_units(to_usage(fields, input_contains_parts));
            const money::Cost cost = value_or_throw(money::cost(book, usage,
                                                                {.model = model,
                                                                 .at = {at_us},
                                                                 .service_tier = service_tier,
                                                                 .mode = mode,
                                                                 .region = region,
                                                                 .quality = quality,
                                                                 .size = size}));
            checked([&] {
              return account.settle(to_id(id), usage, cost,
                                    {.service_tier = service_tier,
                                     .region = region,
                                     .model = returned_model,
                                     .request_id = request_id});
            });
            return to_tuple(cost);
          },
          py::arg("id"), py::arg("prices"), py::arg("usage"), py::arg("input_contains_parts"),
          py::kw_only(), py::arg("model"), py::arg("at_us"), py::arg("service_tier") = "",
          py::arg("mode") = "", py::arg("region") = "", py::arg("quality") = "",
          py::arg("size") = "", py::arg("returned_model") = "", py::arg("request_id") = "")
      .def(
          "settle_by_rule",
          [](Account& account, IdTuple id) {
            checked([&] { return account.settle_by_rule(to_id(id)); });
          },
          py::arg("id"))
      .def(
          "settle_possible_spend",
          [](Account& account, IdTuple id) {
            checked([&] { return account.settle_possible_spend(to_id(id)); });
          },
          py::arg("id"))
      .def(
          "void_hold",
          [](Account& account, IdTuple id) {
            checked([&] { return account.void_hold(to_id(id)); });
          },
          py::arg("id"))
      .def(
          "adjust",
          [](Account& account, IdTuple id, std::int64_t pico, std::int64_t tokens) {
            checked([&] { return account.adjust(to_id(id), pico, tokens); });
          },
          py::arg("id"), py::kw_only(), py::arg("pico"), py::arg("tokens"))
      .def(
          "record",
          [](Account& account, const catalog::PriceBook& book,
             const std::vector<std::string>& scopes, const std::string& model,
             const std::string& service, std::int64_t input, std::int64_t output,
             std::int64_t at_us) {
            const money::Usage usage = money::count_units({.input = input, .output = output});
            const money::Cost cost =
                value_or_throw(money::cost(book, usage, {.model = model, .at = {at_us}}));
            money::ReserveRequest request;
            request.scopes = scopes;
            request.call.model = model;
            request.call.service = service;
            checked([&] { return account.record(request, usage, cost); });
            return to_tuple(cost);
          },
          py::arg("prices"), py::arg("scopes"), py::kw_only(), py::arg("model"), py::arg("service"),
          py::arg("input_tokens"), py::arg("output_tokens"), py::arg("at_us"))
      .def(
          "set_budget",
          [](Account& account, const std::string& scope, std::int64_t limit,
             const std::string& unit, const std::string& window, const std::string& zone,
             std::vector<std::int64_t> edges_us, std::int64_t rolling_us,
             const std::string& on_limit, std::vector<std::uint8_t> alerts,
             bool forbids_provider_side) {
            money::BudgetSpec spec;
            spec.scope = scope;
            spec.limit = limit;
            spec.unit = named<money::BudgetUnit>(kUnits, unit, "unit");
            spec.on_limit = named<money::OnLimit>(kPolicies, on_limit, "on_limit");
            spec.window = {window, zone, std::move(edges_us),
                           std::chrono::microseconds(rolling_us)};
            spec.alerts = std::move(alerts);
            spec.forbids_provider_side = forbids_provider_side;
            checked([&] { return account.set_budget(spec); });
          },
          py::arg("scope"), py::kw_only(), py::arg("limit"), py::arg("unit"), py::arg("window"),
          py::arg("zone"), py::arg("edges_us"), py::arg("rolling_us"), py::arg("on_limit"),
          py::arg("alerts"), py::arg("forbids_provider_side") = false)
      .def(
          "budgets",
          [](Account& account, const std::string& scope) {
            py::list out;
            for (const auto& state : checked([&] { return account.budgets(scope); })) {
              out.append(to_dict(state));
            }
            return out;
          },
          py::arg("scope"))
      .def(
          "grant",
          [](Account& account, const std::string& scope, const std::string& unit,
             std::int64_t amount, std::int64_t until_us) {
            const auto in = named<money::BudgetUnit>(kUnits, unit, "unit");
            checked([&] { return account.grant(scope, in, amount, {until_us}); });
          },
          py::arg("scope"), py::kw_only(), py::arg("unit"), py::arg("amount"), py::arg("until_us"))
      .def("take_alerts",
           [](Account& account) {
             py::list out;
             for (const money::Alert& alert : without_gil([&] { return account.take_alerts(); })) {
               py::dict one;
               one["scope"] = alert.scope;
               one["unit"] = kUnits[static_cast<std::size_t>(alert.unit)];
               one["window"] = alert.window;
               one["percent"] = alert.percent;
               one["window_start_us"] = alert.window_start_us;
               one["used"] = alert.used;
               one["limit"] = alert.limit;
               out.append(one);
             }
             return out;
           })
      .def("totals", [](const Account& account) {
        py::dict out = to_dict(without_gil([&] { return account.totals(); }));
        out["unwritten"] = without_gil([&] { return account.unwritten(); });
        return out;
      });
}

}  // namespace

void bind_money(py::module_& core) {
  py::module_ room = core.def_submodule("money", "Cost, budgets and the ledger.");
  room.def(
      "parse_dollars",
      [](const std::string& text) { return value_or_throw(money::parse_dollars(text)); },
      py::arg("text"));
  room.def("wall_us", [] { return base::system_clock().wall().us; }, "Now, microseconds UTC.");
  room.def("flag_names", &money::flag_names, py::arg("flags"));
  room.def(
      "cost",
      [](const catalog::PriceBook& book, const std::map<std::string, std::int64_t>& usage,
         bool input_contains_parts, const std::string& model, std::int64_t at_us,
         const std::string& service_tier, const std::string& mode, const std::string& region,
         const std::string& quality, const std::string& size) {
        const money::Usage counted = money::count_units(to_usage(usage, input_contains_parts));
        return to_tuple(value_or_throw(money::cost(book, counted,
                                                   {.model = model,
                                                    .at = {at_us},
                                                    .service_tier = service_tier,
                                                    .mode = mode,
                                                    .region = region,
                                                    .quality = quality,
                                                    .size = size})));
      },
      py::arg("prices"), py::arg("usage"), py::arg("input_contains_parts"), py::kw_only(),
      py::arg("model"), py::arg("at_us"), py::arg("service_tier"), py::arg("mode"),
      py::arg("region") = "", py::arg("quality") = "", py::arg("size") = "");
  room.def(
      "upper_bound",
      [](const catalog::PriceBook& book, const std::string& model, std::int64_t at_us,
         std::int64_t until_us, const std::string& mode, std::int64_t input_tokens,
         std::int64_t max_output) {
        money::BoundQuery query;
        query.price = {.model = model, .at = {at_us}, .service_tier = "default", .mode = mode};
        query.deadline = {until_us};
        query.input_tokens = input_tokens;
        query.max_output_tokens = max_output;
        const money::Bound bound = value_or_throw(money::upper_bound(book, query));
        return py::make_tuple(bound.input_pico, bound.output_rate);
      },
      py::arg("prices"), py::kw_only(), py::arg("model"), py::arg("at_us"), py::arg("until_us"),
      py::arg("mode"), py::arg("input_tokens"), py::arg("max_output"),
      "Pico-dollars of the input, and of each output token, at the dearest.");
  room.def(
      "ledger_files",
      [](const std::string& path) {
        return checked([&] { return money::ledger_files(base::system_files(), path); });
      },
      py::arg("path"), "The ledger files of a data folder, a ledger folder or a file.");
  room.def(
      "read_ledger",
      [](const std::string& path) {
        std::vector<money::Record> records;
        checked(
            [&] {
              return money::read_ledger(base::system_files(), path,
                                        [&](const money::Record& record) {
                                          records.push_back(record);
                                          return true;
                                        });
            },
            true);
        py::list out;
        for (const money::Record& record : records) {
          out.append(to_dict(record));
          if (out.size() % 4096 == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
        }
        return out;
      },
      py::arg("path"), "Every record of one file.");
  room.def(
      "read_ledger_on",
      [](const std::string& path, std::uint64_t records, std::uint64_t bytes) {
        const auto [found, end] = read_on(path, {records, bytes}, [](money::RecordType type) {
          return type != money::RecordType::kCheckpoint && type != money::RecordType::kProgress;
        });
        py::list out;
        for (const money::Record& record : found) out.append(to_dict(record));
        return py::make_tuple(out, end.records, end.bytes);
      },
      py::arg("path"), py::arg("records"), py::arg("bytes"),
      "What a file has behind that place, without CHECKPOINT and PROGRESS, and where it ends.");
  room.def(
      "read_calls_on",
      [](const std::string& path, std::uint64_t records, std::uint64_t bytes) {
        using enum money::RecordType;
        const auto [found, end] = read_on(path, {records, bytes}, [](money::RecordType type) {
          return type != kCheckpoint && type != kProgress && type != kSent;
        });
        CallNews news;
        for (const money::Record& record : found) news.add(record);
        return py::make_tuple(news.holds, news.ends, news.rest, end.records, end.bytes);
      },
      py::arg("path"), py::arg("records"), py::arg("bytes"),
      "What a file says of calls behind that place: (epoch, seq, at_us, call_id, attempt, model, "
      "service, scopes) of each hold, (type, epoch, seq, hold epoch, hold seq, at_us, pico, "
      "tokens, "
      "flags, units, price_version) of each end, LIMIT and ALERT, and where it ends.");
  room.def(
      "verify_ledger",
      [](const std::string& path) {
        const money::LedgerReport report =
            checked([&] { return money::verify_ledger(base::system_files(), path); }, true);
        py::dict out;
        out["ok"] = report.ok;
        out["files"] = report.files;
        out["records"] = report.records;
        out["open_holds"] = report.open_holds;
        out["spent_pico"] = to_int(report.spent);
        out["held_pico"] = to_int(report.held);
        out["first_difference"] =
            report.ok ? py::object(py::none()) : py::object(py::str(report.first_difference));
        return out;
      },
      py::arg("path"));
  bind_account(room);
}

}  // namespace dure::bindings
