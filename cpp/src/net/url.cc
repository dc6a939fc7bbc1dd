#include "net/url.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "dure/net/egress.h"

namespace dure::net {
namespace {

char lower_char(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

tl::unexpected<base::Status> bad(std::string why) {
  return base::fail(base::invalid_argument("url", "this URL cannot be used: " + std::move(why)));
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_host_char(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
}

// WHATWG: a host whose last label is a number is an IPv4 address or nothing.
bool ends_in_number(std::string_view host) noexcept {
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::size_t dot = host.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? host : host.substr(dot + 1);
  return !last.empty() && (std::ranges::all_of(last, is_digit) || last.starts_with("0x"));
}

base::Status check_host(Url& url) {
  if (url.host.empty()) return bad("it names no host").value();
  if (!std::ranges::all_of(url.host, is_host_char)) {
    return bad("the host holds characters that do not belong there (write international names in "
               "their xn-- form)")
        .value();
  }
  if (url.host.starts_with('.') || url.host.find("..") != std::string::npos) {
    return bad("the host has an empty label").value();
  }
  if (ends_in_number(url.host)) {
    const auto address = IpAddress::parse(url.host);
    if (!address) return bad("the host is no IPv4 address in the usual form").value();
    url.literal = true;
  }
  return {};
}

base::Status read_port(std::string_view text, Url& url) {
  url.port = url.scheme == "https" ? 443 : 80;
  if (text.empty()) return {};
  const std::string_view digits = text.substr(1);
  const auto [stop, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), url.port);
  if (digits.empty() || error != std::errc() || stop != digits.data() + digits.size() ||
      url.port < 1 || url.port > 65535) {
    return bad("the port is not a number from 1 to 65535").value();
  }
  return {};
}

}  // namespace

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), lower_char);
  return result;
}

bool equal_no_case(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, {}, lower_char, lower_char);
}

base::Result<Url> parse_url(std::string_view text) {
  if (std::ranges::any_of(text, [](char c) { return c <= ' ' || c > '~' || c == '\\'; })) {
    return bad("it holds a space, a backslash, a control or a non-ASCII character");
  }
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) return bad("it must begin with http:// or https://");
  Url url;
  url.scheme = lower(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https") return bad("only http and https are spoken");
  std::string_view rest = text.substr(colon + 3);
  if (rest.find('#') != std::string_view::npos) return bad("it has a fragment");
  const std::size_t path = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, path);
  rest.remove_prefix(path);
  if (authority.find('@') != std::string_view::npos) {
    return bad("it holds user information: put credentials into a header");
  }
  if (const std::size_t mark = rest.find('?'); mark != std::string_view::npos) {
    url.query = rest.substr(mark + 1);
  }
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad("the IPv6 address has no closing bracket");
    url.host = lower(authority.substr(1, close - 1));
    url.literal = true;
    if (url.host.find(':') == std::string::npos || !IpAddress::parse(url.host)) {
      return bad("the brackets hold no IPv6 address");
    }
    authority.remove_prefix(close + 1);
    if (!authority.empty() && authority.front() != ':') return bad("text after the bracket");
  } else {
    const std::size_t end = std::min(authority.find(':'), authority.size());
    url.host = lower(authority.substr(0, end));
    authority.remove_prefix(end);
    DURE_RETURN_IF_ERROR(check_host(url));
  }
  DURE_RETURN_IF_ERROR(read_port(authority, url));
  return url;
}

base::Status check_query(std::string_view query) {
  constexpr std::array<std::string_view, 8> kKeys{
      "key",    "api_key",      "api-key",       "apikey",
      "secret", "access_token", "client_secret", "subscription-key"};
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const std::string_view name = pair.substr(0, pair.find('='));
    for (const std::string_view key : kKeys) {
      if (equal_no_case(name, key)) {
        return bad("parameter '" + std::string(key) +
                   "' looks like a key, and URLs end in logs: send keys in a header")
            .value();
      }
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return {};
}

}  // namespace dure::net
