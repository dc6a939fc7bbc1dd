#include "tokenize/syllables.h"

#include "dure/text/utf8.h"
#include "tokenize/pair_table.h"

namespace dure::tokenize {
namespace {

// Three ids of 20 bits, their number in the next two, then two for their sizes: of two tokens the
// size of the first; of three in four bytes the one that has two. Never 0.
constexpr unsigned kCountAt = 60;
constexpr unsigned kShapeAt = 62;
constexpr std::uint64_t kBeside = std::uint64_t{1} << kShapeAt;  // count 0

struct Part {
  Rank id;
  unsigned size;
};

std::uint64_t pack(const std::array<Part, 4>& parts, unsigned count) noexcept {
  std::uint64_t packed = std::uint64_t{count} << kCountAt;
  for (unsigned i = 0; i < count; ++i) packed |= std::uint64_t{parts[i].id} << (kIdBits * i);
  unsigned shape = 0;
  if (count == 2) shape = parts[0].size;
  for (unsigned i = 0; count == 3 && i < count; ++i) shape = parts[i].size == 2 ? i : shape;
  return packed | std::uint64_t{shape} << kShapeAt;
}

}  // namespace

Syllables::Syllables(const Vocab& vocab, const PairTable& table)
    : vocab_(vocab), table_(table), slots_(std::size_t{2} * kNumber) {
  for (Rank rank = 0; rank < vocab.size(); ++rank) note_edges(vocab.token(rank));
}

// Of a token that is no well-formed text every edge may be one that it crosses with a part.
void Syllables::note_edges(std::string_view token) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(token[i]); };
  bool checked = false;
  for (std::size_t i = 1; i < token.size(); ++i) {
    if ((byte(i) & 0xF0U) != 0xE0U) continue;
    if (!checked && text::is_valid(token)) return;
    checked = true;
    open_[byte(i - 1)] |= static_cast<std::uint16_t>(1U << (byte(i) & 0x0FU));
  }
}

std::uint64_t Syllables::merge(unsigned slot, bool space) const noexcept {
  const unsigned value = kFirst + slot % kNumber;
  std::array<Part, 4> parts{};
  unsigned count = 0;
  const auto add = [&](unsigned byte) {
    parts[count++] = {vocab_.byte(static_cast<unsigned char>(byte)), 1};
  };
  if (space) add(' ');
  add(0xE0U | value >> 12U);
  add(0x80U | (value >> 6U & 0x3FU));
  add(0x80U | (value & 0x3FU));
  while (count > 1) {
    Rank best = kNoPair;
    unsigned where = 0;
    for (unsigned i = 0; i + 1 < count; ++i) {
      const Rank rank = table_.find(parts[i].id, parts[i + 1].id);
      if (rank < best) {
        best = rank;
        where = i;
      }
    }
    if (best == kNoPair) break;
    parts[where] = {best, parts[where].size + parts[where + 1].size};
    for (unsigned i = where + 1; i + 1 < count; ++i) parts[i] = parts[i + 1];
    --count;
    if (space && count == 2 && parts[1].size == 3) return kBeside;  // it stands by itself
  }
  return count <= Syllable::kMost ? pack(parts, count) : kBeside;
}

Syllable Syllables::unpack(std::uint64_t packed, bool space) noexcept {
  Syllable syllable;
  syllable.count = packed >> kCountAt & 3U;
  const auto shape = static_cast<unsigned char>(packed >> kShapeAt);
  const unsigned char size = space ? 4 : 3;
  for (std::size_t i = 0; i < Syllable::kMost; ++i) {
    syllable.ids[i] = static_cast<Rank>(packed >> (kIdBits * i)) & kNoPair;
  }
  switch (syllable.count) {
    case 1:
      syllable.sizes[0] = size;
      break;
    case 2:
      syllable.sizes[0] = shape;
      syllable.sizes[1] = static_cast<unsigned char>(size - shape);
      break;
    default:
      syllable.sizes = {1, 1, 1};
      if (space) syllable.sizes[shape % Syllable::kMost] = 2;
      break;
  }
  return syllable;
}

}  // namespace dure::tokenize
