// dure/net/http_transport.h - engine B: our own HTTP/1.1 for plain http:// endpoints; and the
// choice between it and engine A.
#ifndef DURE_NET_HTTP_TRANSPORT_H_
#define DURE_NET_HTTP_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "dure/base/clock.h"
#include "dure/net/curl_transport.h"
#include "dure/net/transport.h"

namespace dure::net {

enum class Engine : std::uint8_t {
  kAuto,  // B for http:// that goes through no proxy, A for the rest
  kA,     // libcurl
  kB,     // our own; refuses https and proxies with kInvalidArgument
};

// "", "a" or "b"; nullopt for anything else.
[[nodiscard]] std::optional<Engine> engine_of(std::string_view name) noexcept;

// Engine B, alone. As make_curl_transport in every promise; of `options` the certificates and
// authorities mean nothing to it. It asks for identity coding and refuses a compressed reply unless
// the request's own headers name an Accept-Encoding.
[[nodiscard]] std::shared_ptr<Transport> make_http_transport(TransportOptions options,
                                                             const base::Clock& clock);

// The transport of a client. Each engine starts with the first request that is for it.
[[nodiscard]] std::shared_ptr<Transport> make_transport(TransportOptions options,
                                                        const base::Clock& clock,
                                                        Engine engine = Engine::kAuto);

}  // namespace dure::net

#endif  // DURE_NET_HTTP_TRANSPORT_H_
