#include "dure/tokenize/sliding_counts.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "dure/text/utf8.h"
#include "dure/tokenize/encoding.h"

namespace dure::tokenize {
namespace {

const std::vector<std::string> kAtoms{
    "word ",  " ", "\n",   "\r\n", "안녕", "다 ", "123456", "'s", "AB",     "亚洲", "AVa", "!!/",
    "\n\n\n", "é", "\t\t", "?",    "aaaa", "  x", "I'll",   "🇰🇷", "\u3000", "(",    "...", "/"};

// A reader who goes forward and asks for spans near him, as the chunker does.
TEST(SlidingCounts, AreThoseOfTheEncodingAlongAText) {
  std::mt19937_64 chance(11);
  for (const char* name : {"gpt2", "cl100k_base", "o200k_base"}) {
    const Encoding& encoding = **Encoding::get(name);
    for (int n = 0; n < 40; ++n) {
      std::string text;
      for (int i = 0; i < 3000; ++i) text += kAtoms[chance() % kAtoms.size()];
      SlidingCounts counts(encoding, text);
      for (std::size_t from = 0; from < text.size();) {
        for (int spans = 0; spans < 3; ++spans) {
          const std::size_t start =
              text::char_start(text, std::min(text.size(), from + chance() % 40));
          const std::size_t end = text::char_start(
              text, start + std::min<std::size_t>(text.size() - start, chance() % 300));
          if (start < text.size() && chance() % 2 == 0) {
            const std::size_t first = counts.count_first(start);
            const std::size_t piece = counts.ends()[counts.first_beyond(start)];
            ASSERT_EQ(first, counts.count(start, piece)) << name << " [" << start << ", " << piece;
          }
          ASSERT_EQ(counts.count(start, end),
                    encoding.count(std::string_view(text).substr(start, end - start)))
              << name << " [" << start << ", " << end << ")";
        }
        ASSERT_LE(counts.front(), from);
        from = text::char_start(text, std::min(text.size(), from + chance() % 200 + 1));
        counts.forget_before(from);
      }
    }
  }
}

TEST(SlidingCounts, ForgetsWhatLiesBehind) {
  const Encoding& encoding = **Encoding::get("o200k_base");
  std::string text;
  while (text.size() < 1'000'000) text += "one more word and 1 number ";
  SlidingCounts counts(encoding, text);
  std::size_t most = 0;
  std::size_t total = 0;
  constexpr std::size_t kStep = 2700;  // on a space, where pieces begin
  for (std::size_t at = 0; at + kStep + 26 < text.size(); at += kStep) {
    total += counts.count(at, at + 26);
    counts.forget_before(at);
    most = std::max(most, counts.ends().size());
  }
  EXPECT_GT(total, 0U);
  EXPECT_LT(most, 8'000U);
  EXPECT_GT(counts.front(), text.size() * 9 / 10);
}

TEST(SlidingCounts, ReadsAsFarAsAsked) {
  const Encoding& encoding = **Encoding::get("o200k_base");
  const std::string text = "one two three four five";
  SlidingCounts counts(encoding, text);
  EXPECT_EQ(counts.front(), 0U);
  EXPECT_EQ(counts.first_beyond(0), counts.ends().size());
  counts.read_beyond(0);
  EXPECT_EQ(counts.ends()[counts.first_beyond(4)], 7U);
  EXPECT_EQ(counts.count_first(3), 1U);  // " two"
  EXPECT_EQ(counts.count_first(4), encoding.count("two"));
  counts.read_tokens(100);
  EXPECT_EQ(counts.ends().back(), text.size());
  EXPECT_EQ(counts.first_beyond(text.size()), counts.ends().size());
}

}  // namespace
}  // namespace dure::tokenize
