// dure/net/proxy.h - which proxy a URL goes through, decided by us and never by libcurl.
//
// Immutable once built; usable from any thread.
#ifndef DURE_NET_PROXY_H_
#define DURE_NET_PROXY_H_

#include <string>
#include <string_view>
#include <vector>

namespace dure::net {

struct ProxyRules {
  std::string http;                   // for http:// URLs; empty: none
  std::string https;                  // for https:// URLs; empty: none
  std::vector<std::string> no_proxy;  // hosts that are reached directly, see matches_no_proxy

  // From http_proxy (lower case only: CGI sets the other from a request header), https_proxy,
  // HTTPS_PROXY, all_proxy, ALL_PROXY, no_proxy, NO_PROXY. Reads the environment once.
  [[nodiscard]] static ProxyRules from_environment();

  // The proxy's URL for a request to `host`, or empty.
  [[nodiscard]] std::string_view choose(std::string_view scheme, std::string_view host,
                                        int port) const;
};

// "*" matches all; "example.com" and ".example.com" match the name and what is below it; an
// address or CIDR block matches a literal address; ":port" at the end restricts to that port.
[[nodiscard]] bool matches_no_proxy(std::string_view rule, std::string_view host, int port);

}  // namespace dure::net

#endif  // DURE_NET_PROXY_H_
