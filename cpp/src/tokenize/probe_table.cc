#include "tokenize/probe_table.h"

#include <bit>

namespace dure::tokenize {

base::Result<std::unique_ptr<ProbeTable>> ProbeTable::create(
    std::string_view bytes, std::span<const std::uint32_t> offsets) {
  std::unique_ptr<ProbeTable> table(new ProbeTable(bytes, offsets));
  if (!table->fill()) {
    return base::fail(base::invalid_argument("mergeable_ranks", "a token has two ranks"));
  }
  return table;
}

bool ProbeTable::fill() {
  const std::size_t count = offsets_.size() - 1;
  std::size_t short_count = 0;
  for (std::size_t i = 0; i < count; ++i) {
    short_count += offsets_[i + 1] - offsets_[i] <= kShort ? 1 : 0;
  }
  // Two of three slots filled at most; at least two buckets, so that the shift is below 64.
  const std::size_t buckets = std::bit_ceil(short_count / 2 + 2);
  memory_.emplace(buckets);
  buckets_ = memory_->data();
  last_ = buckets_ + buckets - 1;
  shift_ = 64U - static_cast<unsigned>(std::countr_zero(buckets));
  long_.assign(std::bit_ceil((count - short_count) * 2 + 2), LongSlot{});
  long_shift_ = 64U - static_cast<unsigned>(std::countr_zero(long_.size()));

  constexpr std::size_t kAhead = 32;  // keys whose bucket is being fetched
  struct Waiting {
    ShortKey key;
    std::uint64_t hash;
    Rank rank;
  };
  std::array<Waiting, kAhead> ring;
  std::size_t put = 0;
  std::size_t taken = 0;
  const auto insert_next = [&] {
    const Waiting& next = ring[taken++ % kAhead];
    return insert_short(next.key, next.hash, next.rank);
  };
  const char* end = bytes_.data() + bytes_.size();
  for (Rank rank = 0; rank < count; ++rank) {
    const std::string_view bytes = token(rank);
    if (bytes.empty()) continue;
    if (bytes.size() > kShort) {
      if (!insert_long(bytes, rank)) return false;
      continue;
    }
    if (put - taken == kAhead && !insert_next()) return false;
    const ShortKey key = short_key(bytes.data(), bytes.size(), end);
    const std::uint64_t hash = hash_of(key);
    __builtin_prefetch(home(hash), 1);
    ring[put++ % kAhead] = {key, hash, rank};
  }
  while (taken < put) {
    if (!insert_next()) return false;
  }
  return true;
}

bool ProbeTable::insert_short(const ShortKey& key, std::uint64_t hash, Rank rank) noexcept {
  for (Bucket* bucket = buckets_ + (hash >> shift_);;) {
    for (std::size_t i = 0; i < kSlots; ++i) {
      if (bucket->keys[i].high == 0) {
        bucket->keys[i] = key;
        bucket->words[i] = rank + 1;
        return true;
      }
      if (bucket->keys[i] == key) return false;
    }
    bucket->words[kSlots] = kElsewhere + 1;
    bucket = bucket == last_ ? buckets_ : bucket + 1;
  }
}

bool ProbeTable::insert_long(std::string_view bytes, Rank rank) noexcept {
  const std::size_t mask = long_.size() - 1;
  const std::uint64_t hash = hash_of(long_key(bytes), bytes.size());
  std::size_t slot = hash >> long_shift_;
  for (; long_[slot].rank != kNoRank; slot = (slot + 1) & mask) {
    if (token(long_[slot].rank) == bytes) return false;
  }
  long_[slot] = {static_cast<std::uint32_t>(hash), rank};
  return true;
}

}  // namespace dure::tokenize
