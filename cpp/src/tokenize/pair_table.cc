#include "tokenize/pair_table.h"

#include <algorithm>

namespace dure::tokenize {
namespace {

constexpr std::size_t kBytes = 256;  // the single bytes come first where pairs are known

}  // namespace

void PairTable::insert(Rank left, Rank right, Rank merged) noexcept {
  const std::uint64_t pair = pair_of(left, right);
  const std::uint64_t hash = hash_of(pair);
  std::size_t slot = home(hash);
  while (slots_.data()[slot] != kFree) slot = next(slot);
  slots_.data()[slot] = pair << kIdBits | merged;
}

bool PairTable::add(const Vocab& vocab, std::string_view token, Rank rank) {
  std::vector<Rank> ids;
  std::vector<Rank> merges;  // of each part and the next
  for (const char byte : token) ids.push_back(vocab.byte(static_cast<unsigned char>(byte)));
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) merges.push_back(find(ids[i], ids[i + 1]));
  while (ids.size() > 2) {
    const auto best = std::min_element(merges.begin(), merges.end());
    if (*best == kNoPair) return false;
    const auto at = best - merges.begin();
    ids[static_cast<std::size_t>(at)] = *best;
    ids.erase(ids.begin() + at + 1);
    merges.erase(best);
    const auto i = static_cast<std::size_t>(at);
    if (i < merges.size()) merges[i] = find(ids[i], ids[i + 1]);
    if (i > 0) merges[i - 1] = find(ids[i - 1], ids[i]);
  }
  if (ids[0] >= rank || ids[1] >= rank) return false;
  insert(ids[0], ids[1], rank);
  return true;
}

std::unique_ptr<const PairTable> PairTable::create(const Vocab& vocab) {
  if (vocab.size() >= kNoPair) return nullptr;
  std::unique_ptr<PairTable> table(new PairTable(vocab.size()));
  for (Rank rank = 0; rank < vocab.size(); ++rank) {
    const std::string_view token = vocab.token(rank);
    if (token.size() > 1 && !table->add(vocab, token, rank)) return nullptr;
  }
  return table;
}

std::unique_ptr<const PairTable> PairTable::of(std::span<const TokenPair> pairs) {
  std::unique_ptr<PairTable> table(new PairTable(pairs.size()));
  constexpr std::size_t kAhead = 16;  // slots that are being fetched
  for (std::size_t rank = kBytes; rank < pairs.size(); ++rank) {
    if (rank + kAhead < pairs.size()) {
      table->prefetch(pairs[rank + kAhead].left, pairs[rank + kAhead].right);
    }
    const auto [left, right] = pairs[rank];
    if (left < rank && right < rank) table->insert(left, right, static_cast<Rank>(rank));
  }
  return table;
}

}  // namespace dure::tokenize
