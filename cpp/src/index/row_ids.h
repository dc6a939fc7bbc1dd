// index/row_ids.h - the ids of rows, one after another in one block.
//
// One thread changes it at a time; reading needs nobody who changes it.
#ifndef DURE_INDEX_ROW_IDS_H_
#define DURE_INDEX_ROW_IDS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dure::index {

class RowIds {
 public:
  // REQUIRES: `row` is above every row so far. Rows between have no id.
  void append(std::size_t row, std::string_view id) {
    ends_.resize(row, bytes_.size());
    bytes_.append(id);
    ends_.push_back(bytes_.size());
  }
  [[nodiscard]] std::size_t rows() const noexcept { return ends_.size(); }
  [[nodiscard]] std::string_view of(std::size_t row) const noexcept {
    if (row >= ends_.size()) return {};
    const std::size_t begin = row == 0 ? 0 : ends_[row - 1];
    return std::string_view(bytes_).substr(begin, ends_[row] - begin);
  }

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_ROW_IDS_H_
