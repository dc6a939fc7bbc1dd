// dure/base/result.h - a value or the Status that says why there is none.
//
//   base::Result<Encoding> encoding = load(name);
//   if (!encoding) return tl::unexpected(encoding.error());
//   use(*encoding);
#ifndef DURE_BASE_RESULT_H_
#define DURE_BASE_RESULT_H_

#include <tl/expected.hpp>
#include <utility>

#include "dure/base/status.h"

namespace dure::base {

template <typename T>
using Result = tl::expected<T, Status>;

// Shorthand: `return base::fail(Code::kNotFound, "no such collection");`
[[nodiscard]] inline tl::unexpected<Status> fail(Code code, std::string message) {
  return tl::unexpected<Status>(Status(code, std::move(message)));
}
[[nodiscard]] inline tl::unexpected<Status> fail(Status status) {
  return tl::unexpected<Status>(std::move(status));
}

}  // namespace dure::base

// Returns early with the error of a Result<T> expression; else yields nothing.
#define DURE_RETURN_IF_ERROR(expression)                                      \
  do {                                                                        \
    if (auto dure_status_ = (expression); !dure_status_.ok()) {               \
      return ::tl::unexpected<::dure::base::Status>(std::move(dure_status_)); \
    }                                                                         \
  } while (false)

#endif  // DURE_BASE_RESULT_H_
