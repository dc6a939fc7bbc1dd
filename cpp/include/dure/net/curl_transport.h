// dure/net/curl_transport.h - engine A: libcurl on one native thread, for https and proxies.
#ifndef DURE_NET_CURL_TRANSPORT_H_
#define DURE_NET_CURL_TRANSPORT_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "dure/base/clock.h"
#include "dure/base/result.h"
#include "dure/net/egress.h"
#include "dure/net/proxy.h"
#include "dure/net/transport.h"

namespace dure::net {

// Turns a host into literal addresses, in the order to try them; may block.
using LookUp = base::Result<std::vector<std::string>> (*)(const std::string& host);

struct TransportOptions {
  std::string ca_file{};  // PEM; empty: found by the order of trust_store.h, else TLS fails closed
  std::vector<std::string> ca_fallbacks{};  // looked at last, for example certifi's
  std::string client_certificate{};         // PEM file for mTLS; empty: none
  std::string client_key{};                 // PEM file; empty: it is in client_certificate
  std::string unix_socket{};                // a path: every connection goes there; empty: TCP
  ProxyRules proxy{};                       // used when Request::proxy is empty
  EgressGuard egress{};                     // what requests with Request::guarded may reach
  std::size_t max_connections = 4096;       // open at once; requests beyond wait in our queue
  std::size_t max_queued = 65'536;          // that may wait; one more fails with kQueueFull
  base::Duration max_idle = std::chrono::seconds(50);  // an idle connection older is not reused
  LookUp look_up = nullptr;                            // null: the system's resolver
};

// Thread-safe. No thread, descriptor or memory beyond the object until the first submit(). `clock`
// outlives the transport. After fork() the parent goes on as before; in the child every request in
// flight is the parent's (its handler is never called again there), and the next submit() starts
// anew. Destruction stops it as stop(2 s) does.
[[nodiscard]] std::shared_ptr<Transport> make_curl_transport(TransportOptions options,
                                                             const base::Clock& clock);

// libcurl erases what it frees, so that no key stays in memory that nobody owns. True for the copy
// inside a wheel; the machine's own is shared with others and left as it is. Loads libcurl.
[[nodiscard]] bool curl_erases_what_it_frees() noexcept;

// Stops every transport of this process, for interpreter exit: later submits fail at once.
// False if `limit` ran out.
bool stop_all_transports(base::Duration limit);

}  // namespace dure::net

#endif  // DURE_NET_CURL_TRANSPORT_H_
