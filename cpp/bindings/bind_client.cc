#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <optional>
#include <utility>

#include "bindings.h"
#include "call_objects.h"
#include "dure/client/client.h"
#include "dure/client/embeddings.h"
#include "dure/money/account.h"
#include "dure/net/http_transport.h"
#include "dure/net/proxy.h"
#include "gil.h"
#include "remote_answers.h"
#include "request_writer.h"
#include "status.h"

namespace dure::bindings {
namespace {

using client::CallOptions;
using client::Client;
using client::Endpoint;
using TransportPtr = std::shared_ptr<net::Transport>;

base::Duration duration(double seconds) {
  return std::chrono::duration_cast<base::Duration>(std::chrono::duration<double>(seconds));
}

// One native client per data folder and set of injected parts. Idle ones beyond a few are closed:
// many short-lived views must not open the ledger anew each time. Guarded by the GIL.
class Registry {
 public:
  static Registry& instance() {
    static auto* const all = new Registry();  // leaked: calls may end after static destructors
    return *all;
  }

  std::shared_ptr<Client> open(const std::string& data, const py::object& transport,
                               const py::object& clock, const py::object& random,
                               const std::vector<std::string>& ca_fallbacks) {
    const Key key{data, engine_name(transport),
                  py::isinstance<py::str>(transport) ? nullptr : transport.ptr(), clock.ptr(),
                  random.ptr()};
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->key == key) return it->client;
    }
    Entry entry{key, make(data, transport, clock, random, ca_fallbacks), transport, clock, random};
    for (const Entry& other : entries_) {  // another thread was faster while the GIL was free
      if (other.key != key) continue;
      without_gil([&] { entry.client.reset(); });
      return other.client;
    }
    sweep();
    entries_.push_back(std::move(entry));
    return entries_.back().client;
  }

 private:
  using Key = std::tuple<std::string, std::string, PyObject*, PyObject*, PyObject*>;
  struct Entry {
    Key key;
    std::shared_ptr<Client> client;
    py::object transport, clock, random;  // the client borrows from them: they die after it
  };
  static constexpr std::size_t kIdle = 4;

  static std::string engine_name(const py::object& transport) {
    return py::isinstance<py::str>(transport) ? transport.cast<std::string>() : std::string();
  }

  static std::shared_ptr<Client> make(const std::string& data, const py::object& transport,
                                      const py::object& clock, const py::object& random,
                                      const std::vector<std::string>& ca_fallbacks) {
    client::Services services;
    services.clock = clock.is_none() ? &base::system_clock() : &clock.cast<const base::Clock&>();
    services.random = random.is_none() ? &base::system_random() : &random.cast<base::Random&>();
    services.prices = catalog::PriceBook::builtin();
    const bool native = transport.is_none() || py::isinstance<py::str>(transport);
    const auto engine = net::engine_of(engine_name(transport));
    if (!engine) {
      throw StatusException(
          base::invalid_argument("transport", "transport must be \"a\" or \"b\""));
    }
    if (!native) services.transport = transport.cast<TransportPtr>();
    without_gil([&] {
      services.account =
          value_or_throw(clock.is_none() ? money::Account::shared(data)
                                         : money::Account::open(data, {.clock = services.clock}));
      if (native) {
        net::TransportOptions options;
        options.proxy = net::ProxyRules::from_environment();
        options.ca_fallbacks = ca_fallbacks;
        services.transport = net::make_transport(std::move(options), *services.clock, *engine);
      }
    });
    return Client::create(std::move(services));
  }

  // Closes the oldest clients that nobody holds, except the last few.
  void sweep() {
    std::vector<Entry> closed;
    std::size_t idle = 0;
    for (std::size_t i = entries_.size(); i-- > 0;) {
      if (entries_[i].client.use_count() > 1 || ++idle <= kIdle) continue;
      closed.push_back(std::move(entries_[i]));
      entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (Entry& entry : closed) {
      without_gil([&] { entry.client.reset(); });
    }
  }

  std::vector<Entry> entries_;
};

// One who uses a client: from its making until `end`, or until nobody holds it.
class Membership {
 public:
  explicit Membership(std::shared_ptr<Client> client) : client_(std::move(client)) {
    client_->join();
  }
  ~Membership() { end(); }
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;
  // Idempotent.
  void end() {
    if (const auto client = std::exchange(client_, nullptr)) client->leave();
  }

 private:
  std::shared_ptr<Client> client_;
};

client::Caching caching_of(const std::string& name) {
  if (name == "off") return client::Caching::kOff;
  if (name == "memory") return client::Caching::kMemory;
  if (name == "disk") return client::Caching::kDisk;
  throw StatusException(base::invalid_argument("cache", "cache must be off, memory or disk"));
}

CallOptions make_options(std::vector<std::string> scopes, std::string service, int max_attempts,
                         std::optional<std::int64_t> max_cost, bool resend_ambiguous,
                         const std::array<double, 4>& timeouts, bool metered,
                         std::array<std::vector<std::string>, 3> fallbacks, std::size_t priority,
                         const std::string& caching, double cache_for, std::optional<bool> coalesce,
                         bool hedge, std::shared_ptr<const catalog::PriceBook> prices,
                         std::string region, double gather,
                         std::shared_ptr<flow::RemoteCache> remote, std::string stage_of) {
  CallOptions options;
  options.scopes = std::move(scopes);
  options.service = std::move(service);
  options.max_attempts = max_attempts;
  options.max_cost = max_cost;
  options.resend_ambiguous = resend_ambiguous;
  options.metered = metered;
  options.deadlines.connect = duration(timeouts[0]);
  options.deadlines.first_byte = duration(timeouts[1]);
  options.deadlines.idle = duration(timeouts[2]);
  options.deadlines.total = duration(timeouts[3]);
  options.priority = priority;
  options.caching = caching_of(caching);
  options.cache_for = duration(cache_for);
  options.coalesce = coalesce;
  options.hedge = hedge;
  options.fallbacks = {std::move(fallbacks[0]), std::move(fallbacks[1]), std::move(fallbacks[2])};
  options.prices = std::move(prices);
  options.region = std::move(region);
  options.gather = duration(gather);
  options.remote = std::move(remote);
  options.stage_of = std::move(stage_of);
  return options;
}

std::string body_of(const py::object& body) {
  if (body.is_none()) return {};
  if (py::isinstance<py::bytes>(body)) return body.cast<std::string>();
  return write_json(body, "body");
}

client::Plan make_plan(std::shared_ptr<Endpoint> endpoint, std::string method, std::string path,
                       const py::object& body, net::Headers headers, const CallOptions& options) {
  client::Plan plan;
  plan.endpoint = std::move(endpoint);
  plan.method = std::move(method);
  plan.path = std::move(path);
  plan.body = body_of(body);
  plan.headers = std::move(headers);
  plan.options = options;
  return plan;
}

// (future, ticket) for asyncio.
py::tuple call_async(const std::shared_ptr<Client>& self, std::shared_ptr<Endpoint> endpoint,
                     std::string method, std::string path, const py::object& body,
                     net::Headers headers, const CallOptions& options) {
  client::Plan plan = make_plan(std::move(endpoint), std::move(method), std::move(path), body,
                                std::move(headers), options);
  plan.whole = true;
  LoopBridge& bridge = LoopBridge::current();
  auto [future, waiter] = bridge.make_wait();
  std::shared_ptr<client::Call> call;
  try {
    call = without_gil([&, &done = waiter] {
      return self->start(std::move(plan), std::make_shared<ReplyObserver>(done));
    });
  } catch (...) {
    bridge.forget(waiter.ticket());
    throw;
  }
  bridge.attach(waiter.ticket(), std::move(call));
  return py::make_tuple(std::move(future), waiter.ticket());
}

// The future of `ticket` was cancelled: so is its call, unless it has ended.
void cancel_async(const std::shared_ptr<Client>& /*self*/, std::uint64_t ticket) {
  const std::shared_ptr<void> attached = LoopBridge::current().detach(ticket);
  if (attached == nullptr) return;
  without_gil([&] { static_cast<client::Call*>(attached.get())->cancel(); });
}

py::object call_sync(const std::shared_ptr<Client>& self, std::shared_ptr<Endpoint> endpoint,
                     std::string method, std::string path, const py::object& body,
                     net::Headers headers, const CallOptions& options) {
  client::Plan plan = make_plan(std::move(endpoint), std::move(method), std::move(path), body,
                                std::move(headers), options);
  plan.whole = true;
  SyncWait wait;
  auto call = without_gil(
      [&] { return self->start(std::move(plan), std::make_shared<ReplyObserver>(wait.waiter())); });
  return wait.get([&] { call->cancel(); });
}

std::unique_ptr<Stream> stream(const std::shared_ptr<Client>& self,
                               std::shared_ptr<Endpoint> endpoint, std::string path,
                               const py::object& body, net::Headers headers,
                               const CallOptions& options) {
  client::Plan plan =
      make_plan(std::move(endpoint), "POST", std::move(path), body, std::move(headers), options);
  auto ring = std::make_shared<StreamRing>();
  auto call = without_gil([&] { return self->start(std::move(plan), ring); });
  return std::make_unique<Stream>(std::move(ring), std::move(call));
}

// The reply of a success while it comes: its head, then its bytes.
std::unique_ptr<Stream> open_raw(const std::shared_ptr<Client>& self,
                                 std::shared_ptr<Endpoint> endpoint, std::string method,
                                 std::string path, const py::object& body, net::Headers headers,
                                 const CallOptions& options) {
  client::Plan plan = make_plan(std::move(endpoint), std::move(method), std::move(path), body,
                                std::move(headers), options);
  plan.raw = true;
  auto ring = std::make_shared<StreamRing>();
  auto call = without_gil([&] { return self->start(std::move(plan), ring); });
  return std::make_unique<Stream>(std::move(ring), std::move(call));
}

// One slot per (body, options); a body that cannot be written is refused in its own slot.
std::unique_ptr<BatchHandle> batch(const std::shared_ptr<Client>& self,
                                   const std::shared_ptr<Endpoint>& endpoint,
                                   const std::string& path, const py::list& bodies,
                                   const std::vector<std::shared_ptr<CallOptions>>& options,
                                   std::size_t limit) {
  std::vector<fanout::Item> items(bodies.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    try {
      items[i].plan =
          make_plan(endpoint, "POST", path, bodies[i], {}, *options[options.size() == 1 ? 0 : i]);
    } catch (const StatusException& refused) {
      items[i].refused = refused.status();
    }
  }
  return std::make_unique<BatchHandle>(self, std::move(items), limit);
}

py::dict counters(const std::shared_ptr<Client>& self) {
  client::Counters& seen = self->counters();
  py::dict out;
  out["calls"] = seen.calls.load();
  out["attempts"] = seen.attempts.load();
  out["retries"] = seen.retries.load();
  out["ambiguous"] = seen.ambiguous.load();
  out["failures"] = seen.failures.load();
  out["cost_pico"] = seen.cost.load();
  out["cache_hits"] = seen.cache_hits.load();
  out["coalesced"] = seen.coalesced.load();
  out["hedges"] = seen.hedges.load();
  out["saved_pico"] = seen.saved.load();
  out["gathered"] = seen.gathered.load();
  return out;
}

double seconds(base::Duration duration) { return static_cast<double>(duration.count()) / 1e9; }

py::dict to_dict(const client::CallEvent& event) {
  py::list flags;
  for (const std::string_view flag : money::flag_names(event.flags)) flags.append(py::str(flag));
  py::dict out;
  out["at_us"] = event.at.us;
  out["call_id"] = event.call_id;
  out["attempt"] = event.attempt;
  out["org"] = event.org;
  out["service"] = event.service;
  out["model"] = event.model;
  out["key_id"] = event.key_id;
  out["outcome"] = event.what;
  out["http_status"] = event.http_status;
  out["latency"] = seconds(event.latency);
  out["first_event"] = seconds(event.first_event);
  out["attempts"] = event.attempts;
  out["input_tokens"] = event.input_tokens;
  out["output_tokens"] = event.output_tokens;
  out["cost_pico"] = event.cost;
  out["flags"] = py::tuple(flags);
  out["cached"] = event.cached;
  out["coalesced"] = event.coalesced;
  out["hedged"] = event.hedged;
  return out;
}

py::list take_events(Client& self) {
  py::list out;
  for (const client::CallEvent& event : self.events().take()) out.append(to_dict(event));
  return out;
}

void set_rate(Client& self, const std::string& name, double per_minute, double burst) {
  const auto status = value_or_throw(self.rates())->set(name, {per_minute, burst});
  if (!status.ok()) throw StatusException(status);
}

// (per minute, burst, left now), or None.
py::object read_rate(Client& self, const std::string& name) {
  flow::SharedRates& rates = *value_or_throw(self.rates());
  const flow::SharedRate rate = rates.read(name);
  if (rate.per_minute == 0) return py::none();
  return py::make_tuple(rate.per_minute, rate.burst, rates.left(name));
}

// float32[n, dim] in the order of the inputs.
py::array_t<float> read_vectors(const py::bytes& body, std::size_t inputs) {
  const std::string_view text = body;
  client::Vectors vectors =
      without_gil([&] { return value_or_throw(client::read_vectors(text, inputs)); });
  auto* kept = new std::vector<float>(std::move(vectors.values));
  const py::capsule owner(kept, [](void* held) { delete static_cast<std::vector<float>*>(held); });
  return py::array_t<float>({inputs, vectors.dimensions}, kept->data(), owner);
}

// (id, quota, weight, parked, retired, seconds asleep, share left, how often taken)
py::list key_states(const Endpoint& self) {
  py::list out;
  for (const auto& [id, state] : self.key_states()) {
    const double asleep = static_cast<double>(state.asleep.count()) * 1e-9;
    out.append(py::make_tuple(id, state.rule.quota, state.rule.weight, state.parked, state.retired,
                              asleep, state.left, state.taken));
  }
  return out;
}

client::Wire wire_of(const std::string& name) {
  if (name == "openai") return client::Wire::kOpenAi;
  if (name == "anthropic") return client::Wire::kAnthropic;
  if (name == "azure") return client::Wire::kAzure;
  throw StatusException(base::invalid_argument("wire", "wire must be openai, anthropic or azure"));
}

void bind_client_class(py::module_& room) {
  py::class_<Membership>(room, "Membership",
                         "One user of a client; idle connections are closed after the last one.")
      .def("end", &Membership::end);
  py::class_<Client, std::shared_ptr<Client>>(room, "Client",
                                              "The native client of one data folder.")
      .def_static(
          "open",
          [](const std::string& data, const py::object& transport, const py::object& clock,
             const py::object& random, const std::vector<std::string>& ca_fallbacks) {
            return Registry::instance().open(data, transport, clock, random, ca_fallbacks);
          },
          py::arg("data"), py::arg("transport"), py::arg("clock"), py::arg("random"),
          py::arg("ca_fallbacks") = std::vector<std::string>{})
      .def(
          "endpoint",
          [](const std::shared_ptr<Client>& self, std::string base_url,
             std::vector<std::string> keys, std::string organization, std::string project,
             net::Headers headers, std::string proxy, const std::string& wire, bool bearer,
             std::string query, std::map<std::string, std::string> deployments,
             std::vector<std::string> also,
             const std::vector<std::pair<std::string, double>>& key_rules) {
            client::EndpointConfig config{std::move(base_url),     std::move(keys),
                                          std::move(organization), std::move(project),
                                          std::move(headers),      std::move(proxy),
                                          wire_of(wire),           bearer,
                                          std::move(query),        std::move(deployments),
                                          std::move(also)};
            for (const auto& [quota, weight] : key_rules) {
              config.key_rules.push_back({quota, weight});
            }
            return value_or_throw(self->endpoint(config));
          },
          py::arg("base_url"), py::arg("keys"), py::arg("organization"), py::arg("project"),
          py::arg("headers"), py::arg("proxy"), py::arg("wire") = "openai",
          py::arg("bearer") = false, py::arg("query") = "",
          py::arg("deployments") = std::map<std::string, std::string>{},
          py::arg("also") = std::vector<std::string>{},
          py::arg("key_rules") = std::vector<std::pair<std::string, double>>{})
      .def("call_async", &call_async, py::arg("endpoint"), py::arg("method"), py::arg("path"),
           py::arg("body"), py::arg("headers"), py::arg("options"))
      .def("cancel_async", &cancel_async, py::arg("ticket"))
      .def("call_sync", &call_sync, py::arg("endpoint"), py::arg("method"), py::arg("path"),
           py::arg("body"), py::arg("headers"), py::arg("options"))
      .def("stream", &stream, py::arg("endpoint"), py::arg("path"), py::arg("body"),
           py::arg("headers"), py::arg("options"))
      .def("open_raw", &open_raw, py::arg("endpoint"), py::arg("method"), py::arg("path"),
           py::arg("body"), py::arg("headers"), py::arg("options"))
      .def("batch", &batch, py::arg("endpoint"), py::arg("path"), py::arg("bodies"),
           py::arg("options"), py::arg("limit"))
      .def("join",
           [](const std::shared_ptr<Client>& self) { return std::make_unique<Membership>(self); })
      .def("counters", &counters)
      .def(
          "keep_events", [](Client& self, std::size_t most) { self.events().keep(most); },
          py::arg("most"))
      .def("take_events", &take_events)
      .def("events_dropped", [](Client& self) { return self.events().dropped(); })
      .def("forget_answers", [](Client& self) { without_gil([&] { self.forget_answers(); }); })
      .def("set_rate", &set_rate, py::arg("name"), py::arg("per_minute"), py::arg("burst"))
      .def("read_rate", &read_rate, py::arg("name"))
      .def_property_readonly("data",
                             [](const Client& self) { return self.services().account->folder(); })
      .def(
          "estimate",
          [](const Client& self, const std::shared_ptr<Endpoint>& endpoint, const std::string& path,
             const py::bytes& body, const CallOptions& options, const std::string& mode,
             std::int64_t until_us) {
            auto plan = make_plan(endpoint, "POST", path, body, {}, options);
            const client::Estimate most =
                value_or_throw(without_gil([&] { return self.estimate(plan, mode, {until_us}); }));
            return py::make_tuple(
                most.model, most.bound.input_pico, most.bound.input_tokens, most.bound.output_rate,
                most.bound.choices * most.bound.max_output_tokens, most.bound.hidden_output);
          },
          py::arg("endpoint"), py::arg("path"), py::arg("body"), py::arg("options"),
          py::arg("mode"), py::arg("until_us"),
          "Model, then bounds: pico-dollars and tokens of the input, pico-dollars of each output "
          "token, output tokens, and whether there is hidden output.")
      .def_property_readonly("account", [](const Client& self) { return self.services().account; });
}

}  // namespace

void bind_client(py::module_& core) {
  py::module_ room = core.def_submodule("client", "Calls: admission, resends, settlement.");
  py::class_<net::Transport, TransportPtr>(room, "Transport",
                                           "Moves requests; dure.testing has a fake one.");
  bind_call_objects(room);
  bind_remote_answers(room);
  py::class_<CallOptions, std::shared_ptr<CallOptions>>(room, "Options", "Limits of one call.")
      .def(py::init(&make_options), py::arg("scopes"), py::arg("service"), py::arg("max_attempts"),
           py::arg("max_cost"), py::arg("resend_ambiguous"), py::arg("timeouts"),
           py::arg("metered") = true,
           py::arg("fallbacks") = std::array<std::vector<std::string>, 3>{},
           py::arg("priority") = 0, py::arg("caching") = "off", py::arg("cache_for") = 86400.0,
           py::arg("coalesce") = py::none(), py::arg("hedge") = false, py::arg("prices") = nullptr,
           py::arg("region") = "", py::arg("gather") = 0.0, py::arg("remote") = nullptr,
           py::arg("stage_of") = "");
  py::class_<Endpoint, std::shared_ptr<Endpoint>>(room, "Endpoint", "Where calls go.")
      .def_property_readonly("base_url", &Endpoint::base_url)
      .def_property_readonly("host", &Endpoint::host)
      .def_property_readonly("key_ids", &Endpoint::key_ids)
      .def(
          "add_key",
          [](Endpoint& self, std::string key, std::string quota, double weight) {
            return value_or_throw(self.add_key(std::move(key), {std::move(quota), weight}));
          },
          py::arg("key"), py::arg("quota"), py::arg("weight"))
      .def("retire_key", &Endpoint::retire_key, py::arg("key_id"), py::arg("forget"))
      .def("key_states", &key_states)
      .def_property_readonly("provider", &Endpoint::provider);
  bind_client_class(room);
  room.def(
      "read_json", [](const py::bytes& text) { return read_json(std::string_view(text)); },
      py::arg("text"), "The Python objects of a JSON text.");
  room.def(
      "write_json",
      [](const py::object& value, const std::string& argument) {
        return py::bytes(write_json(value, argument));
      },
      py::arg("value"), py::arg("argument") = "body", "Compact JSON of dicts, lists and scalars.");
  room.def("read_vectors", &read_vectors, py::arg("body"), py::arg("inputs"),
           "Vectors of an embeddings reply, by their index.");
}

}  // namespace dure::bindings
