// index/pool.h - the best rows that a walk has met, and which of them it has walked from.
//
// One thread at a time. Borrows its storage, so that walks reuse it.
#ifndef DURE_INDEX_POOL_H_
#define DURE_INDEX_POOL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "dure/index/graph.h"

namespace dure::index {

// Best first. Until release() the highest bit of a row says that it was walked from: rows are
// below 2^31.
class Pool {
 public:
  // REQUIRES: capacity >= 1.
  Pool(std::size_t capacity, std::vector<Candidate>& storage)
      : capacity_(capacity), entries_(storage) {
    if (entries_.size() < capacity + 1) entries_.resize(capacity + 1);
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void insert(Candidate one) {
    if (!(one.score > worst_)) return;
    Candidate* const first = entries_.data();
    std::size_t low = 0;  // entries before it score at least as much
    for (std::size_t left = size_; left > 0;) {
      const std::size_t half = left / 2;
      const bool before = first[low + half].score >= one.score;
      low = before ? low + half + 1 : low;
      left = before ? left - half - 1 : half;
    }
    std::memmove(first + low + 1, first + low, (size_ - low) * sizeof(Candidate));
    first[low] = one;
    if (size_ < capacity_) ++size_;
    if (size_ == capacity_) worst_ = first[size_ - 1].score;
    if (low < next_) next_ = low;
  }
  // The best row nobody walked from; false if there is none.
  [[nodiscard]] bool take(std::uint32_t& row) noexcept {
    Candidate* const first = entries_.data();
    while (next_ < size_ && (first[next_].row & kWalked) != 0) ++next_;
    if (next_ == size_) return false;
    row = first[next_].row;
    first[next_++].row |= kWalked;
    return true;
  }
  // The row that take() would give now, if nothing is inserted; `otherwise` if there is none.
  [[nodiscard]] std::uint32_t peek(std::uint32_t otherwise) const noexcept {
    for (std::size_t at = next_; at < size_; ++at) {
      if ((entries_[at].row & kWalked) == 0) return entries_[at].row;
    }
    return otherwise;
  }
  // Leaves in the storage what was met, rows without the mark. The end of this pool.
  void release() {
    entries_.resize(size_);
    for (Candidate& one : entries_) one.row &= ~kWalked;
  }

 private:
  static constexpr std::uint32_t kWalked = std::uint32_t{1} << 31U;

  const std::size_t capacity_;
  std::vector<Candidate>& entries_;
  std::size_t size_ = 0;
  std::size_t next_ = 0;                                   // all before it were walked from
  float worst_ = -std::numeric_limits<float>::infinity();  // of a full pool
};

}  // namespace dure::index

#endif  // DURE_INDEX_POOL_H_
