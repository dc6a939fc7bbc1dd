// index/postings.h - the rows that hold one word, each with its count, in few bytes.
//
// A posting is varint((gap - 1) << 1 | more), gap being the row less the one before (the first:
// less -1); if `more`, varint(count - 2) follows, else the count is 1. varint: seven bits a byte,
// lowest first, the high bit set on all but the last.
//
// PostingList: one thread at a time; reading is const.
#ifndef DURE_SRC_INDEX_POSTINGS_H_
#define DURE_SRC_INDEX_POSTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "dure/index/scored_row.h"

namespace dure::index {

void append_varint(std::uint64_t value, std::string& out);

// Reads bytes that may be damaged.
class VarintReader {
 public:
  explicit VarintReader(std::string_view bytes) noexcept : bytes_(bytes) {}
  [[nodiscard]] bool done() const noexcept { return at_ == bytes_.size(); }
  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - at_; }
  // False at the end of the bytes, or above `most`.
  [[nodiscard]] bool read(std::uint64_t& value, std::uint64_t most) noexcept;
  // False if fewer are left.
  [[nodiscard]] bool read_bytes(std::size_t count, std::string_view& out) noexcept;

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

class PostingList {
 public:
  // REQUIRES: row is above all before it; count >= 1.
  void append(RowNumber row, std::uint32_t count) {
    append_varint((row - next_row_) << 1 | (count > 1 ? 1U : 0U), bytes_);
    if (count > 1) append_varint(count - 2, bytes_);
    next_row_ = std::uint64_t{row} + 1;
    ++size_;
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }
  void trim() { bytes_.shrink_to_fit(); }

  // Calls visit(row, count) in the order of the rows. Trusts the bytes: append made them.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    const auto* at = reinterpret_cast<const std::uint8_t*>(bytes_.data());
    const auto* const end = at + bytes_.size();
    std::uint64_t row = ~std::uint64_t{0};
    while (at != end) {
      const std::uint64_t head = varint(at);
      row += (head >> 1) + 1;
      const auto count = (head & 1U) != 0 ? static_cast<std::uint32_t>(varint(at)) + 2U : 1U;
      visit(static_cast<RowNumber>(row), count);
    }
  }

 private:
  static std::uint64_t varint(const std::uint8_t*& at) noexcept {
    std::uint64_t value = *at++;
    if (value < 0x80) return value;
    value &= 0x7FU;
    for (unsigned shift = 7;; shift += 7) {
      const std::uint64_t byte = *at++;
      value |= (byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
  }

  std::string bytes_;
  std::uint64_t next_row_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace dure::index

#endif  // DURE_SRC_INDEX_POSTINGS_H_
