// src/money/posting_sums.h - what the postings of some records come to, for each budget and window.
//
// One thread at a time.
#ifndef DURE_SRC_MONEY_POSTING_SUMS_H_
#define DURE_SRC_MONEY_POSTING_SUMS_H_

#include <cstdint>
#include <unordered_map>
#include <utility>

#include "dure/money/ledger.h"

namespace dure::money {

class PostingSums {
 public:
  void add(const Record& record) {
    for (const Posting& posting : record.postings) {
      auto& [held, used] = sums_[{posting.budget, posting.window_start_us}];
      held += posting.held;
      used += posting.used;
    }
  }
  // Postings of every sum that is not zero, in no order.
  void list(std::vector<Posting>& postings) const {
    for (const auto& [key, sum] : sums_) {
      if (sum.first == 0 && sum.second == 0) continue;
      postings.push_back({key.first, key.second, sum.first, sum.second});
    }
  }
  // True if `postings` are these sums, whatever their order.
  [[nodiscard]] bool equal(const std::vector<Posting>& postings) const {
    std::size_t other = 0;
    for (const auto& [key, sum] : sums_) {
      if (sum != std::pair<std::int64_t, std::int64_t>{0, 0}) ++other;
    }
    if (postings.size() != other) return false;
    for (const Posting& posting : postings) {
      const auto sum = sums_.find({posting.budget, posting.window_start_us});
      if (sum == sums_.end() || sum->second != std::pair(posting.held, posting.used)) return false;
    }
    return true;
  }

 private:
  using Key = std::pair<std::uint32_t, std::int64_t>;  // budget, start of its window
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept {
      return static_cast<std::size_t>((key.first * 0x9E3779B97F4A7C15U) ^
                                      static_cast<std::uint64_t>(key.second));
    }
  };
  std::unordered_map<Key, std::pair<std::int64_t, std::int64_t>, Hash> sums_;  // held, used
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_POSTING_SUMS_H_
