// dure/index/chunk_id.h - the names of contents and chunks.
//
//   content = SHA-256(embed_text)
//   id      = hex of the first 16 bytes of SHA-256(u64(len(document)) + document + content +
//   u64(n))
// u64 = 8 bytes little-endian; n = 0, 1, ... for equal contents within one document.
//
// Thread-safe: pure functions.
#ifndef DURE_INDEX_CHUNK_ID_H_
#define DURE_INDEX_CHUNK_ID_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/hash.h"

namespace dure::index {

using ContentHash = base::Sha256Digest;

[[nodiscard]] std::string chunk_id(std::string_view document, const ContentHash& content,
                                   std::uint64_t occurrence);

// The id of a document that nobody named: hex of the first 16 bytes of SHA-256(text).
[[nodiscard]] std::string document_id(std::string_view text);

}  // namespace dure::index

#endif  // DURE_INDEX_CHUNK_ID_H_
