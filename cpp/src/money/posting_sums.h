// src/money/posting_sums.h - what the postings of some records come to, for each budget and window.
//
// One thread at a time.
#ifndef DURE_SRC_MONEY_POSTING_SUMS_H_
#define DURE_SRC_MONEY_POSTING_SUMS_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "dure/base/int128.h"
#include "dure/money/ledger.h"

namespace dure::money {

class PostingSums {
 public:
  using Key = std::pair<std::uint32_t, std::int64_t>;  // budget, start of its window

  void add(const Record& record) { add(record.postings); }
  // Postings of every sum that is not zero, in no order. A sum beyond 64 bits is told in parts.
  void list(std::vector<Posting>& postings) const {
    for (const auto& [key, sum] : sums_) {
      auto [held, used] = sum;
      while (held != 0 || used != 0) {
        postings.push_back({key.first, key.second, part(held), part(used)});
        held -= postings.back().held;
        used -= postings.back().used;
      }
    }
  }
  // True if `postings` come to these sums, whatever their order.
  [[nodiscard]] bool equal(const std::vector<Posting>& postings) {
    PostingSums others;
    others.add(postings);
    for (const auto& [key, sum] : others.sums_) {
      if (this->sum(key) != sum) return false;
    }
    for (const auto& [key, sum] : sums_) {
      if (others.sum(key) != sum) return false;
    }
    return true;
  }

 private:
  using Amounts = std::pair<base::int128, base::int128>;  // held, used
  struct Sum {
    Key key;
    Amounts sum;
  };
  // As much of `amount` as one posting can tell.
  [[nodiscard]] static std::int64_t part(base::int128 amount) noexcept {
    using Limits = std::numeric_limits<std::int64_t>;
    return static_cast<std::int64_t>(
        std::clamp(amount, base::int128{Limits::min()}, base::int128{Limits::max()}));
  }
  void add(const std::vector<Posting>& postings) {
    for (const Posting& posting : postings) {
      auto& [held, used] = sum({posting.budget, posting.window_start_us});
      held += posting.held;
      used += posting.used;
    }
  }
  [[nodiscard]] static std::size_t hash(const Key& key) noexcept {
    return static_cast<std::size_t>((key.first * 0x9E3779B97F4A7C15U) ^
                                    static_cast<std::uint64_t>(key.second) * 0xC2B2AE3D27D4EB4FU);
  }
  // The place of `key` in a table of `places`, or the empty one where it belongs.
  [[nodiscard]] std::uint32_t& place(const Key& key) noexcept {
    std::size_t at = hash(key) >> 20U;
    while (true) {
      std::uint32_t& place = places_[at++ & (places_.size() - 1)];
      if (place == 0 || sums_[place - 1].key == key) return place;
    }
  }
  Amounts& sum(const Key& key) {
    if (last_ < sums_.size() && sums_[last_].key == key) return sums_[last_].sum;
    if (sums_.size() * 2 >= places_.size()) grow();
    std::uint32_t& found = place(key);
    if (found == 0) {
      sums_.push_back({key, {0, 0}});
      found = static_cast<std::uint32_t>(sums_.size());
    }
    last_ = found - 1;
    return sums_[last_].sum;
  }
  void grow() {
    places_.assign(places_.empty() ? 16 : places_.size() * 2, 0);
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      place(sums_[i].key) = static_cast<std::uint32_t>(i + 1);
    }
  }

  std::vector<Sum> sums_;
  std::vector<std::uint32_t> places_;  // a power of two; 0: empty, else a place in sums_ + 1
  std::size_t last_ = 0;               // calls come in runs on the same budgets
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_POSTING_SUMS_H_
