#include "dure/tokenize/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "dure/tokenize/encoding.h"

namespace dure::tokenize {
namespace {

using Ids = std::vector<Rank>;

const Vocab& vocab(std::string_view name) { return Encoding::get(name).value()->vocab(); }

void expect_same(std::string_view name, std::string_view piece) {
  Ids fast;
  Ids slow;
  merge_piece(vocab(name), piece, fast);
  merge_piece_slowly(vocab(name), piece, slow);
  ASSERT_EQ(fast, slow) << name << ": " << piece.size() << " bytes";
}

// Random pieces over few bytes, so that there is much to merge; around each limit of length.
TEST(MergePiece, IsTheSlowMergeAtEveryLength) {
  std::mt19937 chance(1);
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    for (const std::string_view letters : {"ab", "aeinst ", " \n\t", "0=-", "\xED\x95\x9C\xEA"}) {
      for (std::size_t length = 1; length < 300; length += length < 140 ? 1 : 37) {
        std::string piece;
        while (piece.size() < length) piece += letters[chance() % letters.size()];
        expect_same(name, piece);
      }
    }
  }
}

TEST(MergePiece, IsTheSlowMergeOnRuns) {
  for (const std::string_view name : {"r50k_base", "cl100k_base", "o200k_base"}) {
    for (const char letter : {'a', ' ', '=', '\n', '0', '\xCC'}) {
      expect_same(name, std::string(2'000, letter));
    }
  }
}

TEST(MergePiece, EveryTokenIsItself) {
  for (const std::string_view name : {"p50k_base", "cl100k_base", "o200k_base"}) {
    const Vocab& all = vocab(name);
    for (Rank rank = 0; rank < all.size(); ++rank) {
      const std::string_view token = all.token(rank);
      if (token.empty()) continue;
      Ids ids;
      merge_piece(all, token, ids);
      ASSERT_EQ(ids, Ids{rank}) << name;
    }
  }
}

// A megabyte of anything takes no noticeable time and no stack.
TEST(MergePiece, LongRunsComeBack) {
  const Encoding& encoding = *Encoding::get("o200k_base").value();
  std::mt19937 chance(2);
  std::string letters;
  for (int i = 0; i < 1'000'000; ++i) letters += static_cast<char>('a' + chance() % 26);
  for (const std::string& text :
       {std::string(1'000'000, 'x'), std::string(1'000'000, ' '), letters}) {
    Ids ids;
    encoding.encode_ordinary(text, ids);
    EXPECT_EQ(encoding.decode(ids).value(), text);
    EXPECT_EQ(encoding.count(text), ids.size());
  }
}

}  // namespace
}  // namespace dure::tokenize
