// dure/tokenize/units.h - counting and encoding text that is not UTF-8 yet, in small windows: no
// second copy of a large text is made.
//
// Thread-safe: pure functions.
#ifndef DURE_TOKENIZE_UNITS_H_
#define DURE_TOKENIZE_UNITS_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "dure/text/transcode.h"
#include "dure/tokenize/encoding.h"

namespace dure::tokenize {

// Encoding::count of these code points; nothing if there is a surrogate among them.
[[nodiscard]] std::optional<std::size_t> count_units(const Encoding& encoding,
                                                     const text::CodeUnits& units);

// Encoding::encode_ordinary of these code points; false if there is a surrogate among them, then
// `out` holds the ids of a start.
[[nodiscard]] bool encode_units(const Encoding& encoding, const text::CodeUnits& units,
                                std::vector<Rank>& out);

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_UNITS_H_
