// dure/net/request.h - what goes over the wire: a method, a URL, headers, a body, limits.
//
// A value: built by the caller, moved into Transport::submit. Knows no JSON and no models.
#ifndef DURE_NET_REQUEST_H_
#define DURE_NET_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "dure/base/clock.h"
#include "dure/net/headers.h"

namespace dure::net {

// How long each stage may last; zero means no limit of its own.
struct Deadlines {
  base::Duration connect = std::chrono::seconds(5);  // name look-up, TCP and TLS
  base::Duration first_byte{0};                      // from sent to the first body byte
  base::Duration idle{0};                            // between two parts of the body
  base::Duration total = std::chrono::seconds(600);  // from submit to the end
};

// What a reply may weigh; going over one ends the transfer with kUpstream naming the cap.
struct Caps {
  std::uint64_t body = 256U << 20U;     // bytes, counted after decompression
  std::uint64_t headers = 256U << 10U;  // bytes of all header lines together
};

// A body that is made while it is sent, for what is too large to hold. Belongs to one request.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // Exactly so many bytes are sent.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  // On the I/O thread, never blocking: copies what is there, at most what `room` takes. Zero:
  // nothing is there yet, and whoever adds some calls Transport::resume.
  virtual std::size_t read(std::span<std::byte> room) noexcept = 0;
};

struct Request {
  std::string method = "POST";
  std::string url{};  // http or https, no user info
  Headers headers{};
  std::string body{};
  // In the place of `body`: read once, so such a request goes over a new connection and is never
  // sent again.
  std::shared_ptr<BodySource> source{};
  Deadlines deadlines{};
  Caps caps{};
  bool stream = false;  // SSE expected: no compression is asked for
  std::string proxy{};  // URL; empty: what the transport's own rules say
  // On a kept connection that the server closed meanwhile, with no byte of an answer come: sent
  // once more on a new one. The server may have read it the first time; false reports the failure.
  bool resend = true;
  bool guarded = false;  // the URL came from outside: EgressGuard decides, own connections
};

}  // namespace dure::net

#endif  // DURE_NET_REQUEST_H_
