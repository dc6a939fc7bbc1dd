// dure/tokenize/counter.h - exact counts that follow a text: growing, cut anywhere, or coming
// back from a model.
//
// Counts of parts do not add up (a joint may merge), so nobody sums them: ask these.
//
// PrefixCounts: immutable. Counter and StreamDecoder: one thread at a time.
#ifndef DURE_TOKENIZE_COUNTER_H_
#define DURE_TOKENIZE_COUNTER_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/base/result.h"
#include "dure/tokenize/encoding.h"

namespace dure::tokenize {

// The count of a text that only grows: only the last pieces are encoded again, and of a long one
// only its end.
class Counter {
 public:
  // `encoding` outlives this object.
  explicit Counter(const Encoding& encoding) noexcept;
  ~Counter();
  Counter(Counter&&) noexcept;
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  // Adds `text` and returns the count of all so far: that of one call on the whole text. A
  // character may come in two parts.
  std::size_t append(std::string_view text);
  [[nodiscard]] std::size_t count() const noexcept { return settled_ + tail_count_; }
  [[nodiscard]] bool fits(std::size_t limit) const noexcept { return count() <= limit; }
  void reset() noexcept;

 private:
  // A piece of tail_ that is long, its tokens and where to read on.
  struct LongPiece;
  [[nodiscard]] LongPiece* long_at(std::size_t start) noexcept;
  // The ends of the pieces of tail_; notes the long ones.
  [[nodiscard]] std::vector<std::size_t> split_tail();
  // Tokens of the pieces that end at ends[first] to ends[last - 1].
  [[nodiscard]] std::size_t tokens(const std::vector<std::size_t>& ends, std::size_t first,
                                   std::size_t last);
  void settle(std::size_t bytes, std::size_t tokens);

  const Encoding& encoding_;
  std::string tail_;             // what later text may still split otherwise
  std::size_t settled_ = 0;      // tokens before tail_
  std::size_t tail_count_ = 0;   // tokens of tail_
  std::vector<LongPiece> long_;  // by their starts; none or one, mostly
};

// One pass over a text; then the exact count of any span of it.
//
// Why it is exact: a piece depends only on what follows its start, so from the first piece end
// that both splittings share, they are one; only where the span ends may they part again.
class PrefixCounts {
 public:
  // Borrows both; they outlive this object.
  PrefixCounts(const Encoding& encoding, std::string_view text)
      : PrefixCounts(encoding, text, std::numeric_limits<std::size_t>::max()) {}
  // Stops where every longer start of `text` has more than `limit` tokens: counts are exact for
  // spans that end at or before reach().
  PrefixCounts(const Encoding& encoding, std::string_view text, std::size_t limit);
  // Tokens of text[start:end), in bytes: encoding.count(text.substr(start, end - start)).
  // REQUIRES: start <= end <= text.size(). O(log n), and the few pieces at the two edges.
  [[nodiscard]] std::size_t count(std::size_t start, std::size_t end) const;
  // The furthest end of a span from `start` with at most `limit` tokens, between characters.
  // REQUIRES: `start` <= reach(), between characters; well-formed UTF-8. Counts of longer starts
  // may be smaller, so every end is tried; in a piece of more than 2,048 bytes (a run without
  // spaces), from the place where its tokens reach the limit on.
  [[nodiscard]] std::size_t furthest(std::size_t start, std::size_t limit) const;
  // How far the text was read: text().size() unless a limit stopped it.
  [[nodiscard]] std::size_t reach() const noexcept { return ends_.empty() ? 0 : ends_.back(); }
  [[nodiscard]] std::size_t total() const noexcept { return sums_.empty() ? 0 : sums_.back(); }
  // End of each piece in bytes, ascending; and the tokens of all pieces up to it.
  [[nodiscard]] std::span<const std::size_t> ends() const noexcept { return ends_; }
  [[nodiscard]] std::span<const std::size_t> sums() const noexcept { return sums_; }
  [[nodiscard]] const Encoding& encoding() const noexcept { return encoding_; }
  [[nodiscard]] std::string_view text() const noexcept { return text_; }

 private:
  // A bound above the furthest end between `low`, where a piece starts, and `high`, if `limit`
  // tokens are left for what follows `low`.
  [[nodiscard]] std::size_t bound(std::size_t low, std::size_t high, std::size_t limit) const;
  // The same for a span whose start is within a piece, where its first own pieces are over `limit`.
  [[nodiscard]] std::size_t end_in_joint(std::size_t start, std::size_t end,
                                         std::size_t limit) const;
  // The first offset from which text[start:end) is cut as the whole text is, and what is before.
  struct Joint {
    std::size_t at;
    std::size_t piece;   // number of pieces of the whole that end at or before `at`
    std::size_t tokens;  // of text[start:at)
  };
  [[nodiscard]] Joint join(std::size_t start, std::size_t end) const;
  // Number of pieces that end at or before `offset`.
  [[nodiscard]] std::size_t pieces_until(std::size_t offset) const noexcept;
  [[nodiscard]] std::size_t sum_until(std::size_t pieces) const noexcept {
    return pieces == 0 ? 0 : sums_[pieces - 1];
  }

  const Encoding& encoding_;
  std::string_view text_;
  std::vector<std::size_t> ends_;
  std::vector<std::size_t> sums_;
};

// Consecutive spans (start, end) of `text`, in bytes, each the longest of at most `limit` tokens
// that ends between characters. With `overlap` > 0 each begins with the last whole pieces of the
// one before, at most `overlap` tokens of them. REQUIRES: well-formed UTF-8. Fails with
// kInvalidArgument if overlap >= limit, or if one character needs more than `limit` tokens.
[[nodiscard]] base::Result<std::vector<std::pair<std::size_t, std::size_t>>> split_at(
    const Encoding& encoding, std::string_view text, std::size_t limit, std::size_t overlap);

// Ids to text as they come: a character whose bytes are spread over tokens is held back until it
// is whole. feed(a) + feed(b) + ... + finish() = the decoded whole with U+FFFD for bad bytes.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Encoding& encoding) noexcept : encoding_(encoding) {}
  // Fails with kNotFound at an unknown id; then nothing of `ids` was taken.
  [[nodiscard]] base::Result<std::string> feed(std::span<const Rank> ids);
  // What is still held, as U+FFFD; the decoder is empty afterwards.
  [[nodiscard]] std::string finish();

 private:
  const Encoding& encoding_;
  std::string held_;  // the incomplete character at the end, at most 3 bytes
};

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_COUNTER_H_
