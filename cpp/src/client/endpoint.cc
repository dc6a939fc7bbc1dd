#include <algorithm>
#include <cctype>

#include "dure/base/build_info.h"
#include "dure/base/hash.h"
#include "dure/client/client.h"

namespace dure::client {
namespace {

bool breaks_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// The host of an http or https URL without user info, query or fragment; else empty.
std::string host_of(const std::string& url) {
  const std::string scheme = lower(url.substr(0, url.find(':')));
  if (scheme != "http" && scheme != "https") return {};
  if (url.compare(scheme.size(), 3, "://") != 0) return {};
  if (url.find_first_of("?#@ \t\r\n\\") != std::string::npos) return {};
  const std::string rest = url.substr(scheme.size() + 3);
  const std::string authority = rest.substr(0, rest.find('/'));
  if (authority.starts_with('[')) return lower(authority.substr(0, authority.find(']') + 1));
  return lower(authority.substr(0, authority.find(':')));
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.") ||
         host.ends_with(".localhost");
}

std::string provider_of(Wire wire, const std::string& host) {
  if (wire == Wire::kAnthropic) return "anthropic";
  if (wire == Wire::kAzure) return "azure";
  return host == "openai.com" || host.ends_with(".openai.com") ? "openai" : host;
}

base::Status check(const EndpointConfig& config, const std::string& host) {
  if (host.empty()) {
    return base::invalid_argument(
        "base_url", "base_url must be an http or https URL without user name, query or fragment");
  }
  if (config.keys.empty() && !is_loopback(host)) {
    return base::invalid_argument(
        "api_key", "no API key for " + host + ": pass api_key= or set OPENAI_API_KEY");
  }
  for (const std::string& key : config.keys) {
    if (key.empty() || breaks_line(key)) {
      return base::invalid_argument("api_key", "an API key is empty or holds a line break");
    }
  }
  for (const auto& [name, value] : config.default_headers) {
    if (name.empty() || breaks_line(name) || breaks_line(value)) {
      return base::invalid_argument("default_headers", "a header is empty or holds a line break");
    }
  }
  if (breaks_line(config.query) || config.query.find_first_of(" #") != std::string::npos) {
    return base::invalid_argument("default_query", "default_query is not encoded");
  }
  return {};
}

bool has_header(const net::Headers& headers, std::string_view name) {
  return net::HeaderView(headers).get(name).has_value();
}

// `value` under `name`, unless the caller set it already.
void add_missing(net::Headers& headers, std::string_view name, std::string value) {
  if (!has_header(headers, name)) headers.emplace_back(std::string(name), std::move(value));
}

}  // namespace

Endpoint::Endpoint(EndpointConfig config, std::string host, const base::Clock& clock,
                   base::Random& random, std::shared_ptr<flow::SharedHealth> health)
    : base_url_(std::move(config.base_url)),
      host_(std::move(host)),
      provider_(provider_of(config.wire, host_)),
      proxy_(std::move(config.proxy)),
      wire_(config.wire),
      bearer_(config.bearer || config.wire == Wire::kOpenAi),
      query_(std::move(config.query)),
      deployments_(std::move(config.deployments)),
      common_(std::move(config.default_headers)),
      clock_(clock),
      random_(random),
      health_(std::move(health)),
      pool_(clock),
      queue_(clock) {
  while (base_url_.ends_with('/')) base_url_.pop_back();
  config.key_rules.resize(std::max<std::size_t>(1, config.keys.size()));
  if (config.keys.empty()) config.keys.emplace_back();
  for (std::size_t i = 0; i < config.keys.size(); ++i) {
    add_slot(std::move(config.keys[i]), config.key_rules[i]);
  }
  add_missing(common_, "User-Agent", "dure/" + std::string(base::version()));
  add_missing(common_, "Content-Type", "application/json");
  if (!config.organization.empty()) {
    add_missing(common_, "OpenAI-Organization", std::move(config.organization));
  }
  if (!config.project.empty()) add_missing(common_, "OpenAI-Project", std::move(config.project));
  if (wire_ == Wire::kAnthropic) add_missing(common_, "anthropic-version", "2023-06-01");
  authorized_ = has_header(common_, "Authorization");
  identity_ = identity_of(config.also);
}

std::shared_ptr<flow::KeyHealth> Endpoint::health_of(const std::string& what) const {
  return health_ == nullptr ? nullptr : health_->cell(base_url_ + ' ' + what);
}

// The text is moved: no copy of the key stays behind.
std::shared_ptr<KeySlot> Endpoint::make_slot(std::string&& key) const {
  base::Secret secret(std::move(key));
  std::string id = secret.id();
  auto health = health_of("key " + id);
  return std::make_shared<KeySlot>(std::move(secret), std::move(id), clock_, random_,
                                   std::move(health));
}

void Endpoint::add_slot(std::string&& key, const flow::KeyRule& rule) {
  slots_.push_back(make_slot(std::move(key)));
  pool_.add(rule, health_of("key " + slots_.back()->id), health_of("quota " + rule.quota));
}

// Never shown: a header may be as secret as a key.
std::string Endpoint::identity_of(const std::vector<std::string>& also) const {
  base::Sha256 all;
  const auto add = [&all](std::string_view text) {
    all.update(std::to_string(text.size()) + ":");
    all.update(text);
  };
  add(base_url_);
  for (const std::string& url : also) add(url);
  add(std::to_string(static_cast<int>(wire_)));
  add(query_);
  for (const auto& [model, deployment] : deployments_) {
    add(model);
    add(deployment);
  }
  for (const auto& [name, value] : common_) {
    if (lower(name) == "user-agent") continue;  // another version of ours asks the same
    add(name);
    add(value);
  }
  return base::hex(all.finish());
}

base::Result<std::shared_ptr<Endpoint>> Endpoint::create(
    EndpointConfig config, const base::Clock& clock, base::Random& random,
    std::shared_ptr<flow::SharedHealth> health) {
  std::string host = host_of(config.base_url);
  DURE_RETURN_IF_ERROR(check(config, host));
  return std::shared_ptr<Endpoint>(
      new Endpoint(std::move(config), std::move(host), clock, random, std::move(health)));
}

net::Headers Endpoint::headers(const KeySlot& key) const {
  net::Headers out;
  out.reserve(common_.size() + 4);  // the call adds its own
  out = common_;
  if (authorized_ || key.secret.empty()) return out;
  const std::string_view prefix = bearer_ ? "Bearer " : "";
  const char* const name = bearer_                 ? "Authorization"
                           : wire_ == Wire::kAzure ? "api-key"
                                                   : "x-api-key";
  std::string& value = out.emplace_back(name, std::string()).second;
  const std::string_view secret = key.secret.reveal();
  value.reserve(prefix.size() + secret.size());  // no copy of the key stays behind
  value.append(prefix).append(secret);
  return out;
}

std::string Endpoint::url(std::string_view path, std::string_view model) const {
  constexpr std::string_view kChat = "/chat/completions";
  std::string out = base_url_;
  const bool deployed_path = path.starts_with(kChat) || path.starts_with("/embeddings");
  if (wire_ == Wire::kAzure && deployed_path && !model.empty()) {
    auto deployed = deployments_.find(std::string(model));
    if (deployed == deployments_.end()) deployed = deployments_.find("*");
    out += "/deployments/";
    out += deployed == deployments_.end() ? model : std::string_view(deployed->second);
  }
  if (wire_ == Wire::kAnthropic && path.starts_with(kChat)) {
    out += "/messages";
    path.remove_prefix(kChat.size());
  }
  out += path;
  if (!query_.empty()) out += (path.find('?') == std::string_view::npos ? "?" : "&") + query_;
  return out;
}

bool Endpoint::may_be_asked() const {
  const std::lock_guard lock(keys_mutex_);
  return std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
    return slot->breaker.state() != flow::Breaker::State::kOpen;
  });
}

std::shared_ptr<KeySlot> Endpoint::slot(std::size_t key) const {
  const std::lock_guard lock(keys_mutex_);
  return slots_[key];
}

std::vector<std::string> Endpoint::key_ids() const {
  std::vector<std::string> ids;
  for (const KeyState& key : key_states()) {
    if (!key.state.retired) ids.push_back(key.id);
  }
  return ids;
}

std::vector<Endpoint::KeyState> Endpoint::key_states() const {
  const std::lock_guard lock(keys_mutex_);
  std::vector<KeyState> states;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    states.push_back({slots_[i]->id, pool_.state(i)});
  }
  return states;
}

base::Result<std::string> Endpoint::add_key(std::string key, const flow::KeyRule& rule) {
  if (key.empty() || breaks_line(key)) {
    return base::fail(base::invalid_argument("key", "an API key is empty or holds a line break"));
  }
  if (!(rule.weight > 0 && rule.weight <= 1e6)) {
    return base::fail(base::invalid_argument("weight", "weight must be above zero"));
  }
  for (const auto& member : members_) {
    if (auto added = member->add_key(key, rule); !added) return added;
  }
  auto slot = make_slot(std::move(key));
  std::string id = slot->id;
  const std::lock_guard lock(keys_mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i]->id != id) continue;
    if (slots_[i]->secret.empty()) slots_[i] = std::move(slot);
    pool_.revive(i);
    return id;
  }
  slots_.push_back(std::move(slot));
  pool_.add(rule, health_of("key " + id), health_of("quota " + rule.quota));
  return id;
}

bool Endpoint::retire_key(std::string_view id, bool forget) {
  for (const auto& member : members_) (void)member->retire_key(id, forget);
  const std::lock_guard lock(keys_mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i]->id != id) continue;
    pool_.retire(i);
    if (forget) {
      slots_[i] = std::make_shared<KeySlot>(base::Secret(), std::string(id), clock_, random_);
    }
    return true;
  }
  return false;
}

std::size_t Endpoint::choose_member(std::optional<std::size_t> but) {
  std::vector<std::size_t> usable;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (i != but && members_[i]->may_be_asked()) usable.push_back(i);
  }
  return balancer_->choose(usable).value_or(but.value_or(0));
}

flow::Hedging& Endpoint::hedging(const std::string& model) {
  const std::lock_guard lock(hedging_mutex_);
  return hedging_[model];  // references of a map's values stay
}

std::string Endpoint::redact(std::string_view text) const {
  std::string out(text);
  const std::lock_guard lock(keys_mutex_);
  for (const auto& slot : slots_) out = slot->secret.redact(out);
  return out;
}

base::Result<std::shared_ptr<Endpoint>> Client::one_endpoint(const EndpointConfig& config) {
  base::Sha256 name;
  const auto add = [&name](std::string_view text) {
    name.update(std::to_string(text.size()) + ":");
    name.update(text);
  };
  for (const std::string* text :
       {&config.base_url, &config.organization, &config.project, &config.proxy, &config.query}) {
    add(*text);
  }
  add(std::to_string(static_cast<int>(config.wire) * 2 + (config.bearer ? 1 : 0)));
  add(std::to_string(config.deployments.size()));
  for (const auto& [model, deployment] : config.deployments) {
    add(model);
    add(deployment);
  }
  for (const std::string& key : config.keys) add(key);
  for (const flow::KeyRule& rule : config.key_rules) {
    add(rule.quota);
    add(std::to_string(rule.weight));
  }
  for (const std::string& url : config.also) add(url);
  add("headers");
  for (const auto& [key, value] : config.default_headers) {
    add(key);
    add(value);
  }
  const std::string digest = base::hex(name.finish());
  const std::lock_guard lock(mutex_);
  if (health_ == nullptr) {
    auto opened =
        flow::SharedHealth::open(base::system_files(), services_.account->folder() + "/health");
    if (!opened) return base::fail(std::move(opened.error()));
    health_ = std::move(*opened);
  }
  if (auto known = endpoints_[digest].lock()) return known;
  auto made = Endpoint::create(config, *services_.clock, *services_.random, health_);
  if (!made) {
    endpoints_.erase(digest);
    return made;
  }
  std::erase_if(endpoints_, [](const auto& entry) { return entry.second.expired(); });
  endpoints_[digest] = *made;
  return made;
}

base::Result<std::shared_ptr<Endpoint>> Client::endpoint(const EndpointConfig& config) {
  auto front = one_endpoint(config);
  if (!front || config.also.empty()) return front;
  std::vector<std::shared_ptr<Endpoint>> members;
  EndpointConfig each = config;
  each.also.clear();
  for (std::size_t i = 0; i <= config.also.size(); ++i) {
    if (i > 0) each.base_url = config.also[i - 1];
    auto member = one_endpoint(each);
    if (!member) return member;
    members.push_back(std::move(*member));
  }
  const std::lock_guard lock(mutex_);
  if ((*front)->members_.empty()) {
    (*front)->balancer_ = std::make_unique<flow::Balancer>(std::vector<double>(members.size(), 1.0),
                                                           *services_.clock, *services_.random);
    (*front)->members_ = std::move(members);
  }
  return front;
}

}  // namespace dure::client
