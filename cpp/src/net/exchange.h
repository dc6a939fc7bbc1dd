// net/exchange.h - one request on its way through an engine, whichever: what is wrong with it,
// which deadline is next, what a failure means to the caller.
//
// Belongs to the I/O thread.
#ifndef DURE_SRC_NET_EXCHANGE_H_
#define DURE_SRC_NET_EXCHANGE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "dure/net/transport.h"
#include "net/io_thread.h"
#include "net/timer_heap.h"
#include "net/url.h"

namespace dure::net {

enum class Stage : std::uint8_t { kQueued, kConnecting, kSent, kBody };

class Exchange : public Timer {
 public:
  ~Exchange() override;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  [[nodiscard]] RequestId id() const noexcept { return id_; }
  [[nodiscard]] const Request& request() const noexcept { return request_; }
  [[nodiscard]] const Url& url() const noexcept { return url_; }
  [[nodiscard]] Stage stage() const noexcept { return stage_; }
  [[nodiscard]] const Timing& timing() const noexcept { return timing_; }

  // Takes the next request, after forget() or at first.
  void take(Submission submission);
  // Lets go of the request, its secrets erased.
  void forget() noexcept;

  // Looks at everything that can be wrong with the request before a byte of it leaves.
  [[nodiscard]] base::Status check_request();
  void begin_connecting(base::Instant now) noexcept;
  // Where connections go, for messages: a proxy or a Unix socket in the place of the host.
  void set_tried(std::string where) { tried_ = std::move(where); }
  // More of a body that is made while it is sent has been taken.
  void note_sending(base::Instant now) noexcept { last_sent_ = now; }
  // The failure if a deadline has passed at `now`; ok otherwise.
  [[nodiscard]] base::Status expired(base::Instant now) const;
  // When the next deadline of this stage ends; false if there is none.
  [[nodiscard]] bool next_deadline(base::Instant* at) const noexcept;

  // Too many requests wait.
  [[nodiscard]] base::Status queue_full() const;
  // Nothing was accepted.
  [[nodiscard]] base::Status unavailable(std::string_view stage, std::string_view why) const;
  // The connection ended before the reply was whole; the request had left.
  [[nodiscard]] base::Status cut() const;
  [[nodiscard]] base::Status over_body_cap() const;
  [[nodiscard]] base::Status unasked_coding() const;
  [[nodiscard]] std::string host_text() const;

 protected:
  Exchange() = default;
  [[nodiscard]] base::Status check_url();
  // The request's first byte is about to leave; false if one has left before (it is sent again).
  bool mark_sent(base::Instant now) noexcept;
  // Counts a part of the body, gives it to the handler; fails if it passes the cap.
  base::Status give_body(std::span<const std::byte> part, base::Instant now);

  RequestId id_ = 0;
  Request request_;
  std::shared_ptr<Handler> handler_;
  Url url_;
  std::string url_text_;  // that url_ was read from and found good; the next may be the same
  Stage stage_ = Stage::kQueued;
  Timing timing_;
  base::Instant connecting_since_;
  base::Instant last_part_;
  base::Instant last_sent_;
  std::string tried_;        // addresses, for messages
  bool head_given_ = false;  // on_head was called
  bool hold_ = false;        // the handler asked for a pause
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_EXCHANGE_H_
