// net/head_check.h - reads a reply's head line by line and refuses what two readers could
// understand differently: that is how replies are smuggled.
//
// Refused: lines without CRLF, folded lines, a space before the colon, control characters, two
// lengths, a length that is not only digits, a length beside a transfer coding, any coding but one
// "chunked", chunked in HTTP/1.0, a line above 100 kB.
//
// Not thread-safe: one for each reply; reset() makes it ready for the next.
#ifndef DURE_SRC_NET_HEAD_CHECK_H_
#define DURE_SRC_NET_HEAD_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "dure/base/status.h"
#include "dure/net/headers.h"

namespace dure::net {

class HeadCheck {
 public:
  static constexpr std::size_t kMostLine = 100 * 1024;

  // For another reply whose lines together may have `cap` bytes.
  void reset(std::uint64_t cap) noexcept;

  // Takes one raw line with its line end. Fails with kUpstream.
  base::Status take(std::string_view line);
  // The final head (not a 1xx one) has come whole; lines that follow are trailers: looked at,
  // dropped.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  [[nodiscard]] int status() const noexcept { return status_; }
  [[nodiscard]] const HeaderLines& headers() const noexcept { return headers_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  // Once complete: how the body ends, and whether another reply may follow on the connection.
  [[nodiscard]] std::optional<std::uint64_t> length() const noexcept {
    return has_length_ ? std::optional(length_) : std::nullopt;
  }
  [[nodiscard]] bool chunked() const noexcept { return has_coding_; }
  [[nodiscard]] bool keeps_alive() const noexcept {
    return old_version_ ? says_keep_ : !says_close_;
  }
  // The body is not as it was written: a Content-Encoding other than identity.
  [[nodiscard]] bool encoded() const noexcept { return encoded_; }
  // The failure of going over the cap.
  [[nodiscard]] base::Status over_cap() const;

 private:
  base::Status take_status_line(std::string_view line);
  static base::Status check_field(std::string_view line);
  base::Status take_field(std::string_view line);
  base::Status check_framing(std::string_view name, std::string_view value);
  void read_connection(std::string_view value);
  base::Status end_of_head();

  std::uint64_t cap_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t length_ = 0;
  HeaderLines headers_;
  int status_ = 0;
  bool old_version_ = false;  // HTTP/1.0
  bool has_length_ = false;
  bool has_coding_ = false;
  bool says_close_ = false;
  bool says_keep_ = false;
  bool encoded_ = false;
  bool complete_ = false;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_HEAD_CHECK_H_
