// dure/net/headers.h - header lines: pairs where they are made, one text where they are received.
#ifndef DURE_NET_HEADERS_H_
#define DURE_NET_HEADERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dure::net {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The header lines of a reply, in the order in which they came. One text holds them all, so that a
// copy is two allocations however many there are.
//
// Not thread-safe.
class HeaderLines {
 public:
  void add(std::string_view name, std::string_view value);
  void clear() noexcept;  // the room stays
  [[nodiscard]] std::size_t size() const noexcept { return lines_.size(); }
  [[nodiscard]] bool empty() const noexcept { return lines_.empty(); }
  [[nodiscard]] std::string_view name(std::size_t at) const noexcept {
    const Line& line = lines_[at];
    return std::string_view(text_).substr(line.begin, line.name);
  }
  [[nodiscard]] std::string_view value(std::size_t at) const noexcept {
    const Line& line = lines_[at];
    return std::string_view(text_).substr(line.begin + line.name, line.value);
  }
  [[nodiscard]] Headers all() const;
  bool operator==(const HeaderLines& other) const { return all() == other.all(); }

 private:
  struct Line {
    std::uint32_t begin, name, value;  // where it begins, and two lengths
  };
  std::string text_;
  std::vector<Line> lines_;
};

// Borrowed header lines. Names compare without case.
class HeaderView {
 public:
  explicit HeaderView(const Headers& headers) : pairs_(&headers) {}
  explicit HeaderView(const HeaderLines& lines) : lines_(&lines) {}
  // The last value of `name`, or nullopt.
  [[nodiscard]] std::optional<std::string_view> get(std::string_view name) const noexcept;
  [[nodiscard]] Headers all() const { return pairs_ != nullptr ? *pairs_ : lines_->all(); }
  [[nodiscard]] HeaderLines lines() const;

 private:
  const Headers* pairs_ = nullptr;
  const HeaderLines* lines_ = nullptr;  // one of the two
};

}  // namespace dure::net

#endif  // DURE_NET_HEADERS_H_
