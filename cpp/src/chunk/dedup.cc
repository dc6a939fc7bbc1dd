#include "dure/chunk/dedup.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "dure/base/cancel.h"
#include "dure/base/hash.h"
#include "dure/text/utf8.h"

namespace dure::chunk {
namespace {

constexpr std::size_t kShingle = 9;
constexpr std::size_t kHashes = 128;
// Rows of a signature that have to agree, and in how many bands they are asked to.
struct Banding {
  std::size_t rows;
  std::size_t bands;
};
// The wide bands find what is alike, the narrow ones what is nearly equal among much that is alike.
constexpr std::array<Banding, 2> kBandings{{{4, 32}, {10, 12}}};
constexpr std::size_t kMostInBand = 8;    // chunks of one key; later ones are found by other keys
constexpr std::size_t kMostCompared = 8;  // candidates whose texts are read for one chunk
constexpr double kDoubt = 0.15;           // what a signature may say too little: four deviations
using Signature = std::array<std::uint32_t, kHashes>;
using Shingles = std::vector<std::uint64_t>;  // sorted, each once

Shingles shingles_of(std::string_view text) {
  Shingles out;
  if (text.size() < kShingle) {
    out.push_back(base::hash64(text));
    return out;
  }
  for (std::size_t at = 0; at + kShingle <= text.size(); ++at)
    if (!text::is_continuation(text[at])) out.push_back(base::hash64(text.substr(at, kShingle)));
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

double jaccard_of(const Shingles& a, const Shingles& b) {
  std::size_t common = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) ++common;
    const bool left = a[i] <= b[j];
    const bool right = b[j] <= a[i];
    i += left ? 1 : 0;
    j += right ? 1 : 0;
  }
  return static_cast<double>(common) / static_cast<double>(a.size() + b.size() - common);
}

// Multiply-and-add permutations with fixed odd multipliers; the upper halves of the least values.
Signature signature_of(const Shingles& shingles) {
  std::array<std::uint64_t, kHashes> least;
  least.fill(std::numeric_limits<std::uint64_t>::max());
  for (const std::uint64_t shingle : shingles) {
    std::uint64_t step = (shingle >> 17 | shingle << 47) | 1;
    std::uint64_t value = shingle;
    for (std::uint64_t& one : least) {
      value += step;
      step *= 0x9E3779B97F4A7C15ULL;
      const std::uint64_t mixed = value ^ value >> 29;
      one = std::min(one, mixed);
    }
  }
  Signature out;
  // The least of many are all small: what tells them apart stands below.
  std::transform(least.begin(), least.end(), out.begin(), [](std::uint64_t one) {
    return static_cast<std::uint32_t>((one * 0x9E3779B97F4A7C15ULL) >> 32);
  });
  return out;
}

// The share of hashes that agree: the Jaccard index, give or take.
double likeness_of(const Signature& a, const Signature& b) {
  std::uint32_t same = 0;
  for (std::size_t i = 0; i < kHashes; ++i) same += a[i] == b[i] ? 1U : 0U;
  return static_cast<double>(same) / kHashes;
}

std::vector<std::uint64_t> keys_of(const Signature& signature) {
  std::vector<std::uint64_t> keys;
  for (const auto& [rows, bands] : kBandings)
    for (std::size_t band = 0; band < bands; ++band) {
      const auto* first = reinterpret_cast<const char*>(signature.data() + band * rows);
      keys.push_back(base::hash64({first, rows * sizeof(std::uint32_t)}) + keys.size());
    }
  return keys;
}

// The chunks kept so far, to be found by likeness.
class Kept {
 public:
  Kept(const Chunks& chunks, std::string_view source, double threshold)
      : chunks_(chunks), source_(source), threshold_(threshold) {}

  // Whether chunk `i` is like one that was kept; if not, keeps it.
  bool has_like(std::size_t i) {
    const Shingles shingles = shingles_of(chunks_.span(source_, i));
    const Signature signature = signature_of(shingles);
    const std::vector<std::uint64_t> keys = keys_of(signature);
    for (const auto& [likeness, one] : candidates(signature, keys))
      if (jaccard_of(shingles, shingles_of(chunks_.span(source_, chunk_[one]))) >= threshold_)
        return true;
    keep(i, signature, keys);
    return false;
  }

 private:
  struct Candidate {
    double likeness;
    std::uint32_t kept;  // number among the kept
  };

  // The likest of those that share a key and may reach the threshold.
  [[nodiscard]] std::vector<Candidate> candidates(const Signature& signature,
                                                  const std::vector<std::uint64_t>& keys) {
    std::vector<std::uint32_t> found;
    for (const std::uint64_t key : keys)
      if (const auto one = by_key_.find(key); one != by_key_.end())
        found.insert(found.end(), one->second.begin(), one->second.end());
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    std::vector<Candidate> likely;
    for (const std::uint32_t one : found)
      if (const double likeness = likeness_of(signature, signatures_[one]);
          likeness >= threshold_ - kDoubt)
        likely.push_back({likeness, one});
    std::sort(likely.begin(), likely.end(), [](const Candidate& a, const Candidate& b) {
      return a.likeness != b.likeness ? a.likeness > b.likeness : a.kept < b.kept;
    });
    if (likely.size() > kMostCompared) likely.resize(kMostCompared);
    return likely;
  }

  void keep(std::size_t i, const Signature& signature, const std::vector<std::uint64_t>& keys) {
    const auto number = static_cast<std::uint32_t>(chunk_.size());
    chunk_.push_back(i);
    signatures_.push_back(signature);
    for (const std::uint64_t key : keys)
      if (auto& same = by_key_[key]; same.size() < kMostInBand) same.push_back(number);
  }

  const Chunks& chunks_;
  const std::string_view source_;
  const double threshold_;
  std::vector<std::size_t> chunk_;  // of each kept one
  std::vector<Signature> signatures_;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> by_key_;
};

// What is embedded of those seen so far; a hash finds them, their text decides.
class Contents {
 public:
  Contents(const Chunks& chunks, std::string_view source) : chunks_(chunks), source_(source) {}

  // False: one like it was added before.
  bool add(std::size_t i) {
    const auto [first, last] = by_hash_.equal_range(chunks_.hash64[i]);
    if (std::any_of(first, last, [&](const auto& one) { return are_equal(one.second, i); }))
      return false;
    by_hash_.emplace(chunks_.hash64[i], i);
    return true;
  }

 private:
  [[nodiscard]] bool are_equal(std::size_t a, std::size_t b) const {
    if (chunks_.prefix[a] == chunks_.prefix[b])
      return chunks_.span(source_, a) == chunks_.span(source_, b);
    return chunks_.embedded(source_, a) == chunks_.embedded(source_, b);
  }

  const Chunks& chunks_;
  const std::string_view source_;
  std::unordered_multimap<std::uint64_t, std::size_t> by_hash_;
};

}  // namespace

std::vector<std::size_t> unique_chunks(const Chunks& chunks, std::string_view source,
                                       std::optional<double> jaccard) {
  std::vector<std::size_t> keep;
  Contents contents(chunks, source);
  Kept kept(chunks, source, jaccard.value_or(1.0));
  base::CancelTick<16> tick;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    tick();
    if (!contents.add(i)) continue;
    if (jaccard && kept.has_like(i)) continue;
    keep.push_back(i);
  }
  return keep;
}

}  // namespace dure::chunk
