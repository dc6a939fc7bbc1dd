// net/request_check.h - what a request must be before a byte of it leaves.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_NET_REQUEST_CHECK_H_
#define DURE_SRC_NET_REQUEST_CHECK_H_

#include <string_view>

#include "dure/base/status.h"
#include "dure/net/request.h"

namespace dure::net {

// One character of a method or of a header's name (RFC 9110, tchar).
[[nodiscard]] bool is_token_char(char c) noexcept;
[[nodiscard]] bool is_token(std::string_view text) noexcept;  // not empty
// A header's value: tab, and everything but controls.
[[nodiscard]] bool is_field_text(std::string_view text) noexcept;

// Fails with kInvalidArgument; no message repeats a value.
[[nodiscard]] base::Status check_method_and_headers(const Request& request);

}  // namespace dure::net

#endif  // DURE_SRC_NET_REQUEST_CHECK_H_
