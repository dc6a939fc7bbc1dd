#include "dure/tokenize/sliding_counts.h"

#include <algorithm>
#include <vector>

#include "dure/base/cancel.h"
#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"
#include "tokenize/count_one.h"
#include "tokenize/walk.h"

namespace dure::tokenize {
namespace {

// Writes the running sum after each piece.
class RunningSums {
 public:
  static constexpr bool kCounts = true;
  static constexpr std::size_t kPadding = 0;
  void start(std::size_t* to, std::size_t total) noexcept {
    to_ = to;
    total_ = total;
  }
  void hits(const Rank* /*ranks*/, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) to_[i] = total_ + i + 1;
    to_ += count;
    total_ += count;
  }
  void many(const Rank* /*ids*/, std::size_t count) noexcept { *to_++ = total_ += count; }

 private:
  std::size_t* to_ = nullptr;
  std::size_t total_ = 0;
};

constexpr std::size_t kBatch = Walk<RunningSums>::kBatch;  // pieces that are read ahead
constexpr std::size_t kKept = 2048;     // pieces behind the reader before they are dropped
constexpr std::size_t kFew = 96;        // bytes whose pieces are counted one by one
constexpr std::size_t kLookAhead = 16;  // bytes after a piece that may have a say in its end

// Where the white space that ends text[from:] begins; text.size() if there is none.
std::size_t trailing_space(std::string_view text, std::size_t from) noexcept {
  std::size_t at = text.size();
  while (at > from) {
    const std::size_t last = text::char_start(text, at - 1);
    if (!text::is_space(text::decode_at(text, last).value)) break;
    at = last;
  }
  return std::max(at, from);
}

}  // namespace

struct SlidingCounts::State {
  State(const Encoding& of, std::string_view whole)
      : encoding(of),
        text(whole),
        walker(of.vocab(), whole, sink),
        cache(MergeCache::of_thread()) {}

  // Tokens of span[at:), few of which there mostly are: what a cut left of a piece.
  std::size_t count_rest(std::string_view span, std::size_t at) {
    if (span.size() - at > kFew) return encoding.count(span.substr(at));
    std::size_t tokens = 0;
    while (at < span.size()) {
      const std::size_t next = piece_end(encoding.grammar(), span, at);
      tokens += count_one(encoding.vocab(), cache, span, at, next);
      at = next;
    }
    return tokens;
  }

  const Encoding& encoding;
  std::string_view text;
  RunningSums sink;
  Walk<RunningSums> walker;
  MergeCache& cache;
  std::vector<std::size_t> ends{0};  // the first `size` of them; behind them is room
  std::vector<std::size_t> sums{0};
  std::size_t size = 1;
  Joint joint;  // of the last span
  base::CancelTick<256> tick;
};

SlidingCounts::SlidingCounts(const Encoding& encoding, std::string_view text)
    : state_(std::make_unique<State>(encoding, text)) {}
SlidingCounts::~SlidingCounts() = default;

std::span<const std::size_t> SlidingCounts::ends() const noexcept {
  return {state_->ends.data(), state_->size};
}
std::span<const std::size_t> SlidingCounts::sums() const noexcept {
  return {state_->sums.data(), state_->size};
}

void SlidingCounts::read_batch() {
  State& s = *state_;
  s.tick();
  if (s.size + kBatch > s.ends.size()) {
    s.ends.resize(2 * s.size + 4 * kBatch);
    s.sums.resize(s.ends.size());
  }
  std::size_t* const ends = s.ends.data() + s.size;
  const std::size_t at = ends[-1];
  s.sink.start(s.sums.data() + s.size, s.sums[s.size - 1]);
  const std::size_t count = split(s.encoding.grammar(), s.text, at, {ends, kBatch});
  s.walker.pieces(at, {ends, count});
  s.size += count;
}

void SlidingCounts::read_beyond(std::size_t offset) {
  while (ends().back() <= offset && ends().back() < state_->text.size()) read_batch();
}

void SlidingCounts::read_tokens(std::size_t sum) {
  while (sums().back() <= sum && ends().back() < state_->text.size()) read_batch();
}

std::size_t SlidingCounts::first_beyond(std::size_t offset) const noexcept {
  const std::size_t* base = state_->ends.data();
  for (std::size_t left = state_->size; left > 1;) {  // halves, without a branch on the outcome
    const std::size_t half = left / 2;
    base += base[half - 1] <= offset ? half : 0;
    left -= half;
  }
  return static_cast<std::size_t>(base - state_->ends.data()) + (*base <= offset ? 1 : 0);
}

// As PrefixCounts::count: a piece depends only on what follows its start, so from the first end
// that both splittings share they are one; only where the span ends may they part again.
std::size_t SlidingCounts::count(std::size_t start, std::size_t end) {
  if (start >= end) return 0;
  read_beyond(end);
  State& s = *state_;
  const std::string_view span = s.text.substr(0, end);
  const bool known = start == s.joint.start && end >= s.joint.at + kLookAhead;
  const Joint joint = known ? s.joint : join(start, end);
  if (end >= joint.at + kLookAhead) s.joint = joint;  // else the cut may have made it
  std::size_t tokens = joint.tokens;
  std::size_t at = joint.at;
  const std::size_t last = first_beyond(trailing_space(span, start)) - 1;
  if (last > joint.piece) {
    tokens += s.sums[last] - s.sums[joint.piece];
    at = s.ends[last];
  }
  return at == end ? tokens : tokens + s.count_rest(span, at);
}

std::size_t SlidingCounts::count_first(std::size_t start) {
  read_beyond(start);
  const std::size_t end = state_->ends[first_beyond(start)];
  const std::size_t seen = std::min(state_->text.size(), end + kLookAhead);
  const Joint joint = join(start, seen);
  if (joint.at > end || (joint.at + kLookAhead > seen && seen < state_->text.size()))
    return count(start, end);
  state_->joint = joint;
  return joint.tokens + state_->sums[first_beyond(start)] - state_->sums[joint.piece];
}

SlidingCounts::Joint SlidingCounts::join(std::size_t start, std::size_t end) const {
  const State& s = *state_;
  const std::string_view span = s.text.substr(0, end);
  Joint joint{start, start, first_beyond(start) - 1, 0};
  while (s.ends[joint.piece] != joint.at && joint.at < end) {
    const std::size_t next = piece_end(s.encoding.grammar(), span, joint.at);
    joint.tokens += count_one(s.encoding.vocab(), s.cache, span, joint.at, next);
    joint.at = next;
    while (joint.piece + 1 < s.size && s.ends[joint.piece + 1] <= next) ++joint.piece;
  }
  return joint;
}

void SlidingCounts::forget_before(std::size_t offset) {
  State& s = *state_;
  if (s.size < 2 * kKept || s.ends[s.size / 2] > offset) return;
  const std::size_t behind = first_beyond(offset) - 1;
  const auto drop = [&](std::vector<std::size_t>& row) {
    std::copy(row.begin() + static_cast<std::ptrdiff_t>(behind),
              row.begin() + static_cast<std::ptrdiff_t>(s.size), row.begin());
  };
  drop(s.ends);
  drop(s.sums);
  s.size -= behind;
  s.joint = {};
}

}  // namespace dure::tokenize
