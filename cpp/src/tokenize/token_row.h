// tokenize/token_row.h - the tokens of one long piece, which may grow at its end.
//
// A row of tokens is the merge of its bytes exactly if each two neighbours are that of theirs; so
// two rows that share a token at one place are one row. The piece is merged in windows that
// overlap. Linear in all but made-up cases; O(n log n) in these.
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
  // `vocab` outlives this object. REQUIRES: vocab.canonical(), PairMemo::fits(vocab).
  explicit TokenRow(const Vocab& vocab) noexcept : vocab_(&vocab) {}
  // Makes the row that of `piece`. REQUIRES: `piece` begins with what was given before.
  void extend(PairMemo& memo, std::string_view piece);
  [[nodiscard]] std::size_t size() const noexcept { return end_; }  // in bytes
  // Tokens of the first `size` bytes of `piece`, merged alone. REQUIRES: `piece` was the last one
  // given to extend(); size <= piece.size().
  [[nodiscard]] std::size_t count_start(PairMemo& memo, std::string_view piece, std::size_t size);
  [[nodiscard]] const std::vector<Rank>& tokens() const noexcept { return row_; }
  [[nodiscard]] std::vector<Rank> take() && { return std::move(row_); }

 private:
  void lengthen(PairMemo& memo, std::string_view piece);
  bool join(std::size_t token);
  void merge_window(PairMemo& memo, std::string_view bytes);
  [[nodiscard]] std::size_t length(Rank rank) const noexcept { return vocab_->token(rank).size(); }

  static constexpr std::size_t kOverlap = 4;    // tokens that two windows have in common, at first
  static constexpr std::size_t kGrowth = 4;     // of what was too little
  static constexpr std::size_t kPatience = 16;  // windows until smaller ones are tried again

  const Vocab* vocab_;
  std::vector<Rank> row_;
  std::size_t end_ = 0;             // bytes of the piece in the row
  std::size_t size_ = kStackMerge;  // of a window, in bytes
  std::size_t overlap_ = kOverlap;  // of a window with the row, in tokens
  std::size_t large_ = 0;           // windows merged that were beyond kStackMerge
  std::string_view merged_;         // what window_ is of
  std::vector<Rank> window_;
  std::vector<std::size_t> starts_;  // of the tokens; for count_start()
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_TOKEN_ROW_H_
