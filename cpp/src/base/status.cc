#include "dure/base/status.h"

#include <array>

namespace dure::base {
namespace {

struct Row {
  std::string_view name;
  int http_status;
};

// In the order of Code.
constexpr std::array<Row, 17> kRows{{{"ok", 200},
                                     {"invalid_argument", 400},
                                     {"not_found", 404},
                                     {"denied", 400},
                                     {"budget_exceeded", 429},
                                     {"rate_limited", 429},
                                     {"queue_full", 429},
                                     {"deadline", 504},
                                     {"unavailable", 502},
                                     {"upstream", 502},
                                     {"truncated", 502},
                                     {"io", 503},
                                     {"corrupt", 500},
                                     {"out_of_memory", 503},
                                     {"unsupported", 501},
                                     {"internal", 500},
                                     {"cancelled", 499}}};
static_assert(kRows.size() == static_cast<std::size_t>(Code::kCancelled) + 1);

}  // namespace

std::string_view code_name(Code code) noexcept {
  return kRows[static_cast<std::size_t>(code)].name;
}

int default_http_status(Code code) noexcept {
  return kRows[static_cast<std::size_t>(code)].http_status;
}

// Not inline: g++ 12 takes the variant's move for a read of uninitialised memory otherwise.
Status&& Status::with(std::string_view name, Value value) && {
  details_.emplace_back(std::string(name), std::move(value));
  return std::move(*this);
}

}  // namespace dure::base
