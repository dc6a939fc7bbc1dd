#include "dure/text/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dure/text/transcode.h"
#include "dure/text/unicode_class.h"

namespace dure::text {
namespace {

TEST(Utf8, EveryScalarComesBack) {
  for (char32_t value = 0; value < 0x110000; ++value) {
    if (value >= 0xD800 && value < 0xE000) continue;
    std::string bytes;
    append_utf8(value, bytes);
    const CodePoint point = decode_at(bytes, 0);
    ASSERT_EQ(point.value, value);
    ASSERT_EQ(point.length, bytes.size());
    ASSERT_TRUE(is_valid(bytes));
    ASSERT_EQ(count_code_points(bytes), 1U);
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      ASSERT_EQ(complete_prefix("a" + bytes.substr(0, cut)), 1U);
    }
  }
}

// Unicode 16.0, table 3-8: one U+FFFD for each maximal subpart.
TEST(Utf8, ReplacesMaximalSubparts) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                            "A"),
            bad + bad + bad + bad + bad + bad + bad + bad + "A");
  EXPECT_EQ(replace_invalid("\xED\xA0\x80"
                            "B"),
            bad + bad + bad + "B");
  EXPECT_EQ(replace_invalid("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                            "C"),
            bad + bad + bad + bad + "C");
  EXPECT_EQ(replace_invalid("plain \xEA\xB0\x80"), "plain \xEA\xB0\x80");
}

TEST(Utf8, IllFormedBytesAreOneEach) {
  for (const std::string_view bad : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                                     "\xF4\x90\x80\x80", "\xF8\x88\x80\x80", "\xE2\x82"}) {
    EXPECT_EQ(decode_at(bad, 0).value, kInvalid);
    EXPECT_EQ(decode_at(bad, 0).length, 1U);
    EXPECT_EQ(valid_prefix(bad), 0U);
  }
}

TEST(CharOffsets, AreTheCountOfEachPrefix) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "a\xEA\xB0\x80\xF0\x9F\x99\x82\xC3\xA9";
  const CharOffsets offsets(text);
  ASSERT_EQ(offsets.size(), 400U);
  std::size_t byte = 0;
  for (std::size_t index = 0; index < offsets.size(); ++index) {
    ASSERT_EQ(offsets.to_byte(index), byte);
    ASSERT_EQ(offsets.to_char(byte), index);
    byte += decode_at(text, byte).length;
  }
  EXPECT_EQ(offsets.to_byte(400), text.size());
  EXPECT_EQ(offsets.to_char(text.size()), 400U);
}

TEST(Transcode, WritesUtf8OfEachWidthAndStopsAtSurrogates) {
  const std::vector<std::uint8_t> latin{'a', 0xE9, 0xFF};
  const std::vector<std::uint16_t> two{'a', 0xAC00, 0xD800, 'b'};
  const std::vector<std::uint32_t> four{0x1F642, 0x10FFFF};
  std::string out(64, '\0');
  Transcoded done = to_utf8({latin.data(), latin.size(), 1, false}, 0, 3, out.data());
  EXPECT_EQ(out.substr(0, done.written), "a\xC3\xA9\xC3\xBF");
  done = to_utf8({two.data(), two.size(), 2, false}, 0, 4, out.data());
  EXPECT_EQ(done.read, 2U);
  EXPECT_EQ(out.substr(0, done.written), "a\xEA\xB0\x80");
  done = to_utf8({four.data(), four.size(), 4, false}, 1, 1, out.data());
  EXPECT_EQ(out.substr(0, done.written), "\xF4\x8F\xBF\xBF");
}

TEST(UnicodeClass, IsThatOfVersion16) {
  std::size_t letters = 0;
  std::size_t numbers = 0;
  std::size_t spaces = 0;
  for (char32_t value = 0; value < 0x110000; ++value) {
    letters += is_letter(value) ? 1U : 0U;
    numbers += is_number(value) ? 1U : 0U;
    spaces += is_space(value) ? 1U : 0U;
  }
  EXPECT_EQ(letters, 141'028U);
  EXPECT_EQ(numbers, 1'911U);
  EXPECT_EQ(spaces, 25U);
  EXPECT_FALSE(is_letter(char32_t{0x323B0}));  // a letter in Unicode 17
  EXPECT_EQ(class_of(0x0301), CharClass::kMark);
  EXPECT_EQ(class_of(0x01C5), CharClass::kUpper);
  EXPECT_EQ(class_of(kInvalid), CharClass::kSymbol);
}

}  // namespace
}  // namespace dure::text
