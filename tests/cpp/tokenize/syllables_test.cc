#include "tokenize/syllables.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "dure/text/utf8.h"
#include "dure/tokenize/bpe.h"
#include "dure/tokenize/encoding.h"
#include "tokenize/merge.h"
#include "tokenize/merge_cache.h"
#include "tokenize/pair_table.h"

namespace dure::tokenize {
namespace {

using Ids = std::vector<Rank>;

const std::vector<std::string_view> kEncodings{"r50k_base", "p50k_base", "cl100k_base",
                                               "o200k_base"};

const Vocab& vocab(std::string_view name) { return Encoding::get(name).value()->vocab(); }

// Those that the tokens of the vocabulary are made of, again and again as they stand there.
std::vector<std::string> common_syllables(const Vocab& all) {
  std::vector<std::string> found;
  for (Rank rank = 0; rank < all.size(); ++rank) {
    const std::string_view token = all.token(rank);
    for (std::size_t i = 0; i + 3 <= token.size(); ++i) {
      const auto* at = reinterpret_cast<const unsigned char*>(token.data() + i);
      if (Syllables::index_of(at) != Syllables::kNone) found.emplace_back(token.substr(i, 3));
    }
  }
  return found;
}

std::string syllable(unsigned index) {
  std::string text;
  text::append_utf8(0xAC00 + index, text);
  return text;
}

Ids slow(const Vocab& all, std::string_view piece) {
  Ids ids;
  merge_piece_slowly(all, piece, ids);
  return ids;
}

TEST(Syllables, HaveTheirNumbers) {
  for (unsigned index = 0; index < Syllables::kNumber; ++index) {
    const std::string text = syllable(index);
    ASSERT_EQ(Syllables::index_of(reinterpret_cast<const unsigned char*>(text.data())), index);
  }
  for (const std::string_view other :
       {"\xEA\xAF\xBF", "\xED\x9E\xA4", "\xE3\x81\x82", "\xEA\xB0\xC0", "\xEA\x30\x80", "abc"}) {
    EXPECT_EQ(Syllables::index_of(reinterpret_cast<const unsigned char*>(other.data())),
              Syllables::kNone);
  }
}

TEST(Syllables, EachIsMergedAsItIsAlone) {
  for (const std::string_view name : kEncodings) {
    const Vocab& all = vocab(name);
    ASSERT_NE(all.pair_table(), nullptr);
    std::size_t joined = 0;
    for (unsigned index = 0; index < Syllables::kNumber; ++index) {
      for (const bool space : {false, true}) {
        const std::string text = (space ? " " : "") + syllable(index);
        const Syllable found =
            space ? all.syllables().behind_space(index) : all.syllables().alone(index);
        if (found.count == 0) {
          ASSERT_TRUE(space);
          continue;
        }
        joined += space;
        const Ids wanted = slow(all, text);
        ASSERT_EQ(Ids(found.ids.begin(), found.ids.begin() + found.count), wanted);
        for (unsigned i = 0; i < found.count; ++i) {
          ASSERT_EQ(found.sizes[i], all.token(wanted[i]).size()) << name << " " << index;
        }
      }
    }
    EXPECT_GT(joined, 100U) << name;
  }
}

// Words of common and of rare syllables; between many of them a token goes over the edge.
TEST(Syllables, WordsAreMergedAsFromBytes) {
  std::mt19937 chance(31);
  for (const std::string_view name : kEncodings) {
    const Vocab& all = vocab(name);
    ASSERT_NE(all.pair_table(), nullptr);
    std::vector<std::string> common = common_syllables(all);
    if (common.empty()) common.push_back(syllable(0));
    std::size_t open = 0;
    std::vector<std::string> words;
    for (int i = 0; i < 30'000; ++i) {
      std::string word = chance() % 3 == 0 ? "" : " ";
      const std::size_t length = 2 + chance() % (i % 50 == 0 ? 19 : 8);
      const std::size_t rare = i % 3 == 0 ? 2 : 12;
      for (std::size_t n = 0; n < length; ++n) {
        const std::string next =
            chance() % rare == 0 ? syllable(static_cast<unsigned>(chance() % Syllables::kNumber))
                                 : common[chance() % common.size()];
        if (n > 0) {
          open += all.syllables().open(static_cast<unsigned char>(word.back()),
                                       static_cast<unsigned char>(next.front()));
        }
        word += next;
      }
      words.push_back(word);
    }
    std::vector<ShortPiece> group;
    PairMemo& memo = MergeCache::of_thread().pairs();
    for (const std::string& word : words) {
      if (word.size() <= ShortPiece::kMostBytes) group.push_back({word.data(), word.size(), {}, 0});
      std::array<Rank, kStackMerge> ids{};
      const std::size_t count = merge_short(all, memo, word, ids.data());
      ASSERT_EQ(Ids(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count)), slow(all, word))
          << name << ": " << word;
    }
    merge_group(all, memo, group);
    for (const ShortPiece& piece : group) {
      const Ids ids(piece.ids.begin(),
                    piece.ids.begin() + static_cast<std::ptrdiff_t>(piece.count));
      ASSERT_EQ(ids, slow(all, {piece.data, piece.size})) << name;
    }
    if (name != "r50k_base" && name != "p50k_base") {
      EXPECT_GT(open, 1'000U) << name;
    }
  }
}

}  // namespace
}  // namespace dure::tokenize
