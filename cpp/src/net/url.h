// net/url.h - a strict reading of the URLs we send to: what it accepts, libcurl reads the same way.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_NET_URL_H_
#define DURE_SRC_NET_URL_H_

#include <string>
#include <string_view>

#include "dure/base/result.h"

namespace dure::net {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address without its brackets
  int port = 0;
  std::string_view query;  // borrowed from the text
  bool literal = false;    // the host is an IP address
};

// http or https, no user info, no fragment, ASCII only, a plain host or literal address. Fails
// with kInvalidArgument, argument "url"; the message never repeats the text.
[[nodiscard]] base::Result<Url> parse_url(std::string_view text);

// A key in a query string ends in logs: fails with kInvalidArgument if a parameter is named so.
[[nodiscard]] base::Status check_query(std::string_view query);

[[nodiscard]] std::string lower(std::string_view text);
[[nodiscard]] bool equal_no_case(std::string_view a, std::string_view b) noexcept;

}  // namespace dure::net

#endif  // DURE_SRC_NET_URL_H_
