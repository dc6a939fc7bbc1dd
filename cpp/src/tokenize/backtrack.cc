#include "tokenize/backtrack.h"

#include <algorithm>
#include <array>
#include <utility>

namespace dure::tokenize {
namespace {

constexpr std::size_t kMostBytes = 255;  // of a token

std::uint64_t extend(std::uint64_t hash, char byte) noexcept {
  return (hash ^ static_cast<unsigned char>(byte)) * 0x9E3779B97F4A7C15ULL + 0x7F4A7C15U;
}

// Merges the bytes of `token` by ranks below its own. Returns the two parts that are left, or
// nothing if more are left: such a token is never made by merging.
struct Parts {
  std::array<std::uint16_t, kMostBytes + 1> starts;
  std::size_t count;
};

Rank joined(const Vocab& vocab, std::string_view token, const Parts& parts, std::size_t i) {
  const std::size_t start = parts.starts[i];
  return vocab.find(token.substr(start, parts.starts[i + 2] - start));
}

bool merge_to_two(const Vocab& vocab, std::string_view token, Rank limit, std::size_t& cut) {
  Parts parts;
  std::array<Rank, kMostBytes> ranks;
  parts.count = token.size();
  for (std::size_t i = 0; i <= token.size(); ++i) parts.starts[i] = static_cast<std::uint16_t>(i);
  for (std::size_t i = 0; i + 1 < parts.count; ++i) ranks[i] = joined(vocab, token, parts, i);
  while (parts.count > 2) {
    const auto* best = std::min_element(ranks.data(), ranks.data() + parts.count - 1);
    if (*best >= limit) return false;
    const auto at = static_cast<std::size_t>(best - ranks.data());
    std::copy(parts.starts.data() + at + 2, parts.starts.data() + parts.count + 1,
              parts.starts.data() + at + 1);
    std::copy(ranks.data() + at + 1, ranks.data() + parts.count - 1, ranks.data() + at);
    --parts.count;
    if (at + 1 < parts.count) ranks[at] = joined(vocab, token, parts, at);
    if (at > 0) ranks[at - 1] = joined(vocab, token, parts, at - 1);
  }
  cut = parts.starts[1];
  return true;
}

}  // namespace

std::unique_ptr<const Backtrack> Backtrack::create(const Vocab& vocab) {
  std::unique_ptr<Backtrack> made(new Backtrack(vocab));
  if (vocab.longest() > kMostBytes || !made->learn()) return nullptr;
  return made;
}

bool Backtrack::learn() {
  for (Rank rank = 0; rank < vocab_.size(); ++rank) {
    const std::string_view token = vocab_.token(rank);
    if (token.empty()) continue;
    std::uint64_t hash = 0;
    for (const char byte : token) prefixes_.add(hash = extend(hash, byte));
    tokens_.add(hash);
    halves_[rank] = {rank, rank};
    if (token.size() == 1) continue;
    std::size_t cut = 1;
    if (!merge_to_two(vocab_, token, rank, cut)) return false;
    halves_[rank] = {vocab_.find(token.substr(0, cut)), vocab_.find(token.substr(cut))};
    if (halves_[rank].left >= rank || halves_[rank].right >= rank) return false;
  }
  return true;
}

std::size_t Backtrack::lengths_at(std::string_view text, std::uint8_t* lengths) const noexcept {
  const std::size_t most = std::min(text.size(), vocab_.longest());
  std::uint64_t hash = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < most; ++i) {
    hash = extend(hash, text[i]);
    if (!prefixes_.has(hash)) break;
    if (tokens_.has(hash)) lengths[count++] = static_cast<std::uint8_t>(i + 1);
  }
  return count;
}

bool Backtrack::may_meet(std::string_view piece, std::size_t joint, Rank left,
                         Rank right) const noexcept {
  Rank limit = kNoRank;  // the latest merge that is not undone yet
  while (true) {
    const std::size_t before = vocab_.token(left).size();
    const Rank both =
        vocab_.find(piece.substr(joint - before, before + vocab_.token(right).size()));
    if (both < limit && halves_[both].left == left && halves_[both].right == right) return false;
    // Undo the later of the two merges; of equals the right one, for the left merges first.
    const auto undo_left = [&] {
      limit = left;
      left = halves_[left].right;
      return left != limit;
    };
    const auto undo_right = [&] {
      limit = right + 1;
      right = halves_[right].left;
      return right + 1 != limit;
    };
    const bool undone = left > right ? undo_left() || undo_right() : undo_right() || undo_left();
    if (!undone) return true;
  }
}

Rank Backtrack::next(std::string_view piece, std::size_t at, std::size_t bound, Rank last,
                     const std::vector<bool>& dead) const noexcept {
  std::array<std::uint8_t, kMostBytes> lengths;
  for (std::size_t i = lengths_at(piece.substr(at), lengths.data()); i > 0; --i) {
    const std::size_t length = lengths[i - 1];
    if (length >= bound || dead[at + length]) continue;
    const Rank rank = vocab_.find(piece.substr(at, length));
    if (rank != kNoRank && (last == kNoRank || may_meet(piece, at, last, rank))) return rank;
  }
  return kNoRank;
}

void Backtrack::run(std::string_view piece, std::vector<Rank>& out) const {
  constexpr std::size_t kAny = kMostBytes + 1;
  const std::size_t first = out.size();
  std::vector<bool> dead(piece.size() + 1);
  std::size_t at = 0;
  std::size_t bound = kAny;
  while (at < piece.size()) {
    const Rank last = out.size() > first ? out.back() : kNoRank;
    const Rank rank = next(piece, at, bound, last, dead);
    if (rank != kNoRank) {
      out.push_back(rank);
      at += vocab_.token(rank).size();
      bound = kAny;
      continue;
    }
    // There is always a way from 0, for each byte is a token: `last` is one.
    dead[at] = true;
    out.pop_back();
    bound = vocab_.token(last).size();
    at -= bound;
  }
}

}  // namespace dure::tokenize
