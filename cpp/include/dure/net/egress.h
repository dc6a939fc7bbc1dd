// dure/net/egress.h - the one function that decides which addresses may be spoken to.
//
// For URLs that come from outside (a user's document link, a webhook). Requests with
// Request::guarded are checked by name before look-up and by address at every connect, so a name
// that resolves to something else the second time gains nothing.
//
// Thread-safe: immutable once built.
#ifndef DURE_NET_EGRESS_H_
#define DURE_NET_EGRESS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"

namespace dure::net {

struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};  // network order; IPv4 fills the first four
  bool v4 = false;
  // Only the usual forms (dotted quad, RFC 4291 text); octal, hex and short ones are refused.
  [[nodiscard]] static base::Result<IpAddress> parse(std::string_view text);
};

class EgressGuard {
 public:
  // `allowed`: CIDR blocks or addresses that may be reached although they are not public, for
  // example a model server in the cluster. Fails with kInvalidArgument.
  [[nodiscard]] static base::Result<EgressGuard> create(const std::vector<std::string>& allowed);
  EgressGuard() = default;  // nothing but public addresses

  // Public address, or one that was allowed.
  [[nodiscard]] bool allows(const IpAddress& address) const noexcept;
  // In one of the blocks that were allowed.
  [[nodiscard]] bool contains(const IpAddress& address) const noexcept;
  // False for names that mean this machine or this network, whatever they resolve to.
  [[nodiscard]] static bool allows_name(std::string_view host);

 private:
  struct Block {
    IpAddress base;
    int bits = 128;
  };
  std::vector<Block> allowed_;
};

}  // namespace dure::net

#endif  // DURE_NET_EGRESS_H_
