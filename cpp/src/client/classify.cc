#include "dure/client/classify.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

#include "json/reader.h"

namespace dure::client {
namespace {

constexpr double kLongest = 10.0 * 365 * 86400;

base::Duration seconds(double value) {
  const double clamped = std::clamp(std::isnan(value) ? 0.0 : value, 0.0, kLongest);
  return base::Duration(static_cast<std::int64_t>(clamped * 1e9));
}

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// A decimal number that fills the whole of `text`.
std::optional<double> read_number(std::string_view text) {
  text = trim(text);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return kLongest;
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// IMF-fixdate of RFC 9110: "Sun, 06 Nov 1994 08:49:37 GMT". By hand: strptime follows the locale.
std::optional<base::WallTime> read_date(std::string_view text) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  text = trim(text);
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") {
    return std::nullopt;
  }
  const auto field = [&](std::size_t at, std::size_t length) {
    int value = -1;
    const char* end = text.data() + at + length;
    const auto [stop, error] = std::from_chars(text.data() + at, end, value);
    return error == std::errc() && stop == end ? value : -1;
  };
  const auto month = kMonths.find(text.substr(8, 3));
  const std::array<int, 5> parts{field(5, 2), field(12, 4), field(17, 2), field(20, 2),
                                 field(23, 2)};
  if (month == std::string_view::npos || month % 3 != 0 ||
      *std::min_element(parts.begin(), parts.end()) < 0) {
    return std::nullopt;
  }
  std::tm at{};
  at.tm_mday = parts[0];
  at.tm_mon = static_cast<int>(month / 3);
  at.tm_year = parts[1] - 1900;
  at.tm_hour = parts[2];
  at.tm_min = parts[3];
  at.tm_sec = parts[4];
  return base::WallTime{static_cast<std::int64_t>(timegm(&at)) * 1'000'000};
}

// "12ms", "6m0s", "1h2m3.5s" as x-ratelimit-reset-* writes it.
std::optional<double> read_span(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 5> kUnits{
      {{"ms", 1e-3}, {"h", 3600}, {"m", 60}, {"s", 1}, {"d", 86400}}};
  text = trim(text);
  double total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const auto unit = std::find_if(kUnits.begin(), kUnits.end(),
                                   [&](const auto& one) { return text.starts_with(one.first); });
    if (unit == kUnits.end()) return std::nullopt;
    total += value * unit->second;
    text.remove_prefix(unit->first.size());
  }
  return total;
}

std::optional<base::Duration> reset_hint(net::HeaderView headers) {
  std::optional<double> longest;
  for (const char* what : {"requests", "tokens"}) {
    const auto limit = headers.get(std::string("x-ratelimit-limit-") + what);
    const auto remaining = headers.get(std::string("x-ratelimit-remaining-") + what);
    const auto reset = headers.get(std::string("x-ratelimit-reset-") + what);
    if (!remaining || !reset || read_number(*remaining) != 0.0) continue;
    if (limit && read_number(*limit).value_or(0) <= 0) continue;  // 0 of 0 says nothing
    const auto span = read_span(*reset);
    if (span) longest = std::max(longest.value_or(0), *span);
  }
  return longest ? std::optional(seconds(*longest)) : std::nullopt;
}

// "2026-11-21T11:44:56Z", as Anthropic says when a limit begins anew.
std::optional<base::WallTime> read_instant(std::string_view text) {
  text = trim(text);
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
      text[16] != ':' || text.back() != 'Z') {
    return std::nullopt;
  }
  std::tm at{};
  const std::array<std::pair<int*, std::pair<std::size_t, std::size_t>>, 6> parts{
      {{&at.tm_year, {0, 4}},
       {&at.tm_mon, {5, 2}},
       {&at.tm_mday, {8, 2}},
       {&at.tm_hour, {11, 2}},
       {&at.tm_min, {14, 2}},
       {&at.tm_sec, {17, 2}}}};
  for (const auto& [into, place] : parts) {
    const char* const begin = text.data() + place.first;
    const auto [stop, error] = std::from_chars(begin, begin + place.second, *into);
    if (error != std::errc() || stop != begin + place.second || *into < 0) return std::nullopt;
  }
  at.tm_year -= 1900;
  at.tm_mon -= 1;
  return base::WallTime{static_cast<std::int64_t>(timegm(&at)) * 1'000'000};
}

// One limit of a reply: how many there are, how many are left, when it begins anew.
struct Limit {
  std::optional<std::string_view> most, left, reset;
};

Limit limit_of(net::HeaderView headers, const char* what) {
  const std::string name(what);
  Limit openai{headers.get("x-ratelimit-limit-" + name),
               headers.get("x-ratelimit-remaining-" + name),
               headers.get("x-ratelimit-reset-" + name)};
  if (openai.most) return openai;
  return {headers.get("anthropic-ratelimit-" + name + "-limit"),
          headers.get("anthropic-ratelimit-" + name + "-remaining"),
          headers.get("anthropic-ratelimit-" + name + "-reset")};
}

std::optional<base::Duration> time_until(std::string_view reset, base::WallTime now) {
  if (const auto span = read_span(reset)) return seconds(*span);
  if (const auto at = read_instant(reset))
    return seconds(static_cast<double>(at->us - now.us) / 1e6);
  return std::nullopt;
}

bool is_quota(const ErrorBody& error) {
  return error.code == "insufficient_quota" || error.type == "insufficient_quota" ||
         error.code == "billing_hard_limit_reached";
}

Verdict by_status(int status, const ErrorBody& error) {
  if (status == 402 || is_quota(error)) {
    return {Failure::kQuotaExhausted, Resend::kNever, true, true, false, {}};
  }
  if (status == 401 || status == 403) {
    return {Failure::kAuth, Resend::kNever, true, status == 401, false, {}};
  }
  if (status == 429) return {Failure::kRateLimit, Resend::kProven, true, false, false, {}};
  if (status == 503) return {Failure::kOverloaded, Resend::kProven, false, false, true, {}};
  if (status == 408 || status == 409 || status >= 500) {
    return {Failure::kTransientStatus, Resend::kAmbiguous, false, false, status >= 500, {}};
  }
  if (status == 404) return {Failure::kNotFound, Resend::kNever, false, false, false, {}};
  return {Failure::kBadRequest, Resend::kNever, false, false, false, {}};
}

}  // namespace

std::string_view name(Failure failure) noexcept {
  constexpr std::array<std::string_view, 15> kNames{"connect",
                                                    "tls_verify",
                                                    "rate_limit",
                                                    "overloaded",
                                                    "transient_status",
                                                    "sent_timeout",
                                                    "reset",
                                                    "bad_body",
                                                    "stream_interrupted",
                                                    "auth",
                                                    "quota_exhausted",
                                                    "bad_request",
                                                    "not_found",
                                                    "local",
                                                    "cancelled"};
  return kNames[static_cast<std::size_t>(failure)];
}

ErrorBody read_error(std::string_view body) {
  ErrorBody out;
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root) return out;
  const json::Value error = (*root)["error"];
  if (const auto text = error.string()) {
    out.message = *text;
    return out;
  }
  const json::Value where = error.is_object() ? error : *root;
  out.message = where["message"].string_or("");
  out.type = where["type"].string_or("");
  out.param = where["param"].string_or("");
  const json::Value code = where["code"];
  out.code = code.integer() ? std::to_string(*code.integer()) : code.string_or("");
  return out;
}

Verdict classify_status(int status, net::HeaderView headers, const ErrorBody& error,
                        base::WallTime now) {
  Verdict verdict = by_status(status, error);
  verdict.hint = wait_hint(status, headers, now);
  const auto wish = headers.get("x-should-retry");
  if (wish == "false") verdict.resend = Resend::kNever;
  // The server knows better, except where a resend cannot help or a bill is at stake.
  if (wish == "true" && verdict.resend == Resend::kNever && !verdict.other_key) {
    verdict.resend = Resend::kAmbiguous;
  }
  return verdict;
}

Verdict classify_end(const base::Status& end, bool sent, bool events) {
  if (end.code() == base::Code::kCancelled) {
    return {Failure::kCancelled, Resend::kNever, false, false, false, {}};
  }
  if (events) return {Failure::kStreamInterrupted, Resend::kNever, false, false, true, {}};
  if (end.code() == base::Code::kUnavailable) {
    const auto* stage = end.detail("stage");
    const auto* text = stage != nullptr ? std::get_if<std::string>(stage) : nullptr;
    if (text != nullptr && *text == "certificate") {
      return {Failure::kTlsVerify, Resend::kNever, false, false, false, {}};
    }
    return {Failure::kConnect, Resend::kProven, false, false, true, {}};
  }
  if (end.code() == base::Code::kDeadline) {
    if (!sent) return {Failure::kConnect, Resend::kProven, false, false, true, {}};
    return {Failure::kSentTimeout, Resend::kAmbiguous, false, false, true, {}};
  }
  if (end.code() == base::Code::kUpstream) return classify_garbage();
  if (end.code() == base::Code::kTruncated) {
    return {Failure::kReset, Resend::kAmbiguous, false, false, true, {}};
  }
  return {Failure::kLocal, Resend::kNever, false, false, false, {}};
}

Verdict classify_garbage() {
  return {Failure::kBadUpstreamBody, Resend::kAmbiguous, false, false, true, {}};
}

std::optional<base::Duration> wait_hint(int status, net::HeaderView headers, base::WallTime now) {
  if (const auto text = headers.get("retry-after-ms")) {
    if (const auto value = read_number(*text)) return seconds(*value / 1000);
  }
  if (const auto text = headers.get("retry-after")) {
    if (const auto value = read_number(*text)) return seconds(*value);
    if (const auto date = read_date(*text)) {
      return seconds(static_cast<double>(date->us - now.us) * 1e-6);
    }
  }
  return status == 429 ? reset_hint(headers) : std::nullopt;
}

std::optional<QuotaLeft> read_quota(net::HeaderView headers, base::WallTime now) {
  std::optional<QuotaLeft> out;
  for (const char* what : {"requests", "tokens"}) {
    const Limit limit = limit_of(headers, what);
    if (!limit.most || !limit.left) continue;
    const auto most = read_number(*limit.most);
    const auto left = read_number(*limit.left);
    if (!most || !left || !(*most > 0) || !(*left >= 0) || *left > *most) continue;
    if (!out) out.emplace();
    out->left = std::min(out->left, *left / *most);
    if (*left > 0 || !limit.reset) continue;
    const auto span = time_until(*limit.reset, now);
    if (span) out->empty_for = std::max(out->empty_for.value_or(base::Duration{0}), *span);
  }
  return out;
}

}  // namespace dure::client
