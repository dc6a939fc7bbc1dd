#include "tokenize/token_row.h"

#include <algorithm>
#include <array>

#include "dure/base/cancel.h"

namespace dure::tokenize {

void TokenRow::extend(PairMemo& memo, std::string_view piece) {
  starts_.clear();
  if (extend_to(memo, {piece, 0})) return;
  *this = TokenRow(*vocab_);  // once more, and all tokens are kept
  extend_to(memo, {piece, 0});
}

bool TokenRow::extend_rest(PairMemo& memo, std::string_view rest, std::size_t from) {
  return extend_to(memo, {rest, from});
}

bool TokenRow::extend_to(PairMemo& memo, const Rest& piece) {
  merged_ = {};  // of a buffer that may be gone
  base::CancelTick<64> tick;
  for (std::size_t windows = 1; end_ < piece.end(); ++windows) {
    tick();
    if (windows % 64 == 0) make_table_when_worth(*vocab_, memo);
    if (alone_ == 0 && end_ >= kFarSize && piece.end() - end_ > kFar * kFarSize) {
      lengthen_far(memo, piece);
    } else {
      if (alone_ > 0) --alone_;
      if (!lengthen(memo, piece)) return false;
    }
    if (row_.size() / 2 > keep_) drop_first();
  }
  merged_ = {};
  return true;
}

void TokenRow::drop_first() {
  const std::size_t count = row_.size() - keep_;
  row_.erase(row_.begin(), row_.begin() + static_cast<std::ptrdiff_t>(count));
  dropped_ += count;
}

std::size_t TokenRow::needed() const noexcept {
  if (dropped_ == 0) return 0;
  std::size_t bytes = 0;
  for (const Rank rank : row_) bytes += length(rank);
  return end_ - bytes;
}

// From a few tokens before the cut on, merged again; they share a token with the row before it.
std::size_t TokenRow::count_start(PairMemo& memo, std::string_view piece, std::size_t size) {
  if (starts_.empty()) {
    std::size_t at = 0;
    for (const Rank rank : row_) {
      starts_.push_back(at);
      at += length(rank);
    }
  }
  const auto next = std::lower_bound(starts_.begin(), starts_.end(), size);
  const auto before = static_cast<std::size_t>(next - starts_.begin());
  for (std::size_t overlap = kOverlap;; overlap *= kGrowth) {
    const std::size_t first = before > overlap ? before - overlap : 0;
    const std::size_t from = starts_.empty() ? 0 : starts_[first];
    std::vector<Rank> tail;
    if (size > from) merge_any(*vocab_, memo, piece.substr(from, size - from), tail);
    if (first == 0) return tail.size();
    std::size_t at = from;
    for (std::size_t i = 0, token = first; i < tail.size(); at += length(tail[i++])) {
      while (token < row_.size() && starts_[token] < at) ++token;
      if (token == row_.size()) break;
      if (starts_[token] == at && row_[token] == tail[i]) return token + tail.size() - i;
    }
  }
}

// Merges a window from `overlap_` tokens before the end on and joins it to the row.
bool TokenRow::lengthen(PairMemo& memo, const Rest& piece) {
  if (dropped_ != 0 && row_.size() < overlap_) return false;
  std::size_t token = row_.size();
  std::size_t at = end_;
  while (token > 0 && row_.size() - token < overlap_) at -= length(row_[--token]);
  if (end_ - at > size_ / 2) {
    size_ *= kGrowth;
    return true;
  }
  const std::string_view bytes = piece.substr(at, size_);
  merge_window(memo, bytes);
  if (token == 0 && dropped_ == 0) {
    row_ = window_;
  } else if (!join(token)) {
    size_ *= kGrowth;
    overlap_ *= kGrowth;
    return true;
  }
  end_ = at + bytes.size();
  return true;
}

// Of one window alone each merge waits for the table; of many they wait together. Where it does not
// work (a run, which windows that repeat serve better; tokens too long for the overlap) it is left
// for a while.
void TokenRow::lengthen_far(PairMemo& memo, const Rest& piece) {
  constexpr std::size_t kWhile = 64;
  std::size_t start = end_ - kFarOverlap;
  if (start < piece.from ||
      piece.substr(start, kFarSize) == piece.substr(start + kFarStep, kFarSize)) {
    alone_ = kWhile;
    return;
  }
  std::array<ShortPiece, kFar> windows;
  for (std::size_t i = 0; i < kFar; ++i) {
    const std::string_view bytes = piece.substr(start + i * kFarStep, kFarSize);
    windows[i].data = bytes.data();
    windows[i].size = bytes.size();
  }
  merge_group(*vocab_, memo, windows);
  for (const ShortPiece& window : windows) {
    if (!join_at(start, window)) {
      alone_ = kWhile;
      return;
    }
    end_ = start + kFarSize;
    start += kFarStep;
  }
}

// As join(), for a window that begins at the byte `start` of the piece, maybe within a token.
bool TokenRow::join_at(std::size_t start, const ShortPiece& window) {
  std::size_t token = row_.size();
  std::size_t ours = end_;
  while (token > 0 && ours > start) ours -= length(row_[--token]);
  std::size_t theirs = start;
  for (std::size_t i = 0; i < window.count && token < row_.size();) {
    if (ours == theirs && row_[token] == window.ids[i]) {
      row_.resize(token);
      row_.insert(row_.end(), window.ids.begin() + static_cast<std::ptrdiff_t>(i),
                  window.ids.begin() + static_cast<std::ptrdiff_t>(window.count));
      return true;
    }
    if (ours <= theirs) {
      ours += length(row_[token++]);
    } else {
      theirs += length(window.ids[i++]);
    }
  }
  return false;
}

// Replaces what follows the first token that the row, from `token` on, and the window share; false
// if there is none.
bool TokenRow::join(std::size_t token) {
  std::size_t ours = 0;    // bytes of the row from there on
  std::size_t theirs = 0;  // of the window
  for (std::size_t i = 0; i < window_.size() && token < row_.size();) {
    if (ours == theirs && row_[token] == window_[i]) {
      row_.resize(token);
      row_.insert(row_.end(), window_.begin() + static_cast<std::ptrdiff_t>(i), window_.end());
      return true;
    }
    if (ours <= theirs) {
      ours += length(row_[token++]);
    } else {
      theirs += length(window_[i++]);
    }
  }
  return false;
}

// The tokens of `bytes` to window_; those of a long run are there already.
void TokenRow::merge_window(PairMemo& memo, std::string_view bytes) {
  if (bytes == merged_) return;
  merged_ = bytes;
  window_.clear();
  if (bytes.size() <= kStackMerge) {
    window_.resize(bytes.size());
    window_.resize(merge_short(*vocab_, memo, bytes, window_.data()));
    return;
  }
  merge_by_heap(*vocab_, bytes, window_);
  if (++large_ % kPatience != 0) return;
  size_ = std::max(size_ / kGrowth, kStackMerge);
  overlap_ = kOverlap;
}

std::size_t count_any(const Vocab& vocab, PairMemo& memo, std::string_view piece,
                      std::vector<Rank>& scratch) {
  if (piece.size() > kStackMerge && PairMemo::fits(vocab) && vocab.canonical()) {
    TokenRow row(vocab, TokenRow::kLast);
    row.extend(memo, piece);
    return row.count();
  }
  scratch.clear();
  merge_any(vocab, memo, piece, scratch);
  return scratch.size();
}

void merge_any(const Vocab& vocab, PairMemo& memo, std::string_view piece, std::vector<Rank>& out) {
  if (piece.size() <= kStackMerge && PairMemo::fits(vocab)) {
    std::array<Rank, kStackMerge> ids;
    const std::size_t count = merge_short(vocab, memo, piece, ids.data());
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  } else if (PairMemo::fits(vocab) && vocab.canonical()) {
    TokenRow row(vocab);
    row.extend(memo, piece);
    if (out.empty()) {
      out = std::move(row).take();
    } else {
      out.insert(out.end(), row.tokens().begin(), row.tokens().end());
    }
  } else {
    merge_by_heap(vocab, piece, out);
  }
}

}  // namespace dure::tokenize
