// tokenize/token_row.h - the tokens of one long piece, which may grow at its end.
//
// A row of tokens is the merge of its bytes exactly if each two neighbours are that of theirs; so
// two rows that share a token at one place are one row. The piece is merged in windows that
// overlap. Linear in all but made-up cases; O(n log n) in these.
//
// Who only counts need not keep the row: its last tokens are enough to go on.
//
// One thread at a time.
#ifndef DURE_SRC_TOKENIZE_TOKEN_ROW_H_
#define DURE_SRC_TOKENIZE_TOKEN_ROW_H_

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/tokenize/vocab.h"
#include "tokenize/merge.h"

namespace dure::tokenize {

class TokenRow {
 public:
  // As `keep`: all tokens; or so many of the last that windows find a common one among them.
  static constexpr std::size_t kAll = static_cast<std::size_t>(-1);
  static constexpr std::size_t kLast = 4096;

  // `vocab` outlives this object. REQUIRES: vocab.canonical(), PairMemo::fits(vocab).
  explicit TokenRow(const Vocab& vocab, std::size_t keep = kAll) noexcept
      : vocab_(&vocab), keep_(keep) {}
  // Makes the row that of `piece`. REQUIRES: `piece` begins with what was given before.
  void extend(PairMemo& memo, std::string_view piece);
  // The same where the bytes of the piece before its `from`th are gone: `rest` is what follows.
  // False if more of them would be needed; then the row is of no use any more. That happens where
  // no two of thousands of tokens meet, which nobody has seen. REQUIRES: from <= needed().
  [[nodiscard]] bool extend_rest(PairMemo& memo, std::string_view rest, std::size_t from);
  // The first byte of the piece that extend_rest() may read again.
  [[nodiscard]] std::size_t needed() const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return end_; }  // in bytes
  [[nodiscard]] std::size_t count() const noexcept { return dropped_ + row_.size(); }
  // Tokens of the first `size` bytes of `piece`, merged alone. REQUIRES: `piece` was the last one
  // given to extend(); size <= piece.size(); all tokens are kept.
  [[nodiscard]] std::size_t count_start(PairMemo& memo, std::string_view piece, std::size_t size);
  // REQUIRES for these: all tokens are kept.
  [[nodiscard]] const std::vector<Rank>& tokens() const noexcept { return row_; }
  [[nodiscard]] std::vector<Rank> take() && { return std::move(row_); }

 private:
  // The piece from its byte `from` on, of which the row may need earlier bytes.
  struct Rest {
    std::string_view bytes;
    std::size_t from;
    [[nodiscard]] std::size_t end() const noexcept { return from + bytes.size(); }
    [[nodiscard]] std::string_view substr(std::size_t at, std::size_t size) const {
      return bytes.substr(at - from, size);
    }
  };
  // False if the tokens that are kept are too few for the overlap.
  bool lengthen(PairMemo& memo, const Rest& piece);
  // The same by many short windows that are merged together, as far as they meet with the row.
  void lengthen_far(PairMemo& memo, const Rest& piece);
  bool extend_to(PairMemo& memo, const Rest& piece);
  void drop_first();
  bool join(std::size_t token);
  bool join_at(std::size_t start, const ShortPiece& window);
  void merge_window(PairMemo& memo, std::string_view bytes);
  [[nodiscard]] std::size_t length(Rank rank) const noexcept { return vocab_->token(rank).size(); }

  static constexpr std::size_t kOverlap = 4;    // tokens that two windows have in common, at first
  static constexpr std::size_t kGrowth = 4;     // of what was too little
  static constexpr std::size_t kPatience = 16;  // windows until smaller ones are tried again
  // Windows merged together, their bytes, and from one to the next: of a run of one thing, whatever
  // its size, two that follow each other are equal.
  static constexpr std::size_t kFar = 32;
  static constexpr std::size_t kFarSize = ShortPiece::kMostBytes;
  static constexpr std::size_t kFarStep = 18;
  static constexpr std::size_t kFarOverlap = kFarSize - kFarStep;

  const Vocab* vocab_;
  std::size_t keep_;
  std::size_t dropped_ = 0;  // tokens before row_
  std::vector<Rank> row_;
  std::size_t end_ = 0;             // bytes of the piece in the row
  std::size_t size_ = kStackMerge;  // of a window, in bytes
  std::size_t overlap_ = kOverlap;  // of a window with the row, in tokens
  std::size_t large_ = 0;           // windows merged that were beyond kStackMerge
  std::size_t alone_ = 0;           // windows to merge one by one before many are tried
  std::string_view merged_;         // what window_ is of
  std::vector<Rank> window_;
  std::vector<std::size_t> starts_;  // of the tokens; for count_start()
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_TOKEN_ROW_H_
