// dure/base/status.h - what went wrong, as a value: a code, a sentence, and named details.
//
// The core never throws across a room's border: a function that can fail returns Status or
// Result<T> (result.h). bindings/status.cc turns a Status into the Python exception of the
// same meaning (python/dure/errors.py); nothing else does.
//
// Immutable once returned. Distinct objects may be used from any thread.
#ifndef DURE_BASE_STATUS_H_
#define DURE_BASE_STATUS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace dure::base {

// Each code is one class of dure.errors; kCancelled is asyncio.CancelledError.
enum class Code : std::uint8_t {
  kOk,
  kInvalidArgument,
  kNotFound,
  kDenied,
  kBudgetExceeded,
  kRateLimited,
  kQueueFull,
  kDeadline,
  kUnavailable,
  kUpstream,
  kTruncated,
  kIo,
  kCorrupt,
  kOutOfMemory,
  kUnsupported,
  kInternal,
  kCancelled,
};

// The name of a code in snake_case, as users see it in `.code` and in logs.
[[nodiscard]] std::string_view code_name(Code code) noexcept;

// The HTTP status that a service answers with for `code` (architecture: table of errors).
[[nodiscard]] int default_http_status(Code code) noexcept;

class [[nodiscard]] Status {
 public:
  using Value = std::variant<std::int64_t, double, std::string>;

  Status() = default;  // ok
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const noexcept { return code_ == Code::kOk; }
  [[nodiscard]] Code code() const noexcept { return code_; }
  // One sentence that says what to do next. Never holds a key, a body or a pointer value.
  [[nodiscard]] const std::string& message() const noexcept { return message_; }

  // The leaf class of dure.errors when it is narrower than the code's own, for example
  // "DimensionMismatchError"; empty otherwise.
  [[nodiscard]] const std::string& leaf() const noexcept { return leaf_; }
  Status&& as(std::string_view leaf) && {
    leaf_ = leaf;
    return std::move(*this);
  }

  // Attributes of the Python exception: "stage", "scope", "row", ...
  [[nodiscard]] const std::vector<std::pair<std::string, Value>>& details() const noexcept {
    return details_;
  }
  Status&& with(std::string_view name, Value value) &&;
  [[nodiscard]] const Value* detail(std::string_view name) const noexcept {
    for (const auto& [key, value] : details_) {
      if (key == name) return &value;
    }
    return nullptr;
  }

  // Zero: the code's default (default_http_status).
  [[nodiscard]] int http_status() const noexcept {
    return http_status_ != 0 ? http_status_ : default_http_status(code_);
  }
  Status&& with_http_status(int http_status) && {
    http_status_ = http_status;
    return std::move(*this);
  }
  // Seconds to wait before the same call may succeed.
  [[nodiscard]] std::optional<double> retry_after() const noexcept { return retry_after_; }
  Status&& with_retry_after(double seconds) && {
    retry_after_ = seconds;
    return std::move(*this);
  }
  // The provider's own error code, or ours where the API names one ("request_exceeds_limit").
  [[nodiscard]] const std::string& provider_code() const noexcept { return provider_code_; }
  Status&& with_provider_code(std::string_view code) && {
    provider_code_ = code;
    return std::move(*this);
  }

 private:
  Code code_ = Code::kOk;
  int http_status_ = 0;
  std::optional<double> retry_after_;
  std::string message_;
  std::string leaf_;
  std::string provider_code_;
  std::vector<std::pair<std::string, Value>> details_;
};

[[nodiscard]] inline Status invalid_argument(std::string_view argument, std::string message) {
  return Status(Code::kInvalidArgument, std::move(message)).with("argument", std::string(argument));
}

}  // namespace dure::base

#endif  // DURE_BASE_STATUS_H_
