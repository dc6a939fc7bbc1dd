#include "dure/net/curl_transport.h"

#include <utility>

#include "net/curl_engine.h"
#include "net/engine_transport.h"

namespace dure::net {

std::shared_ptr<Transport> make_curl_transport(TransportOptions options, const base::Clock& clock) {
  return make_engine_transport(
      [options = std::move(options), &clock]() -> std::shared_ptr<IoThread> {
        return std::make_shared<CurlEngine>(options, clock);
      },
      clock);
}

}  // namespace dure::net
