#include "dure/base/build_info.h"

namespace dure::base {

std::string_view version() noexcept { return DURE_VERSION; }
std::string_view compiler() noexcept { return "g++ " __VERSION__; }
std::string_view build_type() noexcept { return DURE_BUILD_TYPE; }
std::string_view libraries() noexcept { return DURE_LIBRARIES; }

}  // namespace dure::base
