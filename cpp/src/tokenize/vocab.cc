#include "dure/tokenize/vocab.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "tokenize/pair_table.h"
#include "tokenize/probe_table.h"
#include "tokenize/syllables.h"

namespace dure::tokenize {
namespace {

constexpr std::size_t kLongest = std::numeric_limits<std::uint16_t>::max();

std::uint32_t next_serial() noexcept {
  static std::atomic<std::uint32_t> serial{0};
  return ++serial;
}

base::Status bad_ranks(std::string message) {
  return base::invalid_argument("mergeable_ranks", std::move(message));
}

}  // namespace

Vocab::Vocab(std::vector<std::uint32_t> offsets, std::string bytes, TokenPairs pairs)
    : offsets_(std::move(offsets)),
      bytes_(std::move(bytes)),
      serial_(next_serial()),
      pairs_known_(!pairs.empty()),
      known_pairs_(std::move(pairs)) {}

Vocab::~Vocab() = default;

base::Result<std::unique_ptr<Vocab>> Vocab::create(std::vector<std::uint32_t> offsets,
                                                   std::string bytes, TokenPairs pairs) {
  std::unique_ptr<Vocab> vocab(new Vocab(std::move(offsets), std::move(bytes), std::move(pairs)));
  DURE_RETURN_IF_ERROR(vocab->index());
  return vocab;
}

base::Result<std::unique_ptr<Vocab>> Vocab::create(
    std::vector<std::pair<std::string, Rank>> tokens) {
  Rank highest = 0;
  for (const auto& [token, rank] : tokens) {
    if (token.empty() || token.size() > kLongest) {
      return base::fail(bad_ranks("a token must have 1 to 65,535 bytes"));
    }
    highest = std::max(highest, rank);
  }
  if (highest / 4 > tokens.size()) {
    return base::fail(bad_ranks("the ranks are too sparse: at most four times their number"));
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const auto& a, const auto& b) { return a.second < b.second; });
  std::vector<std::uint32_t> offsets{0};
  offsets.reserve(std::size_t{highest} + 2);
  std::string bytes;
  for (const auto& [token, rank] : tokens) {
    if (offsets.size() > std::size_t{rank} + 1) {
      return base::fail(bad_ranks("two tokens have one rank"));
    }
    offsets.resize(std::size_t{rank} + 1, offsets.back());  // gaps
    bytes += token;
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) {
      return base::fail(bad_ranks("the tokens have more than 4 GB"));
    }
    offsets.push_back(static_cast<std::uint32_t>(bytes.size()));
  }
  return create(std::move(offsets), std::move(bytes));
}

base::Status Vocab::index() {
  base::Result<std::unique_ptr<ProbeTable>> table = ProbeTable::create(bytes_, offsets_);
  if (!table) return std::move(table.error());
  table_ = std::move(*table);
  pairs_.assign(std::size_t{1} << 16U, kNoRank);
  singles_.assign(256, kNoRank);
  for (Rank rank = 0; rank < size(); ++rank) {
    const std::string_view bytes = token(rank);
    longest_ = std::max(longest_, bytes.size());
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    if (bytes.size() == 1) singles_[byte(0)] = rank;
    if (bytes.size() == 2) pairs_[static_cast<std::size_t>(byte(0)) << 8U | byte(1)] = rank;
  }
  if (std::find(singles_.begin(), singles_.end(), kNoRank) != singles_.end()) {
    return bad_ranks("each of the 256 single bytes must be a token");
  }
  return {};
}

const PairTable* Vocab::pair_table() const {
  std::call_once(pairs_once_, [this] {
    pair_table_ = pairs_known_ ? PairTable::of(known_pairs_) : PairTable::create(*this);
    known_pairs_ = {};
    if (pair_table_) syllables_ = std::make_unique<Syllables>(*this, *pair_table_);
    ready_pairs_.store(pair_table_.get(), std::memory_order_release);
  });
  return pair_table_.get();
}

Rank Vocab::find(std::string_view bytes) const noexcept {
  if (bytes.empty()) return kNoRank;
  if (bytes.size() > kShort) return bytes.size() > longest_ ? kNoRank : table_->find_long(bytes);
  const ShortKey key = short_key(bytes.data(), bytes.size(), bytes.data() + bytes.size());
  return table_->find(key, hash_of(key));
}

}  // namespace dure::tokenize
