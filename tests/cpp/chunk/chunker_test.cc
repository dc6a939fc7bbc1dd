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

TEST(Chunker, NeverCutsAGraphemeThatFits) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "각👨‍👩‍👧é";
  Options options = chars(7);
  options.trim = false;
  const Chunks chunks = cut(options, text);
  for (std::size_t i = 0; i < chunks.size(); ++i)
    EXPECT_TRUE(text::is_grapheme_boundary(text, static_cast<std::size_t>(chunks.byte_end[i])));
}

TEST(Chunker, PartsAreCutAsTheWholeIs) {
  std::string text;
  for (int i = 0; i < 4000; ++i)
    text += "Sentence " + std::to_string(i * 7919 % 1000) + (i % 5 == 0 ? ".\n\n" : ". ");
  Options options = chars(200);
  options.overlap = 50;
  const auto chunker = Chunker::create(options).value();
  const Chunks whole = chunker.chunk(text).value();
  Chunks parts;
  std::size_t previous = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = previous > 1000 ? previous - 1000 : 0;
    const std::string_view window = std::string_view(text).substr(begin, 20000);
    const bool final = begin + window.size() == text.size();
    auto part =
        chunker.chunk_part({window, begin, 0, at - begin, previous - begin, final}, Mode::kText)
            .value();
    ASSERT_GT(begin + part.next, at);
    at = begin + part.next;
    previous = begin + part.previous;
    append(parts, std::move(part.chunks), static_cast<std::int64_t>(begin),
           static_cast<std::int64_t>(begin));
  }
  EXPECT_EQ(parts.byte_start, whole.byte_start);
  EXPECT_EQ(parts.char_end, whole.char_end);
  EXPECT_EQ(parts.hash64, whole.hash64);
}

TEST(Markdown, FindsHeadingsFencesAndTables) {
  const std::string text =
      "---\ntitle: x\n---\n# A #\n\npara\n\nSetext\n---\n\n~~~~\n# no heading\n```\n~~~~\n"
      "| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nunclosed";
  const Outline outline = outline_markdown(text, true, true);
  ASSERT_EQ(outline.headings.size(), 2U);
  EXPECT_EQ(outline.headings[0].title, "A");
  EXPECT_EQ(outline.headings[1].title, "Setext");
  EXPECT_EQ(outline.headings[1].level, 2);
  ASSERT_EQ(outline.repeats.size(), 1U);
  EXPECT_EQ(text.substr(outline.repeats[0].header_start, 9), "| a | b |");
  ASSERT_EQ(outline.atoms.size(), 3U);
  EXPECT_EQ(outline.atoms[2].end, text.size());
}

TEST(Csv, KeepsQuotedLineEndsInTheirRecord) {
  const Outline outline = outline_csv("a,b\n1,\"x\ny\"\n2,z");
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

}  // namespace
}  // namespace dure::chunk
