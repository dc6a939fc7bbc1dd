#include "net/head_check.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "net/request_check.h"
#include "net/url.h"

namespace dure::net {
namespace {

constexpr auto kMostLength = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

base::Status malformed(std::string_view what) {
  return base::Status(base::Code::kUpstream,
                      "the reply's head is malformed (" + std::string(what) +
                          "); the connection was closed, look at the server or proxy in between");
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::string_view trim(std::string_view text) noexcept {
  const auto space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

void HeadCheck::reset(std::uint64_t cap) noexcept {
  headers_.clear();
  cap_ = cap;
  bytes_ = length_ = 0;
  status_ = 0;
  old_version_ = has_length_ = has_coding_ = says_close_ = says_keep_ = encoded_ = complete_ =
      false;
}

base::Status HeadCheck::over_cap() const {
  const std::uint64_t cap = bytes_ > cap_ ? cap_ : kMostLine;
  return base::Status(base::Code::kUpstream, std::string(bytes_ > cap_ ? "the reply's headers pass"
                                                                       : "a header line passes") +
                                                 " the cap of " + std::to_string(cap) + " bytes")
      .with("cap", std::string("headers"));
}

base::Status HeadCheck::take(std::string_view line) {
  bytes_ += line.size();
  if (bytes_ > cap_ || line.size() > kMostLine) return over_cap();
  if (!line.ends_with("\r\n")) return malformed("a line does not end in CRLF");
  line.remove_suffix(2);
  if (!is_field_text(line)) return malformed("a control character");
  if (complete_) return line.empty() ? base::Status() : check_field(line);
  if (status_ == 0) return take_status_line(line);
  return line.empty() ? end_of_head() : take_field(line);
}

base::Status HeadCheck::take_status_line(std::string_view line) {
  const bool sound = line.size() >= 12 && line.starts_with("HTTP/1.") &&
                     (line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
                     std::all_of(line.begin() + 9, line.begin() + 12, is_digit) && line[9] != '0' &&
                     (line.size() == 12 || line[12] == ' ');
  if (!sound) return malformed("the status line is none of HTTP/1.0 or HTTP/1.1");
  old_version_ = line[7] == '0';
  status_ = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  return {};
}

base::Status HeadCheck::check_field(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return malformed("a folded header line");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return malformed("a header line without colon");
  if (is_token(line.substr(0, colon))) return {};
  return malformed("a header name with characters that do not belong there");
}

base::Status HeadCheck::take_field(std::string_view line) {
  if (base::Status status = check_field(line); !status.ok()) return status;
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (base::Status status = check_framing(name, value); !status.ok()) return status;
  headers_.add(name, value);
  return {};
}

// Only what differs from the version's default matters.
void HeadCheck::read_connection(std::string_view value) {
  while (!value.empty()) {
    const std::size_t end = std::min(value.find(','), value.size());
    const std::string_view option = trim(value.substr(0, end));
    says_close_ = says_close_ || equal_no_case(option, "close");
    says_keep_ = says_keep_ || equal_no_case(option, "keep-alive");
    value.remove_prefix(std::min(end + 1, value.size()));
  }
}

base::Status HeadCheck::check_framing(std::string_view name, std::string_view value) {
  if (equal_no_case(name, "content-length")) {
    if (has_length_) return malformed("two Content-Length lines");
    [[maybe_unused]] const auto [stop, error] =
        std::from_chars(value.data(), value.data() + value.size(), length_);
    if (value.empty() || value.size() > 19 || !std::ranges::all_of(value, is_digit) ||
        error != std::errc() || length_ > kMostLength) {
      return malformed("a Content-Length that is no number");
    }
    has_length_ = true;
  } else if (equal_no_case(name, "transfer-encoding")) {
    if (has_coding_ || !equal_no_case(value, "chunked")) {
      return malformed("a Transfer-Encoding other than one chunked");
    }
    if (old_version_) return malformed("Transfer-Encoding in HTTP/1.0");
    has_coding_ = true;
  } else if (equal_no_case(name, "connection")) {
    read_connection(value);
  } else if (equal_no_case(name, "content-encoding")) {
    encoded_ = encoded_ || !(value.empty() || equal_no_case(value, "identity"));
  }
  if (has_length_ && has_coding_) return malformed("Content-Length beside Transfer-Encoding");
  return {};
}

base::Status HeadCheck::end_of_head() {
  if (status_ == 101) return malformed("a protocol switch that nobody asked for");
  if (status_ >= 200) {
    complete_ = true;
    return {};
  }
  headers_.clear();  // an interim reply: the final one follows
  status_ = 0;
  has_length_ = has_coding_ = says_close_ = says_keep_ = encoded_ = false;
  return {};
}

}  // namespace dure::net
