#include "dure/tokenize/counter.h"

#include <algorithm>
#include <array>

#include "dure/base/cancel.h"
#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"
#include "tokenize/token_row.h"
#include "tokenize/walk.h"

namespace dure::tokenize {
namespace {

// Later text can change how the last three pieces were cut, never an earlier one: look-ahead sees
// past white space, a contraction or a change of case only. One more, for a character in parts.
constexpr std::size_t kUnstable = 4;

// From so many bytes on a piece of a growing text keeps its tokens.
constexpr std::size_t kLongPiece = 256;

// Furthest end: up to so many bytes each end is tried, beyond them a bound is found first.
constexpr std::size_t kLongSearch = 2048;
// Characters of a piece that what follows may still cut off: a few, of four bytes at most.
constexpr std::size_t kLookAhead = 16;

// The running sum after each piece.
class Sums {
 public:
  static constexpr bool kCounts = true;
  static constexpr std::size_t kPadding = 0;
  explicit Sums(std::vector<std::size_t>& sums) noexcept
      : sums_(sums), total_(sums.empty() ? 0 : sums.back()) {}
  void hits(const Rank* /*ranks*/, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) many(nullptr, 1);
  }
  void many(const Rank* /*ids*/, std::size_t count) { sums_.push_back(total_ += count); }

 private:
  std::vector<std::size_t>& sums_;
  std::size_t total_;
};

bool ends_in_space(std::string_view text) noexcept {
  const std::size_t last = text::char_start(text, text.size() - 1);
  return text::is_space(text::decode_at(text, last).value);
}

// Where the white space that ends text[from:] begins; text.size() if there is none.
std::size_t trailing_space(std::string_view text, std::size_t from) noexcept {
  std::size_t at = text.size();
  while (at > from && ends_in_space(text.substr(0, at))) {
    at = text::char_start(text, at - 1);
  }
  return std::max(at, from);
}

}  // namespace

struct Counter::LongPiece {
  std::size_t start;
  std::size_t resume;  // resume_point() of it
  TokenRow row;
};

Counter::Counter(const Encoding& encoding) noexcept : encoding_(encoding) {}
Counter::~Counter() = default;
Counter::Counter(Counter&&) noexcept = default;

std::size_t Counter::append(std::string_view text) {
  tail_ += text;
  const std::vector<std::size_t> ends = split_tail();
  const std::size_t stable = ends.size() > kUnstable ? ends.size() - kUnstable : 0;
  const std::size_t settled = tokens(ends, 0, stable);
  tail_count_ = tokens(ends, stable, ends.size());
  if (!long_.empty() && long_.back().start + long_.back().row.size() == tail_.size()) {
    long_.back().resume = resume_point(encoding_.grammar(), tail_, long_.back().resume);
  }
  if (stable > 0) settle(ends[stable - 1], settled);
  return count();
}

Counter::LongPiece* Counter::long_at(std::size_t start) noexcept {
  const auto found = std::find_if(long_.begin(), long_.end(),
                                  [start](const LongPiece& one) { return one.start == start; });
  return found == long_.end() ? nullptr : &*found;
}

std::vector<std::size_t> Counter::split_tail() {
  const Vocab& vocab = encoding_.vocab();
  std::vector<std::size_t> ends;
  std::vector<LongPiece> kept;
  for (std::size_t at = 0; at < tail_.size(); at = ends.back()) {
    LongPiece* known = long_at(at);
    const std::size_t from = known == nullptr ? at : known->resume;
    ends.push_back(piece_end(encoding_.grammar(), tail_, from));
    const std::size_t size = ends.back() - at;
    if (known != nullptr && size >= known->row.size()) {
      kept.push_back(std::move(*known));
    } else if (size >= kLongPiece && PairMemo::fits(vocab) && vocab.canonical()) {
      kept.push_back({at, at, TokenRow(vocab)});
    }
  }
  long_ = std::move(kept);
  return ends;
}

std::size_t Counter::tokens(const std::vector<std::size_t>& ends, std::size_t first,
                            std::size_t last) {
  Count sink;
  using Words = Walk<Count, kFewPieces>;  // what is appended is short
  Words walker(encoding_.vocab(), tail_, sink);
  std::size_t total = 0;
  for (std::size_t at = first == 0 ? 0 : ends[first - 1]; first < last; at = ends[first - 1]) {
    const std::string_view piece = std::string_view(tail_).substr(at, ends[first] - at);
    if (LongPiece* known = long_at(at)) {
      known->row.extend(MergeCache::of_thread().pairs(), piece);
      total += known->row.tokens().size();
      ++first;
      continue;
    }
    std::size_t next = first + 1;
    while (next < last && next - first < Words::kBatch && !long_at(ends[next - 1])) ++next;
    walker.pieces(at, std::span(ends).subspan(first, next - first));
    first = next;
  }
  return total + sink.total();
}

void Counter::settle(std::size_t bytes, std::size_t tokens) {
  settled_ += tokens;
  tail_.erase(0, bytes);
  std::erase_if(long_, [bytes](const LongPiece& one) { return one.start < bytes; });
  for (LongPiece& one : long_) {
    one.start -= bytes;
    one.resume -= bytes;
  }
}

void Counter::reset() noexcept {
  tail_.clear();
  settled_ = 0;
  tail_count_ = 0;
  long_.clear();
}

PrefixCounts::PrefixCounts(const Encoding& encoding, std::string_view text, std::size_t limit)
    : encoding_(encoding), text_(text) {
  Sums sink(sums_);
  Walk<Sums> walker(encoding.vocab(), text, sink);
  std::array<std::size_t, Walk<Sums>::kBatch> room;
  const std::span ends = std::span(room).first(std::min(limit, room.size() - 1) + 1);
  std::size_t at = 0;
  base::CancelTick<256> tick;
  while (at < text.size()) {
    tick();
    const std::size_t known = ends_.size();
    const std::size_t count = split(encoding.grammar(), text, at, ends);
    walker.pieces(at, ends.first(count));
    ends_.insert(ends_.end(), ends.begin(), ends.begin() + static_cast<std::ptrdiff_t>(count));
    at = ends[count - 1];
    if (sums_.back() <= limit) continue;
    for (std::size_t i = known; i < ends_.size(); ++i) {
      if (sums_[i] <= limit || ends_in_space(text.substr(0, ends_[i]))) continue;
      ends_.resize(i + 1);
      sums_.resize(i + 1);
      return;
    }
  }
}

std::size_t PrefixCounts::pieces_until(std::size_t offset) const noexcept {
  return static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), offset) -
                                  ends_.begin());
}

PrefixCounts::Joint PrefixCounts::join(std::size_t start, std::size_t end) const {
  const std::string_view span = text_.substr(0, end);
  Joint joint{start, pieces_until(start), 0};
  const auto shared = [&] {
    return joint.at == 0 || (joint.piece > 0 && ends_[joint.piece - 1] == joint.at);
  };
  while (!shared() && joint.at < end) {
    const std::size_t next = piece_end(encoding_.grammar(), span, joint.at);
    joint.tokens += encoding_.count_piece(span.substr(joint.at, next - joint.at));
    joint.at = next;
    while (joint.piece < ends_.size() && ends_[joint.piece] <= next) ++joint.piece;
  }
  return joint;
}

std::size_t PrefixCounts::count(std::size_t start, std::size_t end) const {
  if (start >= end) return 0;
  const std::string_view span = text_.substr(0, end);
  const Joint joint = join(start, end);
  std::size_t at = joint.at;
  std::size_t tokens = joint.tokens;
  const std::size_t last = pieces_until(trailing_space(span, start));
  if (last > joint.piece) {
    tokens += sum_until(last) - sum_until(joint.piece);
    at = ends_[last - 1];
  }
  return tokens + encoding_.count(span.substr(at));
}

std::size_t PrefixCounts::furthest(std::size_t start, std::size_t limit) const {
  const std::size_t longest = encoding_.vocab().longest();
  std::size_t end = reach();
  if (limit < (end - start) / longest) end = start + limit * longest;  // none covers more bytes
  const Joint joint = join(start, end);
  if (joint.tokens <= limit) {
    // No span may go on over a piece that is beyond the limit and ends in no white space.
    const std::size_t most = sum_until(joint.piece) + (limit - joint.tokens);
    const auto over = std::upper_bound(sums_.begin() + static_cast<std::ptrdiff_t>(joint.piece),
                                       sums_.end(), most);
    const auto first_over = static_cast<std::size_t>(over - sums_.begin());
    for (std::size_t i = first_over; i < ends_.size(); ++i) {
      if (ends_in_space(text_.substr(0, ends_[i]))) continue;
      end = std::min(end, ends_[i]);
      break;
    }
    const std::size_t fits = first_over > joint.piece ? ends_[first_over - 1] : joint.at;
    if (end > fits && end - fits > kLongSearch) {
      end = bound(fits, end, most - sum_until(first_over));
    }
  } else {
    end = end_in_joint(start, end, limit);
  }
  end = text::char_start(text_, end);
  base::CancelTick<16> tick;
  while (end > start && count(start, end) > limit) {
    tick();
    end = text::char_start(text_, end - 1);
  }
  return end;
}

std::size_t PrefixCounts::end_in_joint(std::size_t start, std::size_t end,
                                       std::size_t limit) const {
  const std::string_view span = text_.substr(0, end);
  for (std::size_t at = start; at < end;) {
    const std::size_t next = piece_end(encoding_.grammar(), span, at);
    const std::size_t tokens = encoding_.count_piece(span.substr(at, next - at));
    if (tokens > limit) {
      if (end - at > kLongSearch) return bound(at, end, limit);
      return ends_in_space(span.substr(0, next)) ? end : next;
    }
    limit -= tokens;
    at = next;
  }
  return end;
}

// Cut short, the piece at `low` is one piece again or (o200k, white space) two. The tokens of one
// are those of some start at most the longest token shorter, and one more; so once as many bytes
// lie beyond the limit, all that follow do.
std::size_t PrefixCounts::bound(std::size_t low, std::size_t high, std::size_t limit) const {
  const Vocab& vocab = encoding_.vocab();
  if (!PairMemo::fits(vocab) || !vocab.canonical()) return high;
  const Grammar grammar = encoding_.grammar();
  const std::string_view text = text_.substr(0, high);
  const std::string_view piece = text.substr(low, piece_end(grammar, text, low) - low);
  PairMemo& memo = MergeCache::of_thread().pairs();
  TokenRow row(vocab);
  row.extend(memo, piece);
  std::size_t end = 0;
  for (std::size_t i = 0; i < std::min(limit, row.tokens().size()); ++i) {
    end += vocab.token(row.tokens()[i]).size();
  }
  std::size_t last = end;  // the last start of the piece that fits
  std::size_t resume = 0;  // resume_point() of what was seen of the piece
  while (end < piece.size() && end - last < vocab.longest() + kLookAhead) {
    const std::string_view cut = piece.substr(0, ++end);
    const std::size_t first = piece_end(grammar, cut, resume);
    bool fits = row.count_start(memo, piece, end) <= limit;
    if (first == end) {
      resume = resume_point(grammar, cut, resume);
    } else if (!fits) {
      const std::size_t tokens = row.count_start(memo, piece, first);
      fits = tokens <= limit && tokens + encoding_.count(cut.substr(first)) <= limit;
    }
    if (fits) last = end;
  }
  if (end < piece.size()) return low + last;
  // Beyond a piece of white space that alone is over the limit only white space may still fit.
  return std::min(high, low + piece.size() + kLongSearch);
}

base::Result<std::vector<std::pair<std::size_t, std::size_t>>> split_at(const Encoding& encoding,
                                                                        std::string_view text,
                                                                        std::size_t limit,
                                                                        std::size_t overlap) {
  if (overlap >= limit) {
    return base::fail(base::invalid_argument("overlap", "overlap must be less than max_tokens"));
  }
  const PrefixCounts counts(encoding, text);
  const std::span<const std::size_t> ends = counts.ends();
  std::vector<std::pair<std::size_t, std::size_t>> spans;
  std::size_t from = 0;   // where the next span starts
  std::size_t done = 0;   // what the spans so far cover
  std::size_t piece = 0;  // pieces that end before `from`
  while (done < text.size()) {
    base::check_cancel();
    std::size_t end = counts.furthest(from, limit);
    if (end <= done) {
      from = done;  // the overlap leaves no room to go on
      end = counts.furthest(from, limit);
    }
    if (end <= done) {
      const std::size_t next = from + text::decode_at(text, from).length;
      return base::fail(base::invalid_argument(
          "max_tokens", "a character needs " + std::to_string(counts.count(from, next)) +
                            " tokens: max_tokens must be at least that"));
    }
    spans.emplace_back(from, end);
    done = end;
    from = end;
    if (overlap == 0) continue;
    while (piece < ends.size() && ends[piece] < done && counts.count(ends[piece], done) > overlap) {
      ++piece;
    }
    if (piece < ends.size() && ends[piece] < done && ends[piece] > spans.back().first) {
      from = ends[piece];
    }
  }
  return spans;
}

base::Result<std::string> StreamDecoder::feed(std::span<const Rank> ids) {
  base::Result<std::string> bytes = encoding_.decode(ids);
  if (!bytes) return bytes;
  held_ += *bytes;
  const std::size_t whole = text::complete_prefix(held_);
  std::string out = text::replace_invalid(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = text::replace_invalid(held_);
  held_.clear();
  return out;
}

}  // namespace dure::tokenize
