// Every set of instructions that this machine runs gives the answers of a loop over single bytes.
#include "text/byte_scan.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "dure/text/sentences.h"
#include "dure/text/utf8.h"
#include "text/break_classes.h"

namespace dure::text {
namespace {

std::vector<const ByteScan*> machine_sets() {
  std::vector<const ByteScan*> sets;
  for (const Simd simd : {Simd::kScalar, Simd::kAvx2, Simd::kAvx512})
    if (const ByteScan* one = byte_scan_of(simd)) sets.push_back(one);
  return sets;
}

const std::vector<std::string> kAtoms{
    "a",      "word ", ". ",  "!",  "?",  "\n",      "\r",    "그렇다 ", "가", "고 ",
    "이 ",    "ㅎㅎ ", "~ ",  "^ ", "。", "か",      "한",    "ꓸ",       "꘎",  "é",
    "\u0085", "…",     "“",   "」", "😀", "\u061D",  "¡",     "다 ",     "요", " ",
    "  ",     "힣",    "힣 ", "꯫ ", "Z ", "(a) [b]", "\u2029"};

std::string random_text(std::mt19937_64& chance, std::size_t atoms) {
  std::string text;
  const bool plain = chance() % 3 == 0;
  while (atoms-- > 0) text += kAtoms[chance() % (plain ? 7 : kAtoms.size())];
  return text;
}

std::size_t count_by_bytes(std::string_view text) {
  std::size_t count = 0;
  for (const char byte : text) count += is_continuation(byte) ? 0 : 1;
  return count;
}

TEST(ByteScan, AllSetsOfInstructionsAgree) {
  std::mt19937_64 chance(7);
  const ByteScan& scalar = *byte_scan_of(Simd::kScalar);
  const ByteSet marks = byte_set("\"'(\xE2\xE3\xF0");
  for (int n = 0; n < 3000; ++n) {
    const std::string text = random_text(chance, 1 + chance() % 90);
    for (const ByteScan* set : machine_sets()) {
      SCOPED_TRACE(set->name);
      ASSERT_EQ(set->count(text), count_by_bytes(text));
      for (std::size_t from = 0; from <= text.size(); from += 1 + chance() % 5) {
        const std::size_t end = from + chance() % (text.size() - from + 1);
        ASSERT_EQ(set->find(marks, text, from, end), scalar.find(marks, text, from, end));
        ASSERT_EQ(set->find_end_mark(text, from, end), scalar.find_end_mark(text, from, end));
        ASSERT_EQ(set->find_word_end(text, from, end), scalar.find_word_end(text, from, end));
      }
    }
  }
}

TEST(ByteScan, FindsWhatALoopFinds) {
  std::mt19937_64 chance(8);
  const ByteSet marks = byte_set(".\xEA");
  for (int n = 0; n < 500; ++n) {
    const std::string text = random_text(chance, 60);
    for (const ByteScan* set : machine_sets())
      for (std::size_t from = 0; from < text.size(); ++from)
        ASSERT_EQ(set->find(marks, text, from, text.size()),
                  std::min(text.size(), text.find_first_of(".\xEA", from)));
  }
}

// The marks are first bytes; none that ends a sentence may be missing.
TEST(ByteScan, EveryEndMarkOfUnicodeIsFound) {
  for (char32_t c = 1; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const Sentence kind = sentence_class(c);
    const bool ends = kind == Sentence::kATerm || kind == Sentence::kSTerm ||
                      kind == Sentence::kSep || kind == Sentence::kCr || kind == Sentence::kLf;
    if (!ends) continue;
    std::string text(70, 'x');
    append_utf8(c, text);
    text.append(70, 'x');
    for (const ByteScan* set : machine_sets())
      ASSERT_EQ(set->find_end_mark(text, 0, text.size()), 70U) << std::hex << std::uint32_t{c};
  }
}

TEST(BreakClasses, AsciiIsThatOfTheTable) {
  for (char32_t c = 0; c < 128; ++c)
    EXPECT_EQ(static_cast<int>(sentence_class(c)), break_class(c) >> 4) << std::uint32_t{c};
}

std::size_t valid_by_decoding(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const CodePoint point = decode_at(bytes, at);
    if (point.value == kInvalid) break;
    at += point.length;
  }
  return at;
}

TEST(ByteScan, ChecksUtf8AsTheDecoderDoes) {
  std::mt19937_64 chance(9);
  for (int n = 0; n < 20000; ++n) {
    std::string bytes = random_text(chance, 1 + chance() % 60);
    for (std::uint64_t edits = chance() % 3; edits > 0; --edits)
      bytes[chance() % bytes.size()] = static_cast<char>(chance());
    if (chance() % 3 == 0) bytes.resize(chance() % bytes.size());
    const std::size_t valid = valid_by_decoding(bytes);
    ASSERT_EQ(valid_prefix(bytes), valid);
    for (const ByteScan* set : machine_sets()) {
      const std::size_t checked = set->check(bytes);
      SCOPED_TRACE(set->name);
      ASSERT_LE(checked, valid + 3);
      ASSERT_GE(checked + 64 + 3, valid);
    }
  }
}

// Every pair of bytes, and every third and fourth byte after the leads that are special.
TEST(ByteScan, ChecksAllShortSequences) {
  const std::string around(40, 'x');
  std::vector<std::string> cases;
  for (int a = 0x80; a < 256; ++a)
    for (int b = 0; b < 256; ++b) {
      const std::string pair{static_cast<char>(a), static_cast<char>(b)};
      for (const char* tail : {"", "\x80", "\x80\x80", "\xBF\xBF", "\x80\x80\x80", "\xC3\xA9"})
        cases.push_back(pair + tail);
    }
  for (const std::string& one : cases) {
    const std::string text = around + one + around;
    const std::size_t valid = valid_by_decoding(text);
    ASSERT_EQ(valid_prefix(text), valid);
    for (const ByteScan* set : machine_sets()) {
      const std::size_t checked = set->check(text);
      ASSERT_GE(checked + 64 + 3, valid) << set->name;
      ASSERT_LE(checked, valid + 3) << set->name;
    }
  }
}

TEST(CharOffsets, AreThoseOfALoop) {
  std::mt19937_64 chance(10);
  for (int n = 0; n < 60; ++n) {
    const std::string text = random_text(chance, 1 + chance() % 1200);
    const CharOffsets offsets(text);
    std::vector<std::size_t> starts;
    for (std::size_t at = 0; at < text.size(); ++at)
      if (!is_continuation(text[at])) starts.push_back(at);
    starts.push_back(text.size());
    ASSERT_EQ(offsets.size() + 1, starts.size());
    for (std::size_t i = 0; i < starts.size(); ++i) {
      ASSERT_EQ(offsets.to_byte(i), starts[i]);
      ASSERT_EQ(offsets.to_char(starts[i]), i);
    }
  }
}

TEST(KoreanSentences, LinearOnNewlinesSpacesAndQuotations) {
  for (const char* atom : {"\n", " ", "\"a.\"라고 ", "\"가. ", "ㅎㅎ ", "1. ", "~ ", "[1. "}) {
    std::string text;
    while (text.size() < 2'000'000) text += atom;
    EXPECT_EQ(sentence_ends(text, SentenceRules::kKorean).back(), text.size()) << atom;
  }
}

}  // namespace
}  // namespace dure::text
