// tokenize/backtrack.h - linear merging of long pieces.
//
// Instead of merging pairs it lays tokens from left to right, the longest first, and takes one
// back where byte-pair merging would have merged over the joint of two tokens. A position from
// which no way leads on is marked and never tried again, so the time is linear in the piece's
// length. The idea is that of the crate `bpe` (github/rust-gems): two tokens may stand side by
// side exactly if undoing their merges, the latest first, never shows a pair across the joint
// that would have merged earlier.
//
// Needs a vocabulary in which merging the bytes of each token gives that token: checked here.
//
// Immutable.
#ifndef DURE_SRC_TOKENIZE_BACKTRACK_H_
#define DURE_SRC_TOKENIZE_BACKTRACK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "dure/tokenize/vocab.h"

namespace dure::tokenize {

class Backtrack {
 public:
  // Null if the vocabulary does not fit: then pieces are merged by heap. Some 50 ms.
  // `vocab` outlives the result.
  [[nodiscard]] static std::unique_ptr<const Backtrack> create(const Vocab& vocab);

  // Appends the ids of `piece`.
  void run(std::string_view piece, std::vector<Rank>& out) const;

 private:
  // The two tokens whose merge made a token; a byte is both halves of itself.
  struct Halves {
    Rank left;
    Rank right;
  };
  // A set of byte strings by hash; says yes to some that are not in it.
  class Filter {
   public:
    Filter() : words_(std::size_t{1} << (kBits - 6)) {}
    void add(std::uint64_t hash) noexcept { words_[hash >> kShift] |= bit(hash); }
    [[nodiscard]] bool has(std::uint64_t hash) const noexcept {
      return (words_[hash >> kShift] & bit(hash)) != 0;
    }

   private:
    static constexpr unsigned kBits = 24;  // 2 MB
    static constexpr unsigned kShift = 64 - (kBits - 6);
    static std::uint64_t bit(std::uint64_t hash) noexcept { return 1ULL << (hash >> 20U & 63U); }
    std::vector<std::uint64_t> words_;
  };

  explicit Backtrack(const Vocab& vocab) : vocab_(vocab), halves_(vocab.size()) {}
  bool learn();
  // Writes the lengths of the tokens (some may be none) at the start of `text`, ascending.
  std::size_t lengths_at(std::string_view text, std::uint8_t* lengths) const noexcept;
  // May `left` and `right` stand side by side at `joint` of `piece`?
  [[nodiscard]] bool may_meet(std::string_view piece, std::size_t joint, Rank left,
                              Rank right) const noexcept;
  // The longest token at `at` below `bound` bytes that `last` may precede and that ends at an open
  // position; kNoRank if there is none.
  [[nodiscard]] Rank next(std::string_view piece, std::size_t at, std::size_t bound, Rank last,
                          const std::vector<bool>& dead) const noexcept;

  const Vocab& vocab_;
  std::vector<Halves> halves_;
  Filter prefixes_;
  Filter tokens_;
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_BACKTRACK_H_
