// dure/tokenize/units.h - counting and encoding text that is not UTF-8 yet, in small windows: no
// second copy of a large text is made.
//
// Counting holds a window of a word without end too; but not of all that is one piece: white space
// or symbols beyond ASCII, and in o200k caseless letters after a small one, are held until they
// end.
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

inline constexpr std::size_t kWindow = 32'768;  // code points; their UTF-8 stays in the L2 cache

// Encoding::count of these code points; nothing if there is a surrogate among them. They are read
// `window` at a time. REQUIRES: window > 0.
[[nodiscard]] std::optional<std::size_t> count_units(const Encoding& encoding,
                                                     const text::CodeUnits& units,
                                                     std::size_t window = kWindow);

// Encoding::encode_ordinary of these code points; false if there is a surrogate among them, then
// `out` holds the ids of a start.
[[nodiscard]] bool encode_units(const Encoding& encoding, const text::CodeUnits& units,
                                std::vector<Rank>& out, std::size_t window = kWindow);

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_UNITS_H_
