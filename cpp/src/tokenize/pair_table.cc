#include "tokenize/pair_table.h"

#include <algorithm>
#include <bit>

namespace dure::tokenize {

PairTable::PairTable(std::size_t tokens) : slots_(std::bit_ceil(2 * tokens + 2)) {
  mask_ = slots_.size() - 1;
  shift_ = 64U - static_cast<unsigned>(std::countr_zero(slots_.size()));
  filter_.assign(std::bit_ceil(tokens / 8 + 1), 0);  // eight bits a token
  filter_mask_ = filter_.size() - 1;
}

void PairTable::insert(Rank left, Rank right, Rank merged) noexcept {
  const std::uint64_t pair = pair_of(left, right);
  const std::uint64_t hash = hash_of(pair);
  filter_[hash >> 20U & filter_mask_] |= 1ULL << (hash & 63U);
  std::size_t slot = hash >> shift_;
  while (slots_.data()[slot] != kFree) slot = (slot + 1) & mask_;
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

}  // namespace dure::tokenize
