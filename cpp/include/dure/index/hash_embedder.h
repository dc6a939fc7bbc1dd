// dure/index/hash_embedder.h - vectors for texts without any model: signed feature hashing.
//
// Each distinct word (words.h) adds its weight to two places of the vector, with signs; places and
// signs come from the word's hash and the seed. Weight = (1 + ln count) x a fixed weight of the
// word: function words of English count little. The result has length one. Texts that share words
// come out near each other; meaning beyond words it does not know.
// Source: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009.
//
// The same text gives the same bits on every machine of one architecture. Immutable.
#ifndef DURE_INDEX_HASH_EMBEDDER_H_
#define DURE_INDEX_HASH_EMBEDDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/result.h"

namespace dure::index {

class HashEmbedder {
 public:
  static constexpr std::size_t kMaxDim = 65536;

  // Fails with kInvalidArgument unless 1 <= dim <= kMaxDim.
  [[nodiscard]] static base::Result<HashEmbedder> create(std::int64_t dim, std::uint64_t seed);

  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  // Writes `dim()` floats of length one; a text without words gets a vector of its own bytes.
  void embed(std::string_view text, float* out) const;

 private:
  HashEmbedder(std::size_t dim, std::uint64_t seed) noexcept : dim_(dim), seed_(seed) {}

  std::size_t dim_;
  std::uint64_t seed_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_HASH_EMBEDDER_H_
