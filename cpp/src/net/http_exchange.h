// net/http_exchange.h - one request on its way through engine B: what of it has been sent, and the
// reader of its reply.
//
// Belongs to the I/O thread. Used again for other requests, so that its room is kept.
#ifndef DURE_SRC_NET_HTTP_EXCHANGE_H_
#define DURE_SRC_NET_HTTP_EXCHANGE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "dure/net/curl_transport.h"
#include "net/exchange.h"
#include "net/reply_parser.h"
#include "net/resolver.h"

namespace dure::net {

class HttpEngine;
struct HttpConnection;

class HttpExchange final : public Exchange, private ReplyParser::Sink {
 public:
  explicit HttpExchange(HttpEngine& engine) : engine_(engine) {}

  // Everything of the last request is gone afterwards.
  void start(Submission submission);
  void finish() noexcept;
  // As check_request, and that nothing but plain HTTP without a proxy is asked for.
  base::Status check(const TransportOptions& options);

  // The addresses to try, from the first.
  void set_addresses(Addresses addresses);
  [[nodiscard]] bool has_address_left() const noexcept { return next_ < addresses_.size(); }
  const std::string& take_address() { return addresses_[next_++]; }
  void refused(std::string why) { last_refusal_ = std::move(why); }
  [[nodiscard]] const std::string& last_refusal() const noexcept { return last_refusal_; }

  // The head of the request, appended to `out`; and how large it is at most.
  void write_head(std::string& out) const;
  [[nodiscard]] std::size_t most_of_head() const noexcept;
  [[nodiscard]] std::uint64_t body_size() const noexcept {
    return request_.source != nullptr ? request_.source->size() : request_.body.size();
  }
  bool begin_sending(base::Instant now) noexcept { return mark_sent(now); }
  void begin_reply() noexcept;
  // Takes bytes of the reply; `bytes` is left with what follows it. The failure ends the request.
  base::Status receive(std::string_view& bytes, base::Instant now);
  [[nodiscard]] ReplyParser& parser() noexcept { return parser_; }

  // On a connection that had served before, nothing of a reply has come, and it may be sent again.
  [[nodiscard]] bool may_be_resent() const noexcept;
  // The connection is gone: everything begins again, on a new one.
  void begin_again(base::Instant now) noexcept;
  [[nodiscard]] bool held() const noexcept { return hold_; }
  // False if it was not held.
  bool release(base::Instant now) noexcept;
  void end(base::Status status, base::Instant now) noexcept;

  void fire() noexcept override;

  HttpConnection* connection = nullptr;   // that it is sent on
  std::vector<HttpConnection*> attempts;  // that are being made for it
  base::Instant next_attempt;             // when another address is tried beside them; zero: never
  bool reused = false;                    // the connection had served before
  bool waits_for_name = false;

 private:
  base::Status take_head(const HeadCheck& head) override;
  base::Status take_body(std::string_view part) override;

  HttpEngine& engine_;
  ReplyParser parser_;
  Addresses addresses_;
  std::size_t next_ = 0;
  std::string last_refusal_;
  base::Instant now_;  // of the bytes that are being received
  bool resent_ = false;
  bool asks_encoding_ = false;  // the caller's headers name an Accept-Encoding
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_HTTP_EXCHANGE_H_
