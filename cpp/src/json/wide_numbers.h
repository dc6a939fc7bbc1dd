// json/wide_numbers.h - numbers that are sound JSON and that no 64 bits hold.
//
// Pure; thread-safe.
#ifndef DURE_JSON_WIDE_NUMBERS_H_
#define DURE_JSON_WIDE_NUMBERS_H_

#include <optional>
#include <string>
#include <string_view>

namespace dure::json {

// `text` with every integer beyond 64 bits written as a real, every real beyond a double as the
// largest one; all else byte for byte. nullopt: there was none. What is no JSON stays so.
[[nodiscard]] std::optional<std::string> narrow_numbers(std::string_view text);

}  // namespace dure::json

#endif  // DURE_JSON_WIDE_NUMBERS_H_
