#include "dure/tokenize/units.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "dure/base/cancel.h"
#include "tokenize/token_row.h"
#include "tokenize/walk.h"

namespace dure::tokenize {
namespace {

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

// Reads the text window by window. `take(text, last)` gets what is not used up and says how many
// bytes of it now are; where these are none, more is read the next time. REQUIRES: of the last one
// it takes all in the end. False at a surrogate.
template <typename Take>
bool in_windows(const text::CodeUnits& units, std::size_t size, Take take) {
  Window window;
  std::size_t step = size;
  for (std::size_t from = 0; from < units.size;) {
    base::check_cancel();
    const std::size_t count = std::min(step, units.size - from);
    if (!window.read(units, from, count)) return false;
    from += count;
    std::size_t taken = 0;
    do {
      taken = take(window.view(), from == units.size);
      window.drop(taken);
      step = taken == 0 ? step * 2 : size;
    } while (from == units.size && !window.view().empty());
  }
  return true;
}

// Most texts can be cut near their end. Where one cannot, more of it is read: to look further back
// would take as long as to count it.
std::size_t cut_near_end(Grammar grammar, std::string_view text) noexcept {
  constexpr std::size_t kNear = 4096;
  return safe_cut(grammar, text, text.size() - 1, kNear);
}

// Later text can change how the last three pieces were cut, never an earlier one.
constexpr std::size_t kUnstable = 4;  // and one more

// Counts a text that comes in parts. A piece without end is counted as it comes: of its text only
// what its next tokens and its end may need is asked for again.
class CountParts {
 public:
  CountParts(const Encoding& encoding, std::size_t window) noexcept
      : encoding_(encoding), endless_(kEndless * window) {}
  // Counts what it can of `text`, which begins where the last call stopped, and returns how many
  // bytes that is. `last`: nothing follows.
  std::size_t take(std::string_view text, bool last) {
    if (piece_) return go_on(text, last);
    if (last) return count(text, text.size());
    if (const std::size_t cut = cut_near_end(encoding_.grammar(), text)) return count(text, cut);
    if (text.size() < endless_) return 0;
    if (piece_end(encoding_.grammar(), text, 0) < text.size()) {
      const std::size_t limit = text.size() - 1;
      return count(text, safe_cut(encoding_.grammar(), text, limit, limit));
    }
    const Vocab& vocab = encoding_.vocab();
    if (lost_ || !PairMemo::fits(vocab) || !vocab.canonical()) return 0;
    piece_.emplace(vocab);
    return go_on(text, last);
  }
  // Nothing: a piece could not be counted as it came; count the whole at once.
  [[nodiscard]] std::optional<std::size_t> total() const noexcept {
    return lost_ ? std::nullopt : std::optional(total_);
  }

 private:
  struct Piece {
    explicit Piece(const Vocab& vocab) noexcept : row(vocab, TokenRow::kLast) {}
    TokenRow row;            // of what is certain to belong to it
    std::size_t from = 0;    // its byte where the text that is held begins
    std::size_t resume = 0;  // its byte from which it is split on: resume_point()
  };

  std::size_t count(std::string_view text, std::size_t cut) {
    total_ += encoding_.count(text.substr(0, cut));
    return cut;
  }

  std::size_t go_on(std::string_view text, bool last) {
    const Grammar grammar = encoding_.grammar();
    const std::size_t start = piece_->resume - piece_->from;
    std::array<std::size_t, kUnstable + 1> ends;
    const std::size_t count = split(grammar, text, start, ends);
    if (last || count == ends.size()) {
      const std::size_t end = ends[0];
      extend(text.substr(0, end));
      total_ += piece_->row.count();
      piece_.reset();
      return end;
    }
    if (count > 1) return 0;  // it may end here, or not
    const std::size_t resume = resume_point(grammar, text, start);
    extend(text.substr(0, resume));
    piece_->resume = piece_->from + resume;
    const std::size_t used = std::min(piece_->row.needed(), piece_->resume) - piece_->from;
    piece_->from += used;
    return used;
  }

  void extend(std::string_view text) {
    PairMemo& memo = MergeCache::of_thread().pairs();
    if (!lost_ && !piece_->row.extend_rest(memo, text, piece_->from)) lost_ = true;
  }

  static constexpr std::size_t kEndless = 32;  // windows, in bytes, before a piece is taken so

  const Encoding& encoding_;
  const std::size_t endless_;
  std::size_t total_ = 0;
  std::optional<Piece> piece_;  // the one that goes on
  bool lost_ = false;
};

}  // namespace

std::optional<std::size_t> count_units(const Encoding& encoding, const text::CodeUnits& units,
                                       std::size_t window) {
  if (units.ascii) return encoding.count(units.as_ascii());
  CountParts parts(encoding, window);
  const auto take = [&](std::string_view text, bool last) { return parts.take(text, last); };
  if (!in_windows(units, window, take)) return std::nullopt;
  if (const auto total = parts.total()) return total;
  Window whole;
  whole.read(units, 0, units.size);
  return encoding.count(whole.view());
}

bool encode_units(const Encoding& encoding, const text::CodeUnits& units, std::vector<Rank>& out,
                  std::size_t window) {
  if (units.ascii) {
    encoding.encode_ordinary(units.as_ascii(), out);
    return true;
  }
  out.reserve(out.size() + units.size);  // more than most texts give; what is not touched is free
  return in_windows(units, window, [&](std::string_view text, bool last) {
    const std::size_t cut = last ? text.size() : cut_near_end(encoding.grammar(), text);
    encoding.encode_ordinary(text.substr(0, cut), out);
    return cut;
  });
}

}  // namespace dure::tokenize
