// dure/tokenize/sliding_counts.h - PrefixCounts for a reader who goes through a text once: the
// text is encoded as far as he looks, and what lies behind him is forgotten.
//
// One thread at a time.
#ifndef DURE_TOKENIZE_SLIDING_COUNTS_H_
#define DURE_TOKENIZE_SLIDING_COUNTS_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "dure/tokenize/encoding.h"

namespace dure::tokenize {

class SlidingCounts {
 public:
  // Borrows both; they outlive this object.
  SlidingCounts(const Encoding& encoding, std::string_view text);
  ~SlidingCounts();
  SlidingCounts(const SlidingCounts&) = delete;
  SlidingCounts& operator=(const SlidingCounts&) = delete;

  // encoding.count(text.substr(start, end - start)). REQUIRES: front() <= start <= end <=
  // text.size().
  [[nodiscard]] std::size_t count(std::size_t start, std::size_t end);

  // Tokens of text[start, end of the piece there), as that piece starts here.
  // REQUIRES: front() <= start < text.size().
  [[nodiscard]] std::size_t count_first(std::size_t start);

  // Encodes on until a piece ends beyond `offset`, or the text does.
  void read_beyond(std::size_t offset);
  // Encodes on until more than `sum` tokens are known, counted as sums() does, or the text ends.
  void read_tokens(std::size_t sum);
  // Where the pieces known end, ascending; the first is front(). Valid until the next read.
  [[nodiscard]] std::span<const std::size_t> ends() const noexcept;
  // The tokens up to each of ends(), from some point on.
  [[nodiscard]] std::span<const std::size_t> sums() const noexcept;
  // Index of the first of ends() beyond `offset`, ends().size() if none is. REQUIRES: front() <=
  // offset.
  [[nodiscard]] std::size_t first_beyond(std::size_t offset) const noexcept;

  // Spans before `offset` will not be asked for.
  void forget_before(std::size_t offset);
  [[nodiscard]] std::size_t front() const noexcept { return ends().front(); }

 private:
  struct State;
  void read_batch();
  // Where the splitting of a span from `start` meets that of the whole: at `at`, where piece
  // number `piece` ends; the tokens before.
  struct Joint {
    std::size_t start = static_cast<std::size_t>(-1);
    std::size_t at = 0;
    std::size_t piece = 0;
    std::size_t tokens = 0;
  };
  [[nodiscard]] Joint join(std::size_t start, std::size_t end) const;
  const std::unique_ptr<State> state_;
};

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_SLIDING_COUNTS_H_
