// dure/base/build_info.h - what this build is made of, for `dure versions` and bug reports.
//
// Thread-safe: constants.
#ifndef DURE_BASE_BUILD_INFO_H_
#define DURE_BASE_BUILD_INFO_H_

#include <string_view>

namespace dure::base {

[[nodiscard]] std::string_view version() noexcept;
[[nodiscard]] std::string_view compiler() noexcept;
// CMake's build type, followed by the sanitizers if any: benchmarks refuse all but "Release".
[[nodiscard]] std::string_view build_type() noexcept;
// "name version" of each library found at configure time, separated by ';'.
[[nodiscard]] std::string_view libraries() noexcept;

}  // namespace dure::base

#endif  // DURE_BASE_BUILD_INFO_H_
