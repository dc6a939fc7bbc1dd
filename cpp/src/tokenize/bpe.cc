#include "dure/tokenize/bpe.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "dure/base/cancel.h"
#include "tokenize/merge.h"
#include "tokenize/merge_cache.h"

namespace dure::tokenize {
namespace {

struct Candidate {
  Rank rank;
  std::size_t start;
  friend bool operator>(const Candidate& a, const Candidate& b) noexcept {
    return std::pair(a.rank, a.start) > std::pair(b.rank, b.start);
  }
};

// A list of parts linked both ways; a candidate whose part has changed since is dropped when it
// comes up: its rank no longer is the part's.
class LongMerge {
 public:
  LongMerge(const Vocab& vocab, std::string_view piece)
      : vocab_(vocab),
        piece_(piece),
        next_(piece.size()),
        before_(piece.size()),
        rank_(piece.size(), kNoRank) {
    for (std::size_t i = 0; i < piece.size(); ++i) {
      next_[i] = i + 1;
      before_[i] = i - 1;
    }
    std::vector<Candidate> first;
    for (std::size_t i = 0; i < piece.size(); ++i) {
      rank_[i] = pair_rank(i);
      if (rank_[i] != kNoRank) first.push_back({rank_[i], i});
    }
    queue_ = Queue(std::greater<>(), std::move(first));
  }

  void run(std::vector<Rank>& out) {
    base::CancelTick<4096> tick;
    while (!queue_.empty()) {
      tick();
      const Candidate best = queue_.top();
      queue_.pop();
      if (rank_[best.start] == best.rank) merge(best.start);
    }
    for (std::size_t i = 0; i < piece_.size(); i = next_[i]) {
      out.push_back(vocab_.find(piece_.substr(i, next_[i] - i)));
    }
  }

 private:
  using Queue = std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

  // Rank of the part at `start` joined with the next; kNoRank if there is none.
  Rank pair_rank(std::size_t start) const noexcept {
    const std::size_t second = next_[start];
    if (second >= piece_.size()) return kNoRank;
    return vocab_.find(piece_.substr(start, next_[second] - start));
  }

  void renew(std::size_t start) {
    rank_[start] = pair_rank(start);
    if (rank_[start] != kNoRank) queue_.push({rank_[start], start});
  }

  void merge(std::size_t start) {
    const std::size_t second = next_[start];
    next_[start] = next_[second];
    if (next_[start] < piece_.size()) before_[next_[start]] = start;
    rank_[second] = kNoRank;
    renew(start);
    if (start > 0) renew(before_[start]);
  }

  const Vocab& vocab_;
  std::string_view piece_;
  std::vector<std::size_t> next_;
  std::vector<std::size_t> before_;
  std::vector<Rank> rank_;  // of the part with its next; kNoRank: none, or merged away
  Queue queue_;
};

}  // namespace

void merge_by_heap(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out) {
  LongMerge(vocab, piece).run(out);
}

void merge_piece(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out) {
  if (piece.empty()) return;
  if (const Rank rank = vocab.find(piece); rank != kNoRank) {
    out.push_back(rank);
  } else {
    merge_any(vocab, MergeCache::of_thread().pairs(), piece, out);
  }
}

void merge_piece_slowly(const Vocab& vocab, std::string_view piece, std::vector<Rank>& out) {
  std::vector<std::string_view> parts;
  for (std::size_t i = 0; i < piece.size(); ++i) parts.push_back(piece.substr(i, 1));
  if (const Rank whole = vocab.find(piece); whole != kNoRank) parts = {piece};
  for (;;) {
    Rank best = kNoRank;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const Rank rank = vocab.find({parts[i].data(), parts[i].size() + parts[i + 1].size()});
      if (rank < best) std::tie(best, at) = std::pair(rank, i);
    }
    if (best == kNoRank) break;
    parts[at] = {parts[at].data(), parts[at].size() + parts[at + 1].size()};
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  for (const std::string_view part : parts) out.push_back(vocab.find(part));
}

}  // namespace dure::tokenize
