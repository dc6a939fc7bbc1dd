#include "dure/index/hash_embedder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "dure/base/hash.h"
#include "dure/index/words.h"

namespace dure::index {
namespace {

constexpr float kFunctionWordWeight = 0.15F;

// Words that stand in most English texts, by hash and sorted.
const std::vector<std::uint64_t>& function_words() {
  static const std::vector<std::uint64_t> hashes = [] {
    constexpr std::array<std::string_view, 64> kWords{
        "a",     "an",    "and",   "are",  "as",   "at",   "be",    "been", "but",  "by",    "can",
        "do",    "does",  "for",   "from", "had",  "has",  "have",  "he",   "her",  "his",   "how",
        "i",     "if",    "in",    "into", "is",   "it",   "its",   "may",  "more", "no",    "not",
        "of",    "on",    "or",    "our",  "she",  "so",   "than",  "that", "the",  "their", "them",
        "then",  "there", "these", "they", "this", "to",   "was",   "we",   "were", "what",  "when",
        "where", "which", "who",   "why",  "will", "with", "would", "you",  "your"};
    std::vector<std::uint64_t> made;
    for (const std::string_view word : kWords) made.push_back(base::hash64(word));
    std::sort(made.begin(), made.end());
    return made;
  }();
  return hashes;
}

// Finalizer of SplitMix64 (Steele, Lea, Flood 2014): spreads all bits over all bits.
std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

}  // namespace

base::Result<HashEmbedder> HashEmbedder::create(std::int64_t dim, std::uint64_t seed) {
  if (dim < 1 || dim > static_cast<std::int64_t>(kMaxDim)) {
    return base::fail(base::invalid_argument(
        "dim", "dim must be between 1 and 65536, not " + std::to_string(dim)));
  }
  return HashEmbedder(static_cast<std::size_t>(dim), seed);
}

void HashEmbedder::embed(std::string_view text, float* out) const {
  std::fill(out, out + dim_, 0.0F);
  const std::uint64_t salt = mix(seed_ + 0x9e3779b97f4a7c15U);
  const auto place = [&](std::uint64_t word, float weight) {
    const std::uint64_t first = mix(word ^ salt);
    const std::uint64_t second = mix(first + 0x9e3779b97f4a7c15U);
    for (const std::uint64_t bits : {first, second}) {
      const std::size_t at = static_cast<std::size_t>(((bits >> 32U) * dim_) >> 32U);
      out[at] += (bits & 1U) != 0 ? weight : -weight;
    }
  };
  const auto& dull = function_words();
  for (const WordCount& one : count_words(text).words) {
    const float fixed =
        std::binary_search(dull.begin(), dull.end(), one.word) ? kFunctionWordWeight : 1.0F;
    const float often = one.count == 1 ? 1.0F : 1.0F + std::log(static_cast<float>(one.count));
    place(one.word, fixed * often);
  }
  float squares = 0.0F;
  for (std::size_t i = 0; i < dim_; ++i) squares += out[i] * out[i];
  if (!(squares > 0.0F)) {  // no words, or they cancel out: one place, chosen by the bytes
    out[mix(base::hash64(text) ^ salt) % dim_] = 1.0F;
    return;
  }
  const float scale = 1.0F / std::sqrt(squares);
  for (std::size_t i = 0; i < dim_; ++i) out[i] *= scale;
}

}  // namespace dure::index
