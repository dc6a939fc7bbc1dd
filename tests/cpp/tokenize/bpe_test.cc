#include "dure/tokenize/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "dure/tokenize/encoding.h"
#include "tokenize/backtrack.h"
#include "tokenize/merge.h"

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

TEST(MergePiece, EveryEmbeddedVocabularyAllowsLinearMerging) {
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    EXPECT_NE(vocab(name).backtrack(), nullptr) << name;
  }
}

TEST(MergePiece, LinearMergingIsTheHeaps) {
  std::mt19937 chance(3);
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    for (const std::string_view letters :
         {"a", "ab", "aeinstr", "etaoin shrdlu", " \n\t", "0=-*", "\xCC\x81",
          "\xED\x95\x9C\xEA\xB8\x80", "abcdefghijklmnopqrstuvwxyz"}) {
      for (const std::size_t length : {1U, 2U, 7U, 64U, 500U, 3'000U, 30'000U}) {
        std::string piece;
        while (piece.size() < length) piece += letters[chance() % letters.size()];
        Ids linear;
        Ids heap;
        vocab(name).backtrack()->run(piece, linear);
        merge_by_heap(vocab(name), piece, heap);
        ASSERT_EQ(linear, heap) << name << " '" << letters << "' " << length;
      }
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
