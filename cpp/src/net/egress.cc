#include "dure/net/egress.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "net/url.h"

namespace dure::net {
namespace {

struct Refused {
  const char* text;
  int bits;
};

// reliability.md 3.7: what is not the public internet.
constexpr Refused kRefused4[] = {
    {"0.0.0.0", 8},      {"10.0.0.0", 8},     {"100.64.0.0", 10}, {"127.0.0.0", 8},
    {"169.254.0.0", 16}, {"172.16.0.0", 12},  {"192.0.0.0", 24},  {"192.0.2.0", 24},
    {"192.88.99.0", 24}, {"192.168.0.0", 16}, {"198.18.0.0", 15}, {"198.51.100.0", 24},
    {"203.0.113.0", 24}, {"224.0.0.0", 4},    {"240.0.0.0", 4},
};
constexpr Refused kRefused6[] = {
    {"::", 96},          {"::ffff:0:0", 96}, {"::ffff:0:0:0", 96}, {"64:ff9b::", 96},
    {"64:ff9b:1::", 48}, {"100::", 64},      {"2001::", 23},       {"2001:db8::", 32},
    {"2002::", 16},      {"3fff::", 20},     {"5f00::", 16},       {"fc00::", 7},
    {"fe80::", 10},      {"fec0::", 10},     {"ff00::", 8},
};

bool same_prefix(const IpAddress& a, const IpAddress& b, int bits) noexcept {
  if (a.v4 != b.v4) return false;
  const auto whole = static_cast<std::size_t>(bits / 8);
  if (!std::equal(a.bytes.begin(), a.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                  b.bytes.begin())) {
    return false;
  }
  const int rest = bits % 8;
  return rest == 0 || ((a.bytes[whole] ^ b.bytes[whole]) >> (8 - rest)) == 0;
}

bool is_public(const IpAddress& address) noexcept {
  const auto refused_by = [&](const auto& table) {
    return std::ranges::any_of(table, [&](const Refused& one) {
      const auto base = IpAddress::parse(one.text);
      return base && same_prefix(*base, address, one.bits);
    });
  };
  return address.v4 ? !refused_by(kRefused4) : !refused_by(kRefused6);
}

}  // namespace

base::Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string copy(text);
  IpAddress address;
  in_addr v4{};
  if (::inet_pton(AF_INET, copy.c_str(), &v4) == 1) {
    address.v4 = true;
    std::memcpy(address.bytes.data(), &v4, 4);
    return address;
  }
  if (::inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) return address;
  return base::fail(base::invalid_argument("address", "no IP address in its usual form"));
}

base::Result<EgressGuard> EgressGuard::create(const std::vector<std::string>& allowed) {
  EgressGuard guard;
  for (const std::string& text : allowed) {
    const std::size_t slash = std::min(text.find('/'), text.size());
    Block block;
    const auto base = IpAddress::parse(std::string_view(text).substr(0, slash));
    const int most = base && base->v4 ? 32 : 128;
    int bits = most;
    bool sound = base.has_value();
    if (slash < text.size()) {
      const char* end = text.data() + text.size();
      const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, bits);
      sound = sound && error == std::errc() && stop == end && bits >= 0 && bits <= most;
    }
    if (!sound) {
      return base::fail(base::invalid_argument(
          "allowed", "'" + text + "' is no address or CIDR block, for example 10.1.0.0/16"));
    }
    block.base = *base;
    block.bits = bits;
    guard.allowed_.push_back(block);
  }
  return guard;
}

bool EgressGuard::contains(const IpAddress& address) const noexcept {
  return std::ranges::any_of(
      allowed_, [&](const Block& block) { return same_prefix(block.base, address, block.bits); });
}

bool EgressGuard::allows(const IpAddress& address) const noexcept {
  return contains(address) || is_public(address);
}

bool EgressGuard::allows_name(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  for (const std::string_view name : {"localhost", "internal", "intranet"}) {
    if (host.size() < name.size() || !equal_no_case(host.substr(host.size() - name.size()), name)) {
      continue;
    }
    if (host.size() == name.size() || host[host.size() - name.size() - 1] == '.') return false;
  }
  return !host.empty();
}

}  // namespace dure::net
