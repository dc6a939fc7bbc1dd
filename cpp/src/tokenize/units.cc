#include "dure/tokenize/units.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "dure/base/cancel.h"

namespace dure::tokenize {
namespace {

constexpr std::size_t kWindow = 32'768;  // code points; their UTF-8 stays in the L2 cache

// UTF-8 of the code points read but not yet handed out.
class Window {
 public:
  void reserve(std::size_t bytes) {
    if (held_ + bytes <= capacity_) return;
    capacity_ = held_ + bytes;
    auto larger = std::make_unique_for_overwrite<char[]>(capacity_);
    if (held_ != 0) std::memcpy(larger.get(), buffer_.get(), held_);
    buffer_ = std::move(larger);
  }
  // Adds code points; false at a surrogate.
  bool read(const text::CodeUnits& units, std::size_t from, std::size_t count) {
    reserve(count * units.most_bytes());
    const text::Transcoded done = text::to_utf8(units, from, count, buffer_.get() + held_);
    held_ += done.written;
    return done.read == count;
  }
  void drop(std::size_t bytes) noexcept {
    held_ -= bytes;
    std::memmove(buffer_.get(), buffer_.get() + bytes, held_);
  }
  [[nodiscard]] std::string_view view() const noexcept { return {buffer_.get(), held_}; }

 private:
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t held_ = 0;
};

// Hands the text to `work` in parts that may be encoded apart. A part grows where no cut is.
template <typename Work>
bool in_windows(Grammar grammar, const text::CodeUnits& units, Work work) {
  if (units.ascii) {
    work(units.as_ascii());
    return true;
  }
  Window window;
  std::size_t step = kWindow;
  for (std::size_t from = 0; from < units.size;) {
    base::check_cancel();
    const std::size_t count = std::min(step, units.size - from);
    if (!window.read(units, from, count)) return false;
    from += count;
    const std::string_view text = window.view();
    const bool last = from == units.size;
    const std::size_t cut = last ? text.size() : safe_cut(grammar, text, text.size() - 1);
    step = cut == 0 ? step * 2 : kWindow;
    if (cut == 0) continue;
    work(text.substr(0, cut));
    window.drop(cut);
  }
  return true;
}

}  // namespace

std::optional<std::size_t> count_units(const Encoding& encoding, const text::CodeUnits& units) {
  std::size_t total = 0;
  const auto add = [&](std::string_view text) { total += encoding.count(text); };
  if (!in_windows(encoding.grammar(), units, add)) return std::nullopt;
  return total;
}

bool encode_units(const Encoding& encoding, const text::CodeUnits& units, std::vector<Rank>& out) {
  return in_windows(encoding.grammar(), units,
                    [&](std::string_view text) { encoding.encode_ordinary(text, out); });
}

}  // namespace dure::tokenize
