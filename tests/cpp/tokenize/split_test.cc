#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"
#include "tokenize/block_split.h"

namespace dure::tokenize {
namespace {

using Ends = std::vector<std::size_t>;

constexpr std::array kGrammars{Grammar::kGpt2, Grammar::kCl100k, Grammar::kO200k};
constexpr std::array kSets{Simd::kScalar, Simd::kSse2, Simd::kAvx2, Simd::kAvx512};

Ends split_all(SplitFunction split, Grammar grammar, std::string_view text, std::size_t room) {
  Ends all;
  Ends ends(room);
  for (std::size_t at = 0; at < text.size(); at = all.back()) {
    const std::size_t count = split(grammar, text, at, ends.data(), room);
    EXPECT_GT(count, 0U);
    if (count == 0) break;
    all.insert(all.end(), ends.begin(), ends.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return all;
}

// All sets against the rules for single pieces. `text` lies in a buffer of its own size, so that
// the sanitizer sees a read beyond it.
void expect_equal(std::string_view text) {
  const std::vector<char> exact(text.begin(), text.end());
  const std::string_view own(exact.data(), exact.size());
  for (const Grammar grammar : kGrammars) {
    const Ends wanted = split_all(split_by_pieces, grammar, own, 64);
    for (const Simd simd : kSets) {
      const Splitter* set = splitter_of(simd);
      if (set == nullptr) continue;
      for (const std::size_t room : {std::size_t{256}, std::size_t{3}}) {
        ASSERT_EQ(split_all(set->split, grammar, own, room), wanted)
            << set->name << ", grammar " << static_cast<int>(grammar) << ", room " << room << ": '"
            << text << "'";
      }
    }
  }
}

TEST(Split, ScalarIsThereOnEveryMachine) {
  ASSERT_NE(splitter_of(Simd::kScalar), nullptr);
  EXPECT_STREQ(splitter_of(Simd::kScalar)->name, "scalar");
  EXPECT_NE(splitter().split, nullptr);
}

// One of each kind of character that the grammars tell apart, of every length.
const std::vector<std::string>& characters() {
  static const std::vector<std::string> all{"a",
                                            "z",
                                            "s",
                                            "t",
                                            "l",
                                            "v",
                                            "e",
                                            "r",
                                            "d",
                                            "m",
                                            "A",
                                            "S",
                                            "L",
                                            "X",
                                            "0",
                                            "7",
                                            " ",
                                            " ",
                                            "\t",
                                            "\n",
                                            "\r",
                                            "'",
                                            "'",
                                            "!",
                                            "/",
                                            ".",
                                            "_",
                                            "\xC3\xA9",
                                            "\xC3\x89",
                                            "\xC5\xBF",
                                            "\xED\x95\x9C",
                                            "\xEA\xB8\x80",
                                            "\xED\x9E\xA3",
                                            "\xED\x9F\xBB",
                                            "\xE4\xB8\x80",
                                            "\xE4\xB7\x80",
                                            "\xEA\xAF\xBF",
                                            "\xEA\xB0\x80",
                                            "\xE3\x81\x82",
                                            "\xE3\x80\x82",
                                            "\xE3\x80\x80",
                                            "\xC2\xA0",
                                            "\xC2\x85",
                                            "\xE2\x80\x94",
                                            "\xCC\x81",
                                            "\xD9\xA3",
                                            "\xF0\x9F\x99\x82",
                                            "\xF0\xB2\x8E\xB0",
                                            "\xF0\x9D\x90\x80",
                                            "\xF0\x9D\x90\x9A"};
  return all;
}

std::string random_text(std::mt19937& chance, std::size_t length, std::size_t kinds) {
  std::vector<std::string> chosen;
  for (std::size_t i = 0; i < kinds; ++i) {
    chosen.push_back(characters()[chance() % characters().size()]);
  }
  std::string text;
  while (text.size() < length) text += chosen[chance() % kinds];
  return text;
}

TEST(Split, EverySetGivesThePiecesOfTheRules) {
  std::mt19937 chance(11);
  for (int round = 0; round < 6'000; ++round) {
    expect_equal(random_text(chance, 1 + chance() % 200, 1 + chance() % 12));
    if (HasFatalFailure()) return;
  }
}

TEST(Split, RunsAcrossTheEdgeOfABlock) {
  for (const std::string& before : characters()) {
    for (const std::string& after : characters()) {
      for (const std::size_t length : {58U, 61U, 62U, 63U, 64U, 65U}) {
        std::string text(length, 'w');
        text[length / 2] = ' ';
        expect_equal(text + before + after + after + before + "'ll x" + std::string(60, ' '));
        if (HasFatalFailure()) return;
      }
    }
  }
}

// The end of a text is known: each character, and each two, as the last of texts of every length.
TEST(Split, EveryEndOfAText) {
  std::mt19937 chance(15);
  for (const std::string& before : characters()) {
    for (const std::string& after : characters()) {
      const std::size_t length = chance() % 70;
      const std::string start = random_text(chance, length, 4).substr(0, length);
      expect_equal(start + before + after);
      expect_equal(start + "w" + before + before + after);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Split, ContractionsAtEveryPlaceOfABlock) {
  for (const std::string_view tail : {"'s", "'S", "'ll", "'Ve", "'rE", "'re's", "''s", "'sX",
                                      "'lL\xED\x95\x9C", "'\xC5\xBF", "'l", "'", "'x", "'d\n"}) {
    for (std::size_t place = 0; place < 70; ++place) {
      for (const std::string_view before : {"", "w", " ", "!", "\n", "W", "\xED\x95\x9C", "9"}) {
        std::string text(place, 'a');
        if (place > 3) text[place / 2] = ' ';
        text.append(before).append(tail);
        expect_equal(text);
        expect_equal(text + " and more of it, to fill a whole block of 64 bytes with words.");
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Split, BadBytesAreSymbols) {
  std::mt19937 chance(12);
  for (int round = 0; round < 2'000; ++round) {
    std::string text = random_text(chance, 100, 8);
    for (int i = 0; i < 4; ++i) text[chance() % text.size()] = static_cast<char>(chance());
    expect_equal(text);
    if (HasFatalFailure()) return;
  }
}

// From the point that it names, any longer text is cut as from the start of the piece.
TEST(Split, ResumesAsFromTheStart) {
  std::mt19937 chance(13);
  std::size_t moved = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::string whole = random_text(chance, 2 + chance() % 60, 1 + chance() % 5);
    const std::string_view text = std::string_view(whole).substr(0, 1 + chance() % whole.size());
    for (const Grammar grammar : kGrammars) {
      std::size_t start = 0;
      while (piece_end(grammar, text, start) < text.size()) start = piece_end(grammar, text, start);
      const std::size_t resume = resume_point(grammar, text, start);
      moved += resume > start ? 1 : 0;
      ASSERT_EQ(piece_end(grammar, whole, resume), piece_end(grammar, whole, start))
          << "grammar " << static_cast<int>(grammar) << ": '" << text << "' of '" << whole << "'";
    }
  }
  EXPECT_GT(moved, 1'000U);
}

// The same in what is mostly marks and symbols, of which a piece may be made without end.
TEST(Split, ResumesInMarksAndSymbols) {
  std::mt19937 chance(14);
  const std::vector<std::string> kinds{"\xCC\x81",
                                       "\xE0\xB8\xB1",
                                       "\xF0\x9F\x99\x82",
                                       "\xE2\x80\x94",
                                       "!",
                                       "/",
                                       "'",
                                       "s",
                                       "a",
                                       "B",
                                       "\xE4\xB8\x80",
                                       " ",
                                       "\n",
                                       "7",
                                       "\xC5\xBF"};
  std::array<std::size_t, kGrammars.size()> moved{};
  for (int round = 0; round < 60'000; ++round) {
    const std::size_t few = 1 + chance() % 3;
    std::string whole;
    while (whole.size() < 2 + chance() % 40) {
      whole += kinds[chance() % 5 == 0 ? chance() % kinds.size() : chance() % few + round % 5];
    }
    const std::string_view text = std::string_view(whole).substr(0, 1 + chance() % whole.size());
    for (const Grammar grammar : kGrammars) {
      std::size_t start = 0;
      while (piece_end(grammar, text, start) < text.size()) start = piece_end(grammar, text, start);
      const std::size_t resume = resume_point(grammar, text, start);
      moved[static_cast<std::size_t>(grammar)] += resume > start ? 1 : 0;
      ASSERT_EQ(piece_end(grammar, whole, resume), piece_end(grammar, whole, start))
          << "grammar " << static_cast<int>(grammar) << ": '" << text << "' of '" << whole << "'";
    }
  }
  for (const std::size_t count : moved) EXPECT_GT(count, 5'000U);
}

// Every code point of the basic plane between others.
TEST(Split, EveryClassOfCharacter) {
  std::string text;
  for (char32_t point = 1; point < 0x10000; ++point) {
    if ((point & 0xF800U) == 0xD800U) continue;
    text += "A";
    text::append_utf8(point, text);
    text += point % 3 == 0 ? "a" : point % 3 == 1 ? "'s" : " x";
  }
  expect_equal(text);
}

}  // namespace
}  // namespace dure::tokenize
