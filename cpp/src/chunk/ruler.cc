#include "chunk/ruler.h"

#include <algorithm>
#include <string>

#include "dure/tokenize/encoding.h"
#include "dure/tokenize/sliding_counts.h"

namespace dure::chunk {
namespace {

class ByteRuler final : public Ruler {
 public:
  explicit ByteRuler(std::string_view text) : text_(text) {}
  base::Result<std::size_t> size(std::size_t start, std::size_t end) override {
    return end - start;
  }
  base::Result<std::size_t> size_with(std::string_view prefix, std::size_t start,
                                      std::size_t end) override {
    return prefix.size() + end - start;
  }
  base::Result<std::size_t> prefix_size(std::string_view prefix) override { return prefix.size(); }
  base::Result<std::size_t> cost(std::string_view prefix, std::size_t /*start*/) override {
    return prefix.size();
  }
  base::Result<std::size_t> reach(std::size_t start, std::size_t budget) override {
    if (budget >= text_.size() - start) return text_.size();
    return std::max(start, text::char_start(text_, start + budget));
  }
  base::Result<std::size_t> reach_back(std::size_t end, std::size_t budget) override {
    std::size_t at = end - std::min(end, budget);
    while (at < end && text::is_continuation(text_[at])) ++at;
    return at;
  }

 private:
  std::string_view text_;
};

class CharRuler final : public Ruler {
 public:
  CharRuler(std::string_view text, const text::CharOffsets& offsets)
      : text_(text), offsets_(offsets) {}
  base::Result<std::size_t> size(std::size_t start, std::size_t end) override {
    return offsets_.to_char(end) - offsets_.to_char(start);
  }
  base::Result<std::size_t> size_with(std::string_view prefix, std::size_t start,
                                      std::size_t end) override {
    return text::count_code_points(prefix) + offsets_.to_char(end) - offsets_.to_char(start);
  }
  base::Result<std::size_t> prefix_size(std::string_view prefix) override {
    return text::count_code_points(prefix);
  }
  base::Result<std::size_t> cost(std::string_view prefix, std::size_t /*start*/) override {
    return text::count_code_points(prefix);
  }
  base::Result<std::size_t> reach(std::size_t start, std::size_t budget) override {
    if (budget >= text_.size() - start) return text_.size();
    return offsets_.to_byte(std::min(offsets_.size(), offsets_.to_char(start) + budget));
  }
  base::Result<std::size_t> reach_back(std::size_t end, std::size_t budget) override {
    const std::size_t index = offsets_.to_char(end);
    return offsets_.to_byte(index - std::min(index, budget));
  }

 private:
  std::string_view text_;
  const text::CharOffsets& offsets_;
};

// By what the first character counts with `prefix` and without. REQUIRES: start < text.size().
base::Result<std::size_t> cost_of_first(Ruler& ruler, std::string_view text,
                                        std::string_view prefix, std::size_t start) {
  const std::size_t end = start + text::decode_at(text, start).length;
  const auto with = ruler.size_with(prefix, start, end);
  if (!with) return with;
  const auto alone = ruler.size(start, end);
  if (!alone) return alone;
  return *with > *alone ? *with - *alone : 0;
}

// Tokens by running sums: one encoding pass, then a look-up and the pieces at the edges.
class TokenRuler final : public Ruler {
 public:
  TokenRuler(const tokenize::Encoding& encoding, std::string_view text)
      : encoding_(encoding), text_(text), counts_(encoding, text) {}

  // A span inside one very long piece is counted directly: its cost follows the span's length.
  base::Result<std::size_t> size(std::size_t start, std::size_t end) override {
    if (start == known_.start && end == known_.end) return known_.tokens;
    return counts_.count(start, end);
  }

  base::Result<std::size_t> size_with(std::string_view prefix, std::size_t start,
                                      std::size_t end) override {
    if (prefix.empty()) return size(start, end);
    if (start == end || !parts(prefix, start))
      return encoding_.count(std::string(prefix).append(text_, start, end - start));
    return *prefix_size(prefix) + *size(start, end);
  }

  base::Result<std::size_t> prefix_size(std::string_view prefix) override {
    if (prefix != last_prefix_) {
      last_prefix_ = prefix;
      last_size_ = encoding_.count(last_prefix_ + "a") - 1;
    }
    return last_size_;
  }

  base::Result<std::size_t> cost(std::string_view prefix, std::size_t start) override {
    if (prefix.empty()) return std::size_t{0};
    if (parts(prefix, start)) return prefix_size(prefix);
    return cost_of_first(*this, text_, prefix, start);
  }

  base::Result<std::size_t> reach(std::size_t start, std::size_t budget) override {
    counts_.read_beyond(start);
    const std::size_t first = counts_.first_beyond(start);
    if (first == counts_.ends().size()) return start;
    const std::size_t first_end = counts_.ends()[first];
    if (first_end - start > kLongPiece) return extend(start, first_end, budget);
    const std::size_t edge = counts_.count_first(start);
    if (edge > budget) return extend(start, first_end, budget);
    const std::size_t target = counts_.sums()[first] + budget - edge;
    counts_.read_tokens(target);
    const auto sums = counts_.sums();
    const auto ends = counts_.ends();
    auto last = static_cast<std::size_t>(
        std::upper_bound(sums.begin() + static_cast<std::ptrdiff_t>(first), sums.end(), target) -
        sums.begin());
    // sums[last - 1] <= target; the edges may still weigh otherwise
    while (last > first + 1 && counts_.count(start, counts_.ends()[last - 1]) > budget) --last;
    const std::size_t end = text::char_start(text_, counts_.ends()[last - 1]);
    if (last < counts_.ends().size() && counts_.ends()[last] - end > kLongPiece)
      return extend(end, counts_.ends()[last],
                    budget - std::min(budget, counts_.count(start, end)));
    return end;
  }

  base::Result<std::size_t> reach_back(std::size_t end, std::size_t budget) override {
    counts_.read_beyond(end);
    const auto ends = counts_.ends();
    const auto sums = counts_.sums();
    const std::size_t last = counts_.first_beyond(end - 1);  // piece that holds what is before end
    if (last == 1 && ends[0] == 0) return end;
    if (sums[last - 1] <= sums[0] + budget) return ends[0];
    const auto first = static_cast<std::size_t>(
        std::lower_bound(sums.begin() + 1, sums.end(), sums[last - 1] - budget) - sums.begin());
    return text::char_start(text_, std::min(end, ends[first]));
  }

  void forget_before(std::size_t position) override { counts_.forget_before(position); }

 private:
  // Whether prefix and span count alone: a body that starts with anything but a space or "/" starts
  // a piece after a newline; the newlines at the end of `prefix` count as they do before a word.
  [[nodiscard]] bool parts(std::string_view prefix, std::size_t start) const {
    return prefix.back() == '\n' && start < text_.size() && text_[start] != '/' &&
           text::space_length(text_, start) == 0;
  }
  // Goes on from `start` inside one long piece that ends at `end`, to within a tenth of the budget:
  // a few guesses by the tokens that a byte took so far.
  std::size_t extend(std::size_t start, std::size_t end, std::size_t budget) {
    std::size_t best = start;
    std::size_t length = budget;  // a sample; then what its tokens promise
    for (int guesses = 0; guesses < 12 && length > best - start; ++guesses) {
      const std::size_t at = text::char_start(text_, start + std::min(length, end - start));
      const std::size_t tokens = encoding_.count(text_.substr(start, at - start));
      if (tokens <= budget) {
        best = at;
        known_ = {start, at, tokens};
        if (at >= end || 10 * tokens >= 9 * budget) break;
        length = std::max(at - start + 1, (at - start) * budget / std::max<std::size_t>(tokens, 1));
      } else {
        length = (at - start) * budget / tokens * 15 / 16;
      }
    }
    return best;
  }

  static constexpr std::size_t kLongPiece = 48;  // bytes; shorter ones are not cut for room
  const tokenize::Encoding& encoding_;
  std::string_view text_;
  tokenize::SlidingCounts counts_;
  struct {
    std::size_t start = 0;
    std::size_t end = 0;
    std::size_t tokens = 0;
  } known_;  // a span that was counted as it stands
  std::string last_prefix_;
  std::size_t last_size_ = 0;
};

// A tokenizer of which nothing is known: it is asked, a few times for each chunk.
class CallbackRuler final : public Ruler {
 public:
  CallbackRuler(const CountFunction& count, std::string_view text) : count_(count), text_(text) {}

  base::Result<std::size_t> size(std::size_t start, std::size_t end) override {
    return count_(text_.substr(start, end - start));
  }
  base::Result<std::size_t> size_with(std::string_view prefix, std::size_t start,
                                      std::size_t end) override {
    if (prefix.empty()) return size(start, end);
    return count_(std::string(prefix).append(text_, start, end - start));
  }
  base::Result<std::size_t> prefix_size(std::string_view prefix) override { return count_(prefix); }
  base::Result<std::size_t> cost(std::string_view prefix, std::size_t start) override {
    if (prefix.empty()) return std::size_t{0};
    return cost_of_first(*this, text_, prefix, start);
  }
  // Guesses by the bytes that a unit took so far, gallops, then halves, to within a sixteenth. What
  // was asked of other spans has no say: an edit elsewhere moves nothing here.
  base::Result<std::size_t> reach(std::size_t start, std::size_t budget) override {
    std::size_t fits = start;
    std::size_t over = text_.size() + 1;
    double bytes_per_unit = kBytesPerUnit;
    for (std::size_t tries = 1; fits < text_.size() && over - fits > 1 + (fits - start) / 16;
         ++tries) {
      const auto step = static_cast<std::size_t>(static_cast<double>(budget) * bytes_per_unit) + 1;
      const std::size_t guess = over > text_.size()
                                    ? std::min(text_.size(), std::max(start + step, fits + tries))
                                    : fits + (over - fits) / 2;
      const std::size_t at = text::char_start(text_, guess);
      if (at <= fits) {  // inside one character: take it whole, or stop
        std::size_t next = fits + 1;
        while (next < text_.size() && text::is_continuation(text_[next])) ++next;
        if (next >= over) break;
        const auto whole = size(start, next);
        if (!whole) return whole;
        if (*whole > budget) break;
        fits = next;
        continue;
      }
      const auto units = size(start, at);
      if (!units) return units;
      (*units <= budget ? fits : over) = at;
      // A little beyond what would fit, so that the next guess is an upper bound, and ever more.
      bytes_per_unit = static_cast<double>(at - start) /
                       static_cast<double>(std::max(*units, std::size_t{1})) *
                       (1 + static_cast<double>(tries) / 32);
    }
    return fits;
  }
  base::Result<std::size_t> reach_back(std::size_t end, std::size_t budget) override {
    const auto length = static_cast<std::size_t>(static_cast<double>(budget) * kBytesPerUnit);
    const std::size_t at = text::char_start(text_, end - std::min(end, length));
    const auto units = size(at, end);
    if (!units || *units <= budget) return units ? base::Result<std::size_t>(at) : units;
    return text::char_start(text_, end - (end - at) * budget / *units);
  }

 private:
  const CountFunction& count_;
  static constexpr double kBytesPerUnit = 3.5;  // of which the first guess is made
  std::string_view text_;
};

}  // namespace

std::unique_ptr<Ruler> make_ruler(const Options& options, std::string_view text,
                                  const text::CharOffsets& offsets) {
  switch (options.unit) {
    case Unit::kBytes:
      return std::make_unique<ByteRuler>(text);
    case Unit::kChars:
      return std::make_unique<CharRuler>(text, offsets);
    case Unit::kTokens:
      break;
  }
  if (options.encoding != nullptr) return std::make_unique<TokenRuler>(*options.encoding, text);
  return std::make_unique<CallbackRuler>(options.count, text);
}

}  // namespace dure::chunk
