#include "dure/net/proxy.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "dure/net/egress.h"
#include "net/url.h"

namespace dure::net {
namespace {

std::string first_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): once, at construction
    if (value != nullptr && *value != '\0') return value;
  }
  return {};
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(", \t"), text.size());
    if (end > 0) items.push_back(lower(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

bool matches_block(std::string_view rule, std::string_view host) {
  const auto address = IpAddress::parse(host);
  const auto block = EgressGuard::create({std::string(rule)});
  return address && block && block->contains(*address);
}

}  // namespace

ProxyRules ProxyRules::from_environment() {
  ProxyRules rules;
  const std::string all = first_set({"all_proxy", "ALL_PROXY"});
  rules.http = first_set({"http_proxy"});
  rules.https = first_set({"https_proxy", "HTTPS_PROXY"});
  if (rules.http.empty()) rules.http = all;
  if (rules.https.empty()) rules.https = all;
  rules.no_proxy = split_list(first_set({"no_proxy", "NO_PROXY"}));
  return rules;
}

std::string_view ProxyRules::choose(std::string_view scheme, std::string_view host,
                                    int port) const {
  const std::string& proxy = scheme == "https" ? https : http;
  const bool direct = std::ranges::any_of(
      no_proxy, [&](const std::string& rule) { return matches_no_proxy(rule, host, port); });
  return direct ? std::string_view() : std::string_view(proxy);
}

bool matches_no_proxy(std::string_view rule, std::string_view host, int port) {
  if (rule == "*") return true;
  if (matches_block(rule, host)) return true;
  const std::size_t colon = rule.rfind(':');
  if (colon != std::string_view::npos && rule.find(':') == colon) {
    int wanted = 0;
    std::from_chars(rule.data() + colon + 1, rule.data() + rule.size(), wanted);
    if (wanted != port) return false;
    rule = rule.substr(0, colon);
    if (matches_block(rule, host)) return true;
  }
  if (rule.starts_with("*.")) rule.remove_prefix(1);
  if (rule.starts_with('.')) rule.remove_prefix(1);
  if (rule.empty() || host.size() < rule.size()) return false;
  if (!equal_no_case(host.substr(host.size() - rule.size()), rule)) return false;
  return host.size() == rule.size() || host[host.size() - rule.size() - 1] == '.';
}

}  // namespace dure::net
