#include "dure/tokenize/units.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "dure/text/utf8.h"
#include "dure/tokenize/bpe.h"
#include "tokenize/merge_cache.h"
#include "tokenize/token_row.h"

namespace dure::tokenize {
namespace {

using Ids = std::vector<Rank>;

const std::vector<std::string_view> kEncodings{"r50k_base", "cl100k_base", "o200k_base"};

const Encoding& encoding(std::string_view name) { return *Encoding::get(name).value(); }

Ids encode(const Encoding& one, std::string_view text) {
  Ids ids;
  one.encode_ordinary(text, ids);
  return ids;
}

// Stretches of one kind of character, short and long: what windows find easy and hard to cut.
std::u32string random_text(std::mt19937& chance, std::size_t size) {
  static const std::vector<std::u32string> kinds{U"abcst",
                                                 U"ABCS",
                                                 U"\u1100\uD55C\uAD6D",
                                                 U"\u4E00\u3042\u30A2",
                                                 U" ",
                                                 U"\u3000\u00A0",
                                                 U"\n\r",
                                                 U"0123",
                                                 U"\u0663\u2167",
                                                 U"'",
                                                 U"!-=/",
                                                 U"\u2500",
                                                 U"\u0301\u0E31",
                                                 U"\u0416\u00C9",
                                                 U"\u0436\u017F",
                                                 U"\U0001F642"};
  std::u32string text;
  while (text.size() < size) {
    const std::u32string& kind = kinds[chance() % kinds.size()];
    const std::size_t run = chance() % 8 == 0 ? 1 + chance() % 300 : 1 + chance() % 3;
    for (std::size_t i = 0; i < run; ++i) text += kind[chance() % kind.size()];
  }
  return text;
}

std::string utf8_of(std::u32string_view points) {
  std::string text;
  for (const char32_t point : points) text::append_utf8(point, text);
  return text;
}

TEST(SafeCut, BothSidesGiveTheIdsOfTheWhole) {
  std::mt19937 chance(21);
  for (const std::string_view name : kEncodings) {
    const Encoding& one = encoding(name);
    std::size_t cuts = 0;
    for (int round = 0; round < 150; ++round) {
      const std::string text = utf8_of(random_text(chance, 40));
      const Ids whole = encode(one, text);
      for (std::size_t limit = 1; limit < text.size(); ++limit) {
        const std::size_t cut =
            safe_cut(one.grammar(), text, limit, chance() % 2 == 0 ? limit : 10);
        ASSERT_LE(cut, limit);
        if (cut == 0) continue;
        ++cuts;
        Ids parts = encode(one, std::string_view(text).substr(0, cut));
        one.encode_ordinary(std::string_view(text).substr(cut), parts);
        ASSERT_EQ(parts, whole) << name << ": '" << text << "' at " << cut;
      }
    }
    EXPECT_GT(cuts, 1'000U);
  }
}

TEST(SafeCut, FindsOneInTextWithoutSpaces) {
  const std::string chinese = utf8_of(U"\u4E00\u4E8C\uFF0C\u4E09\u56DB");
  for (const Grammar grammar : {Grammar::kGpt2, Grammar::kCl100k, Grammar::kO200k}) {
    EXPECT_EQ(safe_cut(grammar, chinese, chinese.size() - 1, chinese.size()), 6U);
    EXPECT_EQ(safe_cut(grammar, chinese, chinese.size() - 1, 3), 0U);
  }
}

// In windows of every size, which end anywhere in a piece; many pieces are longer than they.
TEST(Units, WindowsOfAnySizeGiveTheIdsOfTheWhole) {
  std::mt19937 chance(22);
  for (const std::string_view name : kEncodings) {
    const Encoding& one = encoding(name);
    for (int round = 0; round < 120; ++round) {
      const std::u32string points = random_text(chance, 20 + chance() % 600);
      const std::string text = utf8_of(points);
      const text::CodeUnits units{points.data(), points.size(), 4, false};
      const Ids wanted = encode(one, text);
      for (const std::size_t window : {1U, 2U, 7U, 64U, 200U}) {
        Ids ids;
        ASSERT_TRUE(encode_units(one, units, ids, window));
        ASSERT_EQ(ids, wanted) << name << ", windows of " << window << ": '" << text << "'";
        ASSERT_EQ(count_units(one, units, window), wanted.size())
            << name << ", windows of " << window << ": '" << text << "'";
      }
    }
  }
}

// Words that are far longer than what a row keeps.
TEST(Units, EndlessWordsAreCountedAsTheyCome) {
  std::mt19937 chance(23);
  for (const std::string_view name : kEncodings) {
    const Encoding& one = encoding(name);
    for (const std::u32string& letters :
         {std::u32string(U"\uD55C"), std::u32string(U"\uD55C\uAD6D\uC5B4\uC758"),
          std::u32string(U"\u0416\u0414"), std::u32string(U"\u0436\u0434\u0430"),
          std::u32string(U"\u4E00\u3042\u0E01\u0E31"), std::u32string(U"\u00E9"),
          std::u32string(U"\u0301"), std::u32string(U"\u0301\u0E31"),
          std::u32string(U"\u2500\u2026!-")}) {
      std::u32string points(1, letters[0]);
      while (points.size() < 60'000) points += letters[chance() % letters.size()];
      points += U" \u00E9nd";
      const text::CodeUnits units{points.data(), points.size(), 4, false};
      ASSERT_EQ(count_units(one, units, 1'000), one.count(utf8_of(points))) << name;
    }
  }
}

TEST(Units, StopAtASurrogate) {
  const std::u32string points = U"\uAD6D\u00E9" + std::u32string(100, U'a') + char32_t{0xD800};
  const text::CodeUnits units{points.data(), points.size(), 4, false};
  Ids ids;
  EXPECT_EQ(count_units(encoding("o200k_base"), units, 8), std::nullopt);
  EXPECT_FALSE(encode_units(encoding("o200k_base"), units, ids, 8));
}

std::string random_piece(std::mt19937& chance, std::string_view letters, std::size_t size) {
  std::string piece;
  while (piece.size() < size) piece += letters[chance() % letters.size()];
  return piece;
}

// A row that keeps a few tokens counts as one that keeps all, or says that it cannot.
TEST(TokenRow, CountsWithTheLastTokensAlone) {
  std::mt19937 chance(24);
  PairMemo& memo = MergeCache::of_thread().pairs();
  for (const std::string_view name : kEncodings) {
    const Vocab& vocab = encoding(name).vocab();
    std::size_t counted = 0;
    for (const std::string_view letters :
         {"x", "ab", "aeinstr", " ", "0=-*", "\xCC\x81", "\xED\x95\x9C\xEA\xB8\x80",
          "abcdefghijklmnopqrstuvwxyz"}) {
      for (const std::size_t keep : {std::size_t{4}, std::size_t{64}, TokenRow::kLast}) {
        const std::string piece = random_piece(chance, letters, 30'000);
        Ids wanted;
        merge_piece(vocab, piece, wanted);
        TokenRow whole(vocab, keep);
        whole.extend(memo, piece);
        ASSERT_EQ(whole.count(), wanted.size()) << name << " '" << letters << "' " << keep;
        TokenRow row(vocab, keep);
        bool known = true;
        for (std::size_t size = 1; size < piece.size() && known;) {
          size = std::min(piece.size(), size + 1 + chance() % 500);
          const std::size_t from = row.needed();
          known = row.extend_rest(memo, std::string_view(piece).substr(from, size - from), from);
          ASSERT_LE(row.size(), size);
        }
        if (!known) continue;
        ++counted;
        ASSERT_EQ(row.count(), wanted.size()) << name << " '" << letters << "' " << keep;
      }
    }
    EXPECT_GE(counted, 12U) << name;
  }
}

}  // namespace
}  // namespace dure::tokenize
