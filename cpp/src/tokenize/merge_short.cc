#include <algorithm>
#include <array>

#include "tokenize/merge.h"

namespace dure::tokenize {
namespace {

// The parts of a piece: starts[i]..starts[i + 1]; ranks[i]: of part i joined with part i + 1.
struct Parts {
  std::array<std::uint8_t, kStackMerge + 1> starts;
  std::array<Rank, kStackMerge> ranks;
  std::size_t count;
};

Rank joined(const Vocab& vocab, std::string_view piece, const Parts& parts,
            std::size_t i) noexcept {
  if (i + 2 > parts.count) return kNoRank;
  const std::size_t start = parts.starts[i];
  return vocab.find(piece.substr(start, parts.starts[i + 2] - start));
}

std::size_t lowest(const Parts& parts) noexcept {
  std::size_t best = 0;
  for (std::size_t i = 1; i + 1 < parts.count; ++i) {
    if (parts.ranks[i] < parts.ranks[best]) best = i;
  }
  return best;
}

void remove_part(Parts& parts, std::size_t i) noexcept {
  std::copy(parts.starts.begin() + i + 1, parts.starts.begin() + parts.count + 1,
            parts.starts.begin() + i);
  std::copy(parts.ranks.begin() + i + 1, parts.ranks.begin() + parts.count,
            parts.ranks.begin() + i);
  --parts.count;
}

}  // namespace

std::size_t merge_short(const Vocab& vocab, std::string_view piece, Rank* out) noexcept {
  Parts parts;
  parts.count = piece.size();
  const auto byte = [piece](std::size_t i) { return static_cast<unsigned char>(piece[i]); };
  for (std::size_t i = 0; i <= piece.size(); ++i) {
    parts.starts[i] = static_cast<std::uint8_t>(i);
    if (i + 1 < piece.size()) parts.ranks[i] = vocab.pair(byte(i), byte(i + 1));
  }
  parts.ranks[piece.size() - 1] = kNoRank;
  while (parts.count > 1) {
    const std::size_t best = lowest(parts);
    if (parts.ranks[best] == kNoRank) break;
    remove_part(parts, best + 1);
    parts.ranks[best] = joined(vocab, piece, parts, best);
    if (best > 0) parts.ranks[best - 1] = joined(vocab, piece, parts, best - 1);
  }
  for (std::size_t i = 0; i < parts.count; ++i) {
    const std::size_t start = parts.starts[i];
    out[i] = vocab.find(piece.substr(start, parts.starts[i + 1] - start));
  }
  return parts.count;
}

}  // namespace dure::tokenize
