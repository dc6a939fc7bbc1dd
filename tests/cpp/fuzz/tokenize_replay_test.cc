// What fuzzing found, and random texts over the classes of the patterns, without a fuzzer.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "tokenize_rules.h"

namespace dure::tokenize::rules {
namespace {

TEST(TokenizeFuzz, TheCorpusBreaksNoRule) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/fuzz/tokenize")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), {}};
    for (int encoding = 0; encoding < 7; ++encoding) {
      std::string other = input;
      other[0] = static_cast<char>(encoding);
      EXPECT_EQ(broken(other), "") << entry.path();
    }
    ++files;
  }
  EXPECT_GE(files, 20U);
}

constexpr auto kWords = std::to_array<std::string_view>({"a",
                                                         "s",
                                                         "S",
                                                         "A",
                                                         "\xC3\x89",
                                                         "\xC5\xBF",
                                                         "\xC7\x85",
                                                         "\xED\x95\x9C",
                                                         "\xE4\xBA\x9A",
                                                         "\xCC\x81",
                                                         "\xE0\xA5\x8D",
                                                         "0",
                                                         "\xE0\xA5\xAF",
                                                         "\xC2\xBD",
                                                         " ",
                                                         " ",
                                                         "\n",
                                                         "\r\n",
                                                         "\t",
                                                         "\xC2\x85",
                                                         "\xC2\xA0",
                                                         "\xE3\x80\x80",
                                                         "'",
                                                         "'s",
                                                         "'LL",
                                                         "/",
                                                         ".",
                                                         "!",
                                                         "\xF0\x9F\x99\x82",
                                                         "\xE2\x80\x8D",
                                                         "\xF0\xB2\x8E\xB0",
                                                         "<|endoftext|>",
                                                         "<|",
                                                         "\xFF",
                                                         "\xE2\x82",
                                                         "\xF0\x9F",
                                                         "\xED\xA0\x80",
                                                         std::string_view("\0", 1),
                                                         " the",
                                                         "xyz"});

TEST(TokenizeFuzz, TextsOverTheClassesBreakNoRule) {
  std::mt19937 chance(20);
  for (int i = 0; i < 6'000; ++i) {
    std::string input{static_cast<char>(i % 7), static_cast<char>(chance() % 256)};
    for (std::size_t words = chance() % 24; words > 0; --words) {
      const std::string_view word = kWords[chance() % kWords.size()];
      const std::size_t times = chance() % 30 == 0 ? chance() % 70 : 1;
      for (std::size_t time = 0; time < times; ++time) input += word;
    }
    ASSERT_EQ(broken(input), "") << i << ": " << input.substr(2);
  }
}

}  // namespace
}  // namespace dure::tokenize::rules
