#include <algorithm>
#include <array>
#include <cstring>

#include "tokenize/merge.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {
namespace {

// The parts of a piece: starts[i]..starts[i + 1]; ranks[i]: of part i joined with part i + 1.
struct Parts {
  std::array<std::uint8_t, kStackMerge + 1> starts;
  std::array<Rank, kStackMerge> ranks;
  std::size_t count;
};

// A piece with room behind it, so that 16 bytes may be read at each of its bytes.
class Padded {
 public:
  Padded(const Vocab& vocab, std::string_view piece) noexcept
      : vocab_(vocab), table_(vocab.table()) {
    std::memcpy(bytes_.data(), piece.data(), piece.size());
    std::memset(bytes_.data() + piece.size(), 0, 16);
  }
  [[nodiscard]] Rank find(std::size_t start, std::size_t length) const noexcept {
    const char* at = bytes_.data() + start;
    if (length <= kShort) {
      const ShortKey key = short_key(at, length, at + 16);
      return table_.find(key, hash_of(key));
    }
    if (length > vocab_.longest()) return kNoRank;
    return table_.find_long({at, length});
  }

 private:
  const Vocab& vocab_;
  const ProbeTable& table_;
  std::array<char, kStackMerge + 16> bytes_;
};

Rank joined(const Padded& bytes, const Parts& parts, std::size_t i) noexcept {
  if (i + 2 > parts.count) return kNoRank;
  const std::size_t start = parts.starts[i];
  return bytes.find(start, parts.starts[i + 2] - start);
}

std::size_t lowest(const Parts& parts) noexcept {
  std::size_t best = 0;
  for (std::size_t i = 1; i + 1 < parts.count; ++i) {
    if (parts.ranks[i] < parts.ranks[best]) best = i;
  }
  return best;
}

// Short moves: a loop beats the library's call.
void remove_part(Parts& parts, std::size_t i) noexcept {
  for (std::size_t j = i; j + 1 < parts.count; ++j) {
    parts.starts[j] = parts.starts[j + 1];
    parts.ranks[j] = parts.ranks[j + 1];
  }
  parts.starts[parts.count - 1] = parts.starts[parts.count];
  --parts.count;
}

}  // namespace

std::size_t merge_short(const Vocab& vocab, std::string_view piece, Rank* out) noexcept {
  const Padded bytes(vocab, piece);
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
    parts.ranks[best] = joined(bytes, parts, best);
    if (best > 0) parts.ranks[best - 1] = joined(bytes, parts, best - 1);
  }
  for (std::size_t i = 0; i < parts.count; ++i) {
    const std::size_t start = parts.starts[i];
    out[i] = bytes.find(start, parts.starts[i + 1] - start);
  }
  return parts.count;
}

}  // namespace dure::tokenize
