#include <gtest/gtest.h>

#include <limits>

#include "json/reader.h"
#include "json/writer.h"

namespace dure::json {
namespace {

TEST(JsonReader, FollowsPathsAndAnswersMissing) {
  Parser parser;
  const Value root =
      parser.parse(R"({"a":[{"b":"x"},2],"n":null,"r":1.5,"i":7,"w":3.0,"t":true})").value();
  EXPECT_EQ(root["a"][std::size_t{0}]["b"].string_or(""), "x");
  EXPECT_TRUE(root["a"][9]["b"].missing());
  EXPECT_TRUE(root["n"].absent());
  EXPECT_FALSE(root["n"].missing());
  EXPECT_EQ(root["i"].integer(), 7);
  EXPECT_EQ(root["w"].integer(), 3);
  EXPECT_EQ(root["r"].integer(), std::nullopt);
  EXPECT_EQ(root["r"].number(), 1.5);
  EXPECT_EQ(root["t"].boolean(), true);
  EXPECT_EQ(root["i"].string(), std::nullopt);
  EXPECT_EQ(root.members().size(), 6U);
  EXPECT_EQ(root["a"].text(), R"([{"b":"x"},2])");
}

TEST(JsonReader, RefusesWhatIsNoJson) {
  Parser parser;
  for (const char* text : {"", "{", "{\"a\":}", "<html>", "[1,]", "{} {}", "\"\xff\"", "NaN"}) {
    const auto result = parser.parse(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code(), base::Code::kInvalidArgument) << text;
  }
  EXPECT_EQ(parser.parse("[1]").value()[std::size_t{0}].integer(), 1) << "usable after a failure";
}

TEST(JsonReader, WideNumbersDoNotMakeTheRestUnreadable) {
  Parser parser;
  const Value root = parser
                         .parse(R"({"s":"9\"18446744073709551616","most":18446744073709551615,)"
                                R"("wide":18446744073709551616,"low":-9223372036854775809,)"
                                R"("real":-1e999,"tiny":1e-999,"plain":[7,0.5,-2],"end":true})")
                         .value();
  EXPECT_EQ(root["s"].string(), "9\"18446744073709551616");
  EXPECT_EQ(root["most"].kind(), Kind::kInteger);
  EXPECT_EQ(root["wide"].kind(), Kind::kReal);
  EXPECT_EQ(root["wide"].number(), 0x1.0p64);
  EXPECT_EQ(root["wide"].integer(), std::nullopt);
  EXPECT_EQ(root["low"].number(), -0x1.0p63);
  EXPECT_EQ(root["real"].number(), std::numeric_limits<double>::lowest());
  EXPECT_EQ(root["plain"].text(), "[7,0.5,-2]");
  EXPECT_EQ(root["end"].boolean(), true);
  EXPECT_EQ(parser.parse(std::string(400, '9')).value().number(),
            std::numeric_limits<double>::max());
  for (const char* text : {"[01]", "[-]", "[1.]", "[.5]", "[1e]", "[+1]",
                           "[18446744073709551616,01]", "[18446744073709551616"}) {
    EXPECT_FALSE(parser.parse(text)) << text;
  }
}

TEST(JsonReader, RefusesDeepAndLongTexts) {
  Parser parser;
  EXPECT_TRUE(parser.parse(std::string(200, '[') + std::string(200, ']')));
  EXPECT_FALSE(parser.parse(std::string(400, '[') + std::string(400, ']')));
  Parser small(16);
  EXPECT_FALSE(small.parse("[1,2,3,4,5,6,7,8,9,10]"));
}

TEST(JsonReader, FindsKeysWrittenTwice) {
  Parser parser;
  const auto find = [&](const std::string& text) {
    return find_duplicate(parser.parse(text).value()).value_or("none");
  };
  EXPECT_EQ(find("1"), "none");
  EXPECT_EQ(find(R"({"a":{"b":1},"b":[{"a":1},{"a":2}]})"), "none");
  EXPECT_EQ(find(R"({"a":1,"A":2,"a ":3})"), "none");
  EXPECT_EQ(find(R"({"a":1,"b":2,"\u0061":3})"), "a");
  EXPECT_EQ(find(R"({"":1,"":2})"), "");
  EXPECT_EQ(find(R"([[0,{"a":{"b":1,"b":1}}]])"), "[0][1].a.b");
  std::string many = "{";
  for (int i = 0; i < 50'000; ++i) many += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_EQ(find(many + R"("k":0})"), "none");
  EXPECT_EQ(find(many + R"("k777":0})"), "k777");
  for (int keys = 1; keys < 40; ++keys) {
    std::string text = "{";
    for (int i = 0; i < keys; ++i) text += "\"k" + std::to_string(i) + "\":0,";
    EXPECT_EQ(find(text + R"("x":0})"), "none") << keys;
    EXPECT_EQ(find(text + R"("k0":0})"), "k0") << keys;
  }
}

TEST(JsonWriter, WritesWhatTheReaderReads) {
  std::string text = "plain 한글 \"q\" \\ \n\t\x01\x1f end";
  text.push_back('\0');
  for (int shift = 0; shift < 9; ++shift) {  // every alignment of the 8-byte scan
    const std::string shifted = std::string(static_cast<std::size_t>(shift), 'x') + text;
    Writer out;
    out.begin_object();
    out.key("s\n");
    out.string(shifted);
    out.key("list");
    out.begin_array();
    out.integer(std::numeric_limits<std::int64_t>::min());
    out.real(0.1);
    out.real(1.0);
    out.boolean(false);
    out.null();
    out.begin_object();
    out.end_object();
    out.end_array();
    out.end_object();
    Parser parser;
    const Value root = parser.parse(out.text()).value();
    EXPECT_EQ(root["s\n"].string_or(""), shifted);
    EXPECT_EQ(root["list"].text(), "[-9223372036854775808,0.1,1.0,false,null,{}]");
  }
}

TEST(JsonWriter, EscapesEveryByteBelowSpace) {
  for (int c = 0; c < 0x80; ++c) {
    const std::string text(11, static_cast<char>(c));
    std::string out;
    append_quoted(out, text);
    Parser parser;
    EXPECT_EQ(parser.parse(out).value().string_or("?"), text) << c;
  }
}

}  // namespace
}  // namespace dure::json
