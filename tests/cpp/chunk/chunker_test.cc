#include "dure/chunk/chunker.h"

#include <gtest/gtest.h>

#include <string>

#include "chunk/outline.h"
#include "dure/chunk/dedup.h"
#include "dure/chunk/verify.h"

namespace dure::chunk {
namespace {

Options chars(std::size_t max, Mode mode = Mode::kText) {
  Options options;
  options.unit = Unit::kChars;
  options.max = max;
  options.mode = mode;
  return options;
}

Chunks cut(const Options& options, std::string_view text) {
  auto chunks = Chunker::create(options).value().chunk(text).value();
  EXPECT_EQ(verify(chunks, text, options).value(), std::vector<std::string>{});
  return chunks;
}

TEST(Chunker, RefusesWhatCannotWork) {
  EXPECT_EQ(Chunker::create(chars(0)).error().code(), base::Code::kInvalidArgument);
  Options options = chars(10);
  options.overlap = 10;
  EXPECT_EQ(Chunker::create(options).error().message(), "overlap=10 has to be below the cap of 10");
  options = chars(10);
  options.unit = Unit::kTokens;
  EXPECT_FALSE(Chunker::create(options));
  EXPECT_FALSE(mode_of("nope"));
  EXPECT_EQ(mode_of("csv").value(), Mode::kCsv);
}

TEST(Chunker, SaysWhereBytesAreNotUtf8) {
  const auto chunks = Chunker::create(chars(10)).value().chunk("abc\xff");
  ASSERT_FALSE(chunks);
  EXPECT_EQ(std::get<std::int64_t>(*chunks.error().detail("position")), 3);
}

TEST(Chunker, CutsBetweenParagraphsBeforeLines) {
  const std::string text = "one line\nsame paragraph\n\nsecond one\nand its line\n";
  const Chunks chunks = cut(chars(30), text);
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(chunks.span(text, 1), "second one\nand its line");
}

TEST(Chunker, TakesEscapedLineEndsForLines) {
  std::string text = "[{'content': '";
  for (int i = 0; i < 40; ++i)
    text += "Step " + std::to_string(i) + ". Open the page, then go on. It is short.\\n\\n";
  const Chunks chunks = cut(chars(200), text);
  for (std::size_t i = 0; i + 1 < chunks.size(); ++i)
    EXPECT_TRUE(chunks.span(text, i).ends_with("\\n\\n")) << chunks.span(text, i);
  std::string paths;
  for (int i = 0; i < 40; ++i) paths += "see $ \\nabla x and C:/a/\\new for more ";
  const Chunks words = cut(chars(200), paths);
  for (std::size_t i = 0; i < words.size(); ++i)
    EXPECT_FALSE(words.span(paths, i).ends_with("\\n")) << words.span(paths, i);
}

// Many short paragraphs: a chunk takes those of four fifths of the cap at most, not as many as fit.
TEST(Chunker, TakesFewerOfShortParagraphs) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "Paragraph " + std::to_string(i) + " is short.\n\n";
  const Chunks chunks = cut(chars(400), text);
  for (std::size_t i = 0; i + 1 < chunks.size(); ++i) {
    EXPECT_LE(chunks.span(text, i).size(), 320U);
    EXPECT_GE(chunks.span(text, i).size(), 130U);
  }
}

TEST(Chunker, NeverCutsAGraphemeThatFits) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "각👨‍👩‍👧é";
  Options options = chars(7);
  options.trim = false;
  const Chunks chunks = cut(options, text);
  for (std::size_t i = 0; i < chunks.size(); ++i)
    EXPECT_TRUE(text::is_grapheme_boundary(text, static_cast<std::size_t>(chunks.byte_end[i])));
}

TEST(Markdown, FindsHeadingsFencesAndTables) {
  const std::string text =
      "---\ntitle: x\n---\n# A #\n\npara\n\nSetext\n---\n\n~~~~\n# no heading\n```\n~~~~\n"
      "| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nunclosed";
  const auto scanner = scan_markdown(true, true);
  scanner->read(text, true);
  const Outline& outline = scanner->outline();
  ASSERT_EQ(outline.headings.size(), 2U);
  EXPECT_EQ(outline.headings[0].title, "A");
  EXPECT_EQ(outline.headings[1].title, "Setext");
  EXPECT_EQ(outline.headings[1].level, 2);
  ASSERT_EQ(outline.repeats.size(), 1U);
  EXPECT_EQ(outline.repeats[0].header, "| a | b |\n|---|---|\n");
  ASSERT_EQ(outline.atoms.size(), 3U);
  EXPECT_EQ(outline.atoms[2].end, text.size());
}

TEST(Csv, KeepsQuotedLineEndsInTheirRecord) {
  const auto scanner = scan_csv();
  scanner->read("a,b\n1,\"x\ny\"\n2,z", true);
  const Outline& outline = scanner->outline();
  EXPECT_EQ(outline.atoms.size(), 3U);
  EXPECT_EQ(outline.repeats.size(), 1U);
}

TEST(Verify, FindsWhatIsWrong) {
  const std::string text = "one two three four five six seven eight nine ten";
  Chunks chunks = cut(chars(20), text);
  chunks.char_end[0] += 1;
  EXPECT_EQ(verify(chunks, text, chars(20)).value(),
            std::vector<std::string>{"chunk 0: its offsets in bytes and in characters differ"});
}

TEST(Dedup, FindsTheLikeOfALongText) {
  std::string a;
  for (int i = 0; i < 80; ++i) a += "word" + std::to_string(i * 37 % 91) + " ";
  const std::string text = a + "\n\n" + a + "x\n\nsomething else altogether, short";
  const Chunks chunks = cut(chars(a.size() + 5), text);
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(unique_chunks(chunks, text, std::nullopt).size(), 3U);
  EXPECT_EQ(unique_chunks(chunks, text, 0.8), (std::vector<std::size_t>{0, 2}));
}

TEST(Dedup, ReadsTheTextsOfEqualHashes) {
  const std::string text = "first one\n\nother one";
  Chunks chunks = cut(chars(10), text);
  ASSERT_EQ(chunks.size(), 2U);
  chunks.hash64[1] = chunks.hash64[0];
  EXPECT_EQ(unique_chunks(chunks, text, std::nullopt), (std::vector<std::size_t>{0, 1}));
}

// Rows of one form, alike below the threshold: what is compared of each is bounded, and what is
// nearly equal is found among them.
TEST(Dedup, FindsTheNearlyEqualAmongMuchThatIsAlike) {
  const auto row = [](int i) {
    std::string out;
    for (int j = 0; j < 12; ++j)
      out += "field number " + std::to_string(j) + " of it says " +
             std::to_string((i * 7919 + j * 104729) % 900'001) + ", ";
    return out;
  };
  std::string text;
  for (int i = 0; i < 3000; ++i) text += row(i) + "\n";
  std::size_t extra = 0;
  for (int i = 0; i < 3000; i += 100, ++extra) text += row(i) + "x\n";
  Chunks chunks;
  chunks.prefixes.emplace_back();
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    chunks.byte_start.push_back(static_cast<std::int64_t>(at));
    chunks.byte_end.push_back(static_cast<std::int64_t>(text.find('\n', at)));
    chunks.hash64.push_back(at);
    chunks.prefix.push_back(0);
  }
  const std::size_t kept = unique_chunks(chunks, text, 0.95).size();
  EXPECT_GE(kept, 3000U);
  EXPECT_LE(kept, 3000U + extra / 10);
}

}  // namespace
}  // namespace dure::chunk
