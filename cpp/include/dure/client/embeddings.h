// dure/client/embeddings.h - the vectors of an embeddings reply, checked.
//
// Thread-safe: a pure function.
#ifndef DURE_CLIENT_EMBEDDINGS_H_
#define DURE_CLIENT_EMBEDDINGS_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "dure/base/result.h"

namespace dure::client {

struct Vectors {
  std::vector<float> values;  // row after row
  std::size_t dimensions = 0;
};

// The rows of `{"data": [{"index", "embedding"}]}` placed by their index; an embedding is a list of
// numbers or base64 of little-endian float32. Fails with kUpstream unless each of `inputs` rows is
// there once, all have one length and every number is finite.
[[nodiscard]] base::Result<Vectors> read_vectors(std::string_view body, std::size_t inputs);

}  // namespace dure::client

#endif  // DURE_CLIENT_EMBEDDINGS_H_
