#include <algorithm>
#include <array>
#include <cstring>

#include "tokenize/merge.h"

namespace dure::tokenize {
namespace {

constexpr std::size_t kOverlap = 4;    // tokens that two windows have in common, at first
constexpr std::size_t kGrowth = 4;     // of what was too little
constexpr std::size_t kPatience = 16;  // windows until smaller ones are tried again

// A row of tokens for piece[0:end), lengthened window by window.
class Row {
 public:
  Row(const Vocab& vocab, PairMemo& memo, std::string_view piece, std::vector<Rank>& out)
      : vocab_(vocab), memo_(memo), piece_(piece), out_(out), first_(out.size()) {}

  void run() {
    while (end_ < piece_.size()) lengthen();
  }

 private:
  // Merges a window from `overlap_` tokens before the end on and joins them to the row.
  void lengthen() {
    std::size_t token = out_.size();
    std::size_t at = end_;
    while (token > first_ && out_.size() - token < overlap_) at -= length(out_[--token]);
    if (end_ - at > size_ / 2) {
      size_ *= kGrowth;
      return;
    }
    const std::string_view bytes = piece_.substr(at, size_);
    merge_window(bytes);
    if (token == first_) {
      out_.resize(first_);
      out_.insert(out_.end(), window_.begin(), window_.end());
    } else if (!join(token)) {
      size_ *= kGrowth;
      overlap_ *= kGrowth;
      return;
    }
    end_ = at + bytes.size();
  }

  // Replaces what follows the first token that the row, from `token` on, and the window share.
  bool join(std::size_t token) {
    std::size_t ours = 0;    // bytes of the row from there on
    std::size_t theirs = 0;  // of the window
    for (std::size_t i = 0; i < window_.size() && token < out_.size();) {
      if (ours == theirs && out_[token] == window_[i]) {
        out_.resize(token);
        out_.insert(out_.end(), window_.begin() + static_cast<std::ptrdiff_t>(i), window_.end());
        return true;
      }
      if (ours <= theirs) {
        ours += length(out_[token++]);
      } else {
        theirs += length(window_[i++]);
      }
    }
    return false;
  }

  // The tokens of `bytes` to window_; those of a long run are there already.
  void merge_window(std::string_view bytes) {
    if (bytes == merged_) return;
    merged_ = bytes;
    window_.clear();
    if (bytes.size() <= kStackMerge) {
      window_.resize(bytes.size());
      window_.resize(merge_short(vocab_, memo_, bytes, window_.data()));
      return;
    }
    merge_by_heap(vocab_, bytes, window_);
    if (++large_ % kPatience != 0) return;
    size_ = std::max(size_ / kGrowth, kStackMerge);
    overlap_ = kOverlap;
  }

  [[nodiscard]] std::size_t length(Rank rank) const noexcept { return vocab_.token(rank).size(); }

  const Vocab& vocab_;
  PairMemo& memo_;
  std::string_view piece_;
  std::vector<Rank>& out_;
  std::size_t first_;               // the row's first token in out_
  std::size_t end_ = 0;             // bytes of the piece in the row
  std::size_t size_ = kStackMerge;  // of a window, in bytes
  std::size_t overlap_ = kOverlap;  // of a window with the row, in tokens
  std::size_t large_ = 0;           // windows merged that were beyond kStackMerge
  std::string_view merged_;         // what window_ is of
  std::vector<Rank> window_;
};

}  // namespace

void merge_any(const Vocab& vocab, PairMemo& memo, std::string_view piece, std::vector<Rank>& out) {
  if (piece.size() <= kStackMerge && PairMemo::fits(vocab)) {
    std::array<Rank, kStackMerge> ids;
    const std::size_t count = merge_short(vocab, memo, piece, ids.data());
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  } else if (PairMemo::fits(vocab) && vocab.canonical()) {
    Row(vocab, memo, piece, out).run();
  } else {
    merge_by_heap(vocab, piece, out);
  }
}

}  // namespace dure::tokenize
