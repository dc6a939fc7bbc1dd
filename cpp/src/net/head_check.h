// net/head_check.h - reads a reply's head line by line and refuses what two readers could
// understand differently: that is how replies are smuggled.
//
// Refused: lines without CRLF, folded lines, a space before the colon, control characters, two
// lengths, a length that is not only digits, a length beside a transfer coding, any coding but one
// "chunked", chunked in HTTP/1.0.
//
// Not thread-safe: one for each reply.
#ifndef DURE_SRC_NET_HEAD_CHECK_H_
#define DURE_SRC_NET_HEAD_CHECK_H_

#include <cstdint>
#include <string_view>

#include "dure/base/status.h"
#include "dure/net/request.h"

namespace dure::net {

class HeadCheck {
 public:
  explicit HeadCheck(std::uint64_t cap) : cap_(cap) {}

  // Takes one raw line with its line end. Fails with kUpstream.
  base::Status take(std::string_view line);
  // The final head (not a 1xx one) has come whole; lines that follow are trailers and are dropped.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  [[nodiscard]] int status() const noexcept { return status_; }
  [[nodiscard]] const Headers& headers() const noexcept { return headers_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  base::Status take_status_line(std::string_view line);
  base::Status take_field(std::string_view line);
  base::Status check_framing(std::string_view name, std::string_view value);
  base::Status end_of_head();

  const std::uint64_t cap_;
  std::uint64_t bytes_ = 0;
  Headers headers_;
  int status_ = 0;
  bool old_version_ = false;  // HTTP/1.0
  bool has_length_ = false;
  bool has_coding_ = false;
  bool complete_ = false;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_HEAD_CHECK_H_
