#include "net/exchange.h"

#include <string.h>

#include <utility>

#include "dure/net/egress.h"
#include "net/request_check.h"

namespace dure::net {
namespace {

constexpr base::Duration kUnlimited{0};

std::string seconds(base::Duration duration) {
  std::string text = std::to_string(std::chrono::duration<double>(duration).count());
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text + " s";
}

}  // namespace

Exchange::~Exchange() { forget(); }

void Exchange::take(Submission submission) {
  id_ = submission.id;
  request_ = std::move(submission.request);
  handler_ = std::move(submission.handler);
  stage_ = Stage::kQueued;
  timing_ = {.submitted = submission.at, .sent = {}, .first_byte = {}, .ended = {}};
  tried_.clear();
  head_given_ = hold_ = false;
}

void Exchange::forget() noexcept {
  for (auto& [name, value] : request_.headers) ::explicit_bzero(value.data(), value.size());
  request_.headers.clear();
  request_.body = {};  // its room may be large
  handler_.reset();
}

base::Status Exchange::check_request() {
  if (request_.url != url_text_ || request_.guarded) {
    if (base::Status status = check_url(); !status.ok()) return status;
  }
  return check_method_and_headers(request_);
}

base::Status Exchange::check_url() {
  url_text_.clear();
  auto url = parse_url(request_.url);
  if (!url) return std::move(url.error());
  url_ = *std::move(url);
  if (request_.guarded) {
    if (EgressGuard::allows_name(url_.host)) return {};
    return base::invalid_argument("url", "names of this machine or network are not fetched");
  }
  if (base::Status status = check_query(url_.query); !status.ok()) return status;
  url_.query = {};
  url_text_ = request_.url;
  return {};
}

void Exchange::begin_connecting(base::Instant now) noexcept {
  stage_ = Stage::kConnecting;
  connecting_since_ = now;
  if (url_.literal) tried_ = url_.host;
}

bool Exchange::mark_sent(base::Instant now) noexcept {
  stage_ = Stage::kSent;
  if (timing_.sent.ns != 0) return false;
  timing_.sent = last_sent_ = now;
  handler_->on_sent();
  return true;
}

base::Status Exchange::give_body(std::span<const std::byte> part, base::Instant now) {
  timing_.bytes_in += part.size();
  if (timing_.bytes_in > request_.caps.body) return over_body_cap();
  last_part_ = now;
  stage_ = Stage::kBody;
  hold_ = handler_->on_body(part) == Flow::kPause || hold_;
  return {};
}

std::string Exchange::host_text() const {
  const int usual = url_.scheme == "https" ? 443 : 80;
  return url_.port == usual ? url_.host : url_.host + ":" + std::to_string(url_.port);
}

base::Status Exchange::queue_full() const {
  base::Status status(base::Code::kQueueFull,
                      "too many requests wait for a connection: send fewer at once, or come back "
                      "in a second; nothing of this one was sent");
  (void)std::move(status).with_retry_after(1.0);
  return status;
}

base::Status Exchange::unavailable(std::string_view stage, std::string_view why) const {
  std::string message = host_text() + " accepted nothing: " + std::string(why);
  if (!tried_.empty()) message += "; tried " + tried_;
  return base::Status(base::Code::kUnavailable, std::move(message))
      .with("host", url_.host)
      .with("stage", std::string(stage))
      .with("tried", tried_);
}

base::Status Exchange::cut() const {
  if (head_given_) {
    return base::Status(base::Code::kTruncated, "the reply of " + host_text() + " was cut after " +
                                                    std::to_string(timing_.bytes_in) + " bytes")
        .with("host", url_.host);
  }
  return base::Status(base::Code::kUpstream,
                      host_text() +
                          " closed the connection after the request had left and before it "
                          "answered: it may have been carried out")
      .with("host", url_.host);
}

base::Status Exchange::over_body_cap() const {
  return base::Status(base::Code::kUpstream,
                      "the reply passes its cap of " + std::to_string(request_.caps.body) +
                          " bytes after decompression: read what is larger as a stream, or "
                          "download it into a file")
      .with("cap", std::string("body"));
}

base::Status Exchange::unasked_coding() const {
  return base::Status(base::Code::kUpstream,
                      "the reply of " + host_text() +
                          " is compressed although none was asked for; look at the server or proxy "
                          "in between")
      .with("host", url_.host);
}

bool Exchange::next_deadline(base::Instant* at) const noexcept {
  const Deadlines& limits = request_.deadlines;
  bool any = false;
  const auto take = [&](base::Duration limit, base::Instant since) {
    if (limit <= kUnlimited) return;
    const base::Instant end = since + limit;
    if (!any || end < *at) *at = end;
    any = true;
  };
  take(limits.total, timing_.submitted);
  if (stage_ == Stage::kConnecting) take(limits.connect, connecting_since_);
  if (stage_ == Stage::kSent) take(limits.first_byte, last_sent_);
  if (stage_ == Stage::kBody && !hold_) take(limits.idle, last_part_);
  return any;
}

base::Status Exchange::expired(base::Instant now) const {
  const Deadlines& limits = request_.deadlines;
  const auto passed = [now](base::Duration limit, base::Instant since) {
    return limit > kUnlimited && since + limit <= now;
  };
  const auto late = [this](std::string_view stage, base::Duration limit, std::string_view what) {
    return base::Status(base::Code::kDeadline, host_text() + ": " + std::string(what) + " within " +
                                                   seconds(limit) + " (stage " +
                                                   std::string(stage) + ")")
        .with("stage", std::string(stage))
        .with("host", url_.host)
        .with("bytes", static_cast<std::int64_t>(timing_.bytes_in));
  };
  if (passed(limits.total, timing_.submitted)) {
    const bool queued = stage_ == Stage::kQueued;
    return late(queued ? "queue" : "total", limits.total,
                queued ? "no connection was free" : "the reply was not complete");
  }
  if (stage_ == Stage::kConnecting && passed(limits.connect, connecting_since_)) {
    return late("connect", limits.connect, "no connection was made");
  }
  if (stage_ == Stage::kSent && passed(limits.first_byte, last_sent_)) {
    return late("first_byte", limits.first_byte, "no body byte came");
  }
  if (stage_ == Stage::kBody && !hold_ && passed(limits.idle, last_part_)) {
    return late("idle", limits.idle, "nothing more came");
  }
  return {};
}

}  // namespace dure::net
