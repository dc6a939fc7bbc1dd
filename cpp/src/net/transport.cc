#include "dure/net/transport.h"

#include "net/url.h"

namespace dure::net {

std::optional<std::string_view> HeaderView::get(std::string_view name) const noexcept {
  for (auto it = headers_.rbegin(); it != headers_.rend(); ++it) {
    if (equal_no_case(it->first, name)) return it->second;
  }
  return std::nullopt;
}

}  // namespace dure::net
