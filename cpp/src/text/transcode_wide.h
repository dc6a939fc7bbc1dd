// text/transcode_wide.h - code points of two bytes to UTF-8, sixteen at a time.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_TEXT_TRANSCODE_WIDE_H_
#define DURE_SRC_TEXT_TRANSCODE_WIDE_H_

#include <cstddef>
#include <cstdint>

#include "dure/text/transcode.h"

namespace dure::text {

// Can this machine run transcode_wide()? DURE_SIMD=scalar|sse2|avx2 says no (tests).
[[nodiscard]] bool has_transcode_wide() noexcept;

// Writes as many of `count` code points as it can, in sixteens, to `out`, which has room for three
// bytes each. Stops before sixteen that have a surrogate, and before the last ones.
// REQUIRES: has_transcode_wide().
Transcoded transcode_wide(const std::uint16_t* at, std::size_t count, char* out) noexcept;

}  // namespace dure::text

#endif  // DURE_SRC_TEXT_TRANSCODE_WIDE_H_
