// dure/chunk/verify.h - the rules that chunks keep, checked without the code that made them.
//
// Thread-safe: pure functions.
#ifndef DURE_CHUNK_VERIFY_H_
#define DURE_CHUNK_VERIFY_H_

#include <string>
#include <string_view>
#include <vector>

#include "dure/chunk/chunker.h"
#include "dure/chunk/chunks.h"

namespace dure::chunk {

// A sentence for each broken rule; empty: sound. Rules: spans in order and inside the text, on
// characters, and on graphemes wherever the cap allows; byte and code point offsets agree; what is
// embedded, counted again as a whole, is within the cap and as token_count says; overlap within
// its limit; bodies cover the text (but for space, if trimmed); hash64 is that of what is embedded.
// Fails as `options.count` does.
[[nodiscard]] base::Result<std::vector<std::string>> verify(const Chunks& chunks,
                                                            std::string_view text,
                                                            const Options& options);

}  // namespace dure::chunk

#endif  // DURE_CHUNK_VERIFY_H_
