#include "dure/chunk/dedup.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "dure/base/cancel.h"
#include "dure/base/hash.h"
#include "dure/text/utf8.h"

namespace dure::chunk {
namespace {

constexpr std::size_t kShingle = 9;
constexpr std::size_t kRows = 4;
constexpr std::size_t kBands = 32;
using Signature = std::array<std::uint64_t, kRows * kBands>;
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

// Multiply-and-add permutations with fixed odd multipliers.
Signature signature_of(const Shingles& shingles) {
  Signature out;
  out.fill(std::numeric_limits<std::uint64_t>::max());
  for (const std::uint64_t shingle : shingles) {
    std::uint64_t step = (shingle >> 17 | shingle << 47) | 1;
    std::uint64_t value = shingle;
    for (std::uint64_t& least : out) {
      value += step;
      step *= 0x9E3779B97F4A7C15ULL;
      const std::uint64_t mixed = value ^ value >> 29;
      least = std::min(least, mixed);
    }
  }
  return out;
}

std::uint64_t band_key(const Signature& signature, std::size_t band) {
  std::array<std::uint64_t, kRows + 1> key{};
  std::copy_n(signature.begin() + static_cast<std::ptrdiff_t>(band * kRows), kRows, key.begin());
  key[kRows] = band;
  return base::hash64({reinterpret_cast<const char*>(key.data()), sizeof key});
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
    std::unordered_set<std::size_t> seen;
    for (std::size_t band = 0; band < kBands; ++band) {
      const auto [first, last] = by_band_.equal_range(band_key(signature, band));
      for (auto one = first; one != last; ++one) {
        if (!seen.insert(one->second).second) continue;
        if (jaccard_of(shingles, shingles_of(chunks_.span(source_, one->second))) >= threshold_)
          return true;
      }
    }
    for (std::size_t band = 0; band < kBands; ++band)
      by_band_.emplace(band_key(signature, band), i);
    return false;
  }

 private:
  const Chunks& chunks_;
  std::string_view source_;
  double threshold_;
  std::unordered_multimap<std::uint64_t, std::size_t> by_band_;
};

}  // namespace

std::vector<std::size_t> unique_chunks(const Chunks& chunks, std::string_view source,
                                       std::optional<double> jaccard) {
  std::vector<std::size_t> keep;
  std::unordered_set<std::uint64_t> hashes;
  Kept kept(chunks, source, jaccard.value_or(1.0));
  base::CancelTick<16> tick;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    tick();
    if (!hashes.insert(chunks.hash64[i]).second) continue;
    if (jaccard && kept.has_like(i)) continue;
    keep.push_back(i);
  }
  return keep;
}

}  // namespace dure::chunk
