// The conformance files of Unicode 15.0 (Debian's unicode-data): every line, no exception.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "dure/text/sentences.h"
#include "dure/text/utf8.h"

namespace dure::text {
namespace {

struct Case {
  std::string line;
  std::string text;
  std::vector<std::size_t> ends;
};

// Surrogates stand in some lines of the grapheme file and cannot be written in UTF-8: skipped.
std::vector<Case> read_cases(const std::string& name) {
  std::vector<Case> cases;
  std::ifstream file("/usr/share/unicode/auxiliary/" + name);
  for (std::string line; std::getline(file, line);) {
    const std::string data = line.substr(0, line.find('#'));
    if (data.find_first_not_of(" \t\r") == std::string::npos) continue;
    Case one{line, {}, {}};
    std::istringstream words(data);
    bool surrogate = false;
    for (std::string word; words >> word;) {
      if (word == "÷") {
        if (!one.text.empty()) one.ends.push_back(one.text.size());
      } else if (word != "×") {
        const unsigned long point = std::strtoul(word.c_str(), nullptr, 16);
        if (point >= 0xD800 && point < 0xE000) {
          surrogate = true;
          continue;
        }
        append_utf8(static_cast<char32_t>(point), one.text);
      }
    }
    if (!surrogate) cases.push_back(std::move(one));
  }
  return cases;
}

std::vector<std::size_t> grapheme_ends(std::string_view text) {
  std::vector<std::size_t> ends;
  for (std::size_t at = 0; at < text.size();) ends.push_back(at = next_grapheme(text, at));
  return ends;
}

TEST(GraphemeBreak, PassesTheConformanceFile) {
  const auto cases = read_cases("GraphemeBreakTest.txt");
  if (cases.empty()) GTEST_SKIP() << "install Debian's unicode-data";
  EXPECT_GT(cases.size(), 590U);
  for (const Case& one : cases) EXPECT_EQ(grapheme_ends(one.text), one.ends) << one.line;
}

TEST(SentenceBreak, PassesTheConformanceFile) {
  const auto cases = read_cases("SentenceBreakTest.txt");
  if (cases.empty()) GTEST_SKIP() << "install Debian's unicode-data";
  EXPECT_GT(cases.size(), 490U);
  for (const Case& one : cases)
    EXPECT_EQ(sentence_ends(one.text, SentenceRules::kUax29), one.ends) << one.line;
}

TEST(GraphemeBreak, FloorNeverCutsAFamilyOrAFlag) {
  const std::string family = "a👨‍👩‍👧b🇰🇷🇺🇸";
  EXPECT_EQ(grapheme_floor(family, family.find("👩")), 1U);
  const std::size_t flags = family.find("🇰");
  EXPECT_EQ(grapheme_floor(family, flags + 4), flags);
  EXPECT_EQ(grapheme_floor(family, flags + 8), flags + 8);
  EXPECT_EQ(grapheme_floor(family, flags + 12), flags + 8);
}

TEST(GraphemeBreak, KeepsJamoCombiningMarksAndCrLfTogether) {
  EXPECT_EQ(grapheme_ends("각").size(), 1U);
  EXPECT_EQ(grapheme_ends("e\u0301x").size(), 2U);
  EXPECT_EQ(grapheme_ends("\r\n\n").size(), 2U);
}

std::vector<std::string> split(std::string_view text, SentenceRules rules) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (const std::size_t end : sentence_ends(text, rules)) {
    parts.emplace_back(text.substr(start, end - start));
    start = end;
  }
  return parts;
}

TEST(KoreanSentences, EndWithoutPunctuation) {
  EXPECT_EQ(split("밥을 먹었어요 그리고 잤다 끝", SentenceRules::kKorean),
            (std::vector<std::string>{"밥을 먹었어요 ", "그리고 잤다 ", "끝"}));
}

TEST(KoreanSentences, EndInTheWaysOfSpeech) {
  EXPECT_EQ(split("비가 왔지 그래서 갔나 보다 늦게 왔더라고 참 우습재 집에 있었제 끝",
                  SentenceRules::kKorean),
            (std::vector<std::string>{"비가 왔지 ", "그래서 갔나 보다 늦게 왔더라고 ",
                                      "참 우습재 집에 있었제 ", "끝"}));
  EXPECT_EQ(split("코드라고 하는 것 갔지 않다 간다 했다 끝", SentenceRules::kKorean),
            (std::vector<std::string>{"코드라고 하는 것 갔지 않다 ", "간다 했다 ", "끝"}));
}

TEST(KoreanSentences, EndInNotesBeforeAClause) {
  EXPECT_EQ(
      split("오늘 퇴근함 그런데 비가 옴 기분 좋음 그리고 배고픔", SentenceRules::kKorean),
      (std::vector<std::string>{"오늘 퇴근함 ", "그런데 비가 옴 기분 좋음 ", "그리고 배고픔"}));
  for (const char* whole : {"모임 장소를 찾음", "책임 소재와 게임 회사", "믿음 그리고 사랑",
                            "다음 날 처음 만남", "포함 그리고 제외"})
    EXPECT_EQ(split(whole, SentenceRules::kKorean), std::vector<std::string>{whole});
}

TEST(KoreanSentences, EndWithAnEllipsis) {
  EXPECT_EQ(split("오늘은 끝…내일은 시작…… 그다음은 모른다", SentenceRules::kKorean),
            (std::vector<std::string>{"오늘은 끝…", "내일은 시작…… ", "그다음은 모른다"}));
  for (const char* whole : {"긴장이 감돌았다…는 것은 과장", "“글쎄…”라고 했다", "1…2…3"})
    EXPECT_EQ(split(whole, SentenceRules::kKorean), std::vector<std::string>{whole});
  EXPECT_EQ(split("wait… for it… OK", SentenceRules::kKorean).size(), 1U);
}

TEST(KoreanSentences, GoOnAfterNumbers) {
  for (const char* whole :
       {"제2. 5조는 그대로 둔다", "2024. 3. 1. 시행하는 법", "가격은 3. 5만 원"})
    EXPECT_EQ(split(whole, SentenceRules::kKorean), std::vector<std::string>{whole});
  EXPECT_EQ(split("그것은 제2. 다음은 없다", SentenceRules::kKorean).size(), 2U);
  EXPECT_EQ(split("It was 1999. 3 Men came.", SentenceRules::kKorean).size(), 2U);
}

// 。！？ and the half-width ｡ end a sentence without a space after them.
TEST(CjkSentences, EndWithoutASpace) {
  EXPECT_EQ(split("中文。下一句！真的？对｡好", SentenceRules::kKorean),
            (std::vector<std::string>{"中文。", "下一句！", "真的？", "对｡", "好"}));
  EXPECT_EQ(split("猫が好き。犬も？はい！", SentenceRules::kUax29),
            (std::vector<std::string>{"猫が好き。", "犬も？", "はい！"}));
}

TEST(KoreanSentences, KeepAQuotationWhole) {
  const std::string text = "그는 \"좋다. 가자\"라고 말했다. 나도 갔다.";
  EXPECT_EQ(split(text, SentenceRules::kKorean),
            (std::vector<std::string>{"그는 \"좋다. 가자\"라고 말했다. ", "나도 갔다."}));
}

TEST(KoreanSentences, EnglishIsAsTheStandardSays) {
  const std::string text = "Dr. Kim paid 3.50 dollars. \"Fine,\" he said. It was late.";
  EXPECT_EQ(sentence_ends(text, SentenceRules::kKorean),
            sentence_ends(text, SentenceRules::kUax29));
}

TEST(SentenceBreak, LinearOnTerminatorsWithoutLetters) {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "1. ((";
  EXPECT_FALSE(sentence_ends(text, SentenceRules::kUax29).empty());
  EXPECT_FALSE(sentence_ends(text, SentenceRules::kKorean).empty());
}

}  // namespace
}  // namespace dure::text
