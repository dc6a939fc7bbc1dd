#include "net/http_exchange.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "net/http_engine.h"

namespace dure::net {
namespace {

void append_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

}  // namespace

void HttpExchange::start(Submission submission) {
  take(std::move(submission));
  connection = nullptr;
  next_attempt = {};
  reused = waits_for_name = resent_ = asks_encoding_ = false;
  next_ = 0;
}

void HttpExchange::finish() noexcept {
  forget();
  request_ = Request{};
  addresses_.clear();
  last_refusal_.clear();
}

base::Status HttpExchange::check(const TransportOptions& options) {
  if (base::Status status = check_request(); !status.ok()) return status;
  if (url_.scheme != "http") {
    return base::invalid_argument("url",
                                  "transport \"b\" speaks plain http only: leave the choice "
                                  "to the client, or take transport \"a\"");
  }
  const bool by_proxy =
      !request_.proxy.empty() || (options.unix_socket.empty() &&
                                  !options.proxy.choose(url_.scheme, url_.host, url_.port).empty());
  if (by_proxy) {
    return base::invalid_argument("proxy",
                                  "transport \"b\" goes through no proxy: leave the "
                                  "choice to the client, or take transport \"a\"");
  }
  asks_encoding_ = std::ranges::any_of(request_.headers, [](const auto& header) {
    return equal_no_case(header.first, "accept-encoding");
  });
  return {};
}

void HttpExchange::set_addresses(Addresses addresses) {
  addresses_ = std::move(addresses);
  next_ = 0;
  tried_.clear();
  for (const std::string& address : addresses_) {
    if (!tried_.empty()) tried_ += ", ";
    tried_ += address;
  }
}

std::size_t HttpExchange::most_of_head() const noexcept {
  std::size_t size = 256 + request_.method.size() + request_.url.size() + url_.host.size();
  for (const auto& [name, value] : request_.headers) size += name.size() + value.size() + 4;
  return size;
}

void HttpExchange::write_head(std::string& out) const {
  const std::string_view url = request_.url;
  const std::size_t authority = url.find("://") + 3;
  const std::size_t path = std::min(url.find_first_of("/?", authority), url.size());
  out += request_.method;
  out += ' ';
  if (path == url.size() || url[path] != '/') out += '/';
  out += url.substr(path);
  out += " HTTP/1.1\r\n";
  const bool has_host = std::ranges::any_of(
      request_.headers, [](const auto& header) { return equal_no_case(header.first, "host"); });
  if (!has_host) {
    const bool v6 = url_.host.find(':') != std::string::npos;
    out += v6 ? "Host: [" : "Host: ";
    out += url_.host;
    if (v6) out += ']';
    if (url_.port != 80) {
      out += ':';
      append_number(out, static_cast<std::uint64_t>(url_.port));
    }
    out += "\r\n";
  }
  bool has_accept = false;
  for (const auto& [name, value] : request_.headers) {
    has_accept = has_accept || equal_no_case(name, "accept");
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
  }
  if (!has_accept) out += "Accept: */*\r\n";
  if (!asks_encoding_) out += "Accept-Encoding: identity\r\n";
  const bool sends = request_.method == "POST" || request_.source != nullptr || body_size() != 0;
  if (sends && request_.method != "HEAD") {
    out += "Content-Length: ";
    append_number(out, body_size());
    out += "\r\n";
  }
  out += "\r\n";
}

void HttpExchange::begin_reply() noexcept {
  parser_.begin(request_.method == "HEAD", request_.caps.headers);
}

base::Status HttpExchange::receive(std::string_view& bytes, base::Instant now) {
  now_ = now;
  if (timing_.first_byte.ns == 0 && !bytes.empty()) timing_.first_byte = now;
  return parser_.feed(bytes, *this);
}

base::Status HttpExchange::take_head(const HeadCheck& head) {
  if (head.encoded() && !asks_encoding_) return unasked_coding();
  head_given_ = true;
  handler_->on_head(head.status(), HeaderView(head.headers()));
  return {};
}

base::Status HttpExchange::take_body(std::string_view part) {
  return give_body(std::as_bytes(std::span(part.data(), part.size())), now_);
}

bool HttpExchange::may_be_resent() const noexcept {
  return request_.resend && request_.source == nullptr && reused && !resent_ &&
         timing_.first_byte.ns == 0;
}

void HttpExchange::begin_again(base::Instant now) noexcept {
  resent_ = true;
  begin_connecting(now);
}

bool HttpExchange::release(base::Instant now) noexcept {
  if (!std::exchange(hold_, false)) return false;
  last_part_ = now;
  return true;
}

void HttpExchange::end(base::Status status, base::Instant now) noexcept {
  timing_.ended = now;
  timing_.reused_connection = reused && !resent_;
  timing_.resent = resent_;
  handler_->on_end(std::move(status), timing_);
}

void HttpExchange::fire() noexcept { engine_.fire(*this); }

}  // namespace dure::net
