// net/utf8_repair.h - the decoder of the Encoding standard for bytes that should be UTF-8.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_NET_UTF8_REPAIR_H_
#define DURE_SRC_NET_UTF8_REPAIR_H_

#include <string>
#include <string_view>

namespace dure::net {

// Returns `text` itself if it is valid UTF-8; else fills `store` with a copy in which each maximal
// wrong part is one U+FFFD, and returns that.
[[nodiscard]] std::string_view repair_utf8(std::string_view text, std::string& store);

}  // namespace dure::net

#endif  // DURE_SRC_NET_UTF8_REPAIR_H_
