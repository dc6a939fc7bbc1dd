// A text that is seen window by window is cut as the whole is: every mode, every kind of place that
// an edge of a window can fall on.
#include "dure/chunk/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "dure/chunk/verify.h"

namespace dure::chunk {
namespace {

constexpr std::array kModes{Mode::kText, Mode::kMarkdown, Mode::kHtml, Mode::kCode,
                            Mode::kCsv,  Mode::kJsonl,    Mode::kPage, Mode::kDelimiter};

const std::vector<std::string> kAtoms{
    "word ",
    "The cat sat. ",
    "안녕하세요 여러분. ",
    "갔습니다 ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "# Title\n",
    "## 둘\n\n",
    "### three\n",
    "Setext\n===\n",
    "line\nof it\n---\n",
    "---\n",
    "```py\nx = 1\n",
    "```\n",
    "~~~\n",
    "    indented\n",
    "- item\n",
    "1. one\n",
    "> quote\n",
    "| a | b |\n|---|---|\n",
    "| 1 | 2 |\n",
    "<p>x</p>",
    "<h2>T</h2>",
    "<table><tr><th>a</th></tr>",
    "<tr><td>1</td></tr>",
    "</table>",
    "<pre>",
    "</pre>",
    "<!-- a",
    "-->",
    "<script>if (a<b) {",
    "</script>",
    "<thead>",
    "</thead>",
    "def f():\n    return 1\n\n",
    "class A {\n}\n",
    "\"x, y\",1\n",
    "\"open ",
    "a,b\n",
    "{\"a\": [1, 2]}\n",
    "a;b|c\n",
    "\f",
    "👨\u200d👩\u200d👧",
    "e\u0301",
    "\u3000",
    "<|endoftext|>",
};

std::string text_of(std::mt19937& chance, std::size_t size) {
  std::string text = chance() % 4 == 0 ? "---\ntitle: x\n---\n" : "";
  while (text.size() < size) {
    const std::string& atom = kAtoms[chance() % kAtoms.size()];
    const std::size_t times = chance() % 40 == 0 ? 1 + chance() % 400 : 1;  // a long table, fence
    for (std::size_t i = 0; i < times; ++i) text += atom;
  }
  return text;
}

Chunks streamed(const Chunker& chunker, std::string_view text, std::size_t window,
                std::size_t batch) {
  Stream stream(chunker, Mode::kText, text.size(), window);
  Chunks out;
  for (bool done = false; !done;) {
    while (stream.ready() < batch && !stream.done()) {
      const auto [begin, size] = stream.wants();
      const std::string bytes(text.substr(begin, size));  // nothing else may be looked at
      const base::Status status = stream.feed(bytes);
      EXPECT_TRUE(status.ok()) << status.message();
    }
    Chunks rows = stream.take(batch);
    EXPECT_LE(rows.size(), batch);
    done = rows.size() < batch;
    append(out, std::move(rows), 0, 0);
  }
  return out;
}

void expect_same(const Chunks& parts, const Chunks& whole, const std::string& what) {
  ASSERT_EQ(parts.byte_start, whole.byte_start) << what;
  ASSERT_EQ(parts.byte_end, whole.byte_end) << what;
  ASSERT_EQ(parts.body_start, whole.body_start) << what;
  ASSERT_EQ(parts.char_start, whole.char_start) << what;
  ASSERT_EQ(parts.char_end, whole.char_end) << what;
  ASSERT_EQ(parts.page, whole.page) << what;
  for (std::size_t i = 0; i < whole.size(); ++i)
    ASSERT_EQ(parts.prefixes[parts.prefix[i]].text, whole.prefixes[whole.prefix[i]].text) << what;
  ASSERT_EQ(parts.hash64, whole.hash64) << what;
}

class Streams : public testing::TestWithParam<Mode> {};

TEST_P(Streams, CutAsTheWholeIs) {
  for (unsigned seed = 0; seed < 24; ++seed) {
    std::mt19937 chance(seed);
    const std::string text = text_of(chance, 60'000 + chance() % 150'000);
    Options options;
    options.unit = seed % 3 == 0 ? Unit::kBytes : Unit::kChars;
    options.max = std::vector<std::size_t>{30, 200, 800, 3000}[chance() % 4];
    options.overlap = seed % 2 == 0 ? 0 : options.max / 5;
    options.trim = chance() % 3 != 0;
    options.stable = chance() % 4 != 0;
    options.heading_path = chance() % 5 != 0;
    options.keep_tables = chance() % 4 != 0;
    options.mode = GetParam();
    const auto chunker = Chunker::create(options).value();
    const Chunks whole = chunker.chunk(text).value();
    ASSERT_EQ(verify(whole, text, options).value(), std::vector<std::string>{});
    const std::size_t window = 9000 + chance() % 20'000;
    const std::size_t batch = std::vector<std::size_t>{1, 7, 100'000}[chance() % 3];
    expect_same(streamed(chunker, text, window, batch), whole, "seed " + std::to_string(seed));
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(OfEachMode, Streams, testing::ValuesIn(kModes));

Options chars(std::size_t max, Mode mode) {
  Options options;
  options.unit = Unit::kChars;
  options.max = max;
  options.mode = mode;
  return options;
}

// The largest window that was asked for.
std::size_t largest_window(const Chunker& chunker, std::string_view text, std::size_t window) {
  Stream stream(chunker, Mode::kText, text.size(), window);
  std::size_t largest = 0;
  while (!stream.done()) {
    const auto [begin, size] = stream.wants();
    largest = std::max(largest, size);
    EXPECT_TRUE(stream.feed(text.substr(begin, size)).ok());
    (void)stream.take(stream.ready());
  }
  return largest;
}

// What never ends needs no window that grows with it.
TEST(Streams, TakeEndlessBlocksInTheirWindow) {
  std::string rows;
  for (int i = 0; i < 60'000; ++i) rows += "| " + std::to_string(i) + " | x, y |\n";
  const std::vector<std::pair<Mode, std::string>> texts{
      {Mode::kMarkdown, "| a | b |\n|---|---|\n" + rows},
      {Mode::kMarkdown, "```\n" + rows},
      {Mode::kMarkdown, "- " + rows},
      {Mode::kMarkdown, std::string(1'000'000, 'x') + "\n" + rows},
      {Mode::kCsv, "a,\"b\n" + rows},
      {Mode::kCsv, "a,b\n" + rows},
      {Mode::kJsonl, std::string(1'000'000, '1')},
      {Mode::kCode, rows},
      {Mode::kHtml, "<table><tr><th>a</th></tr>" + rows + rows},
      {Mode::kHtml, "<!-- " + rows},
      {Mode::kPage, rows},
      {Mode::kText, std::string(1'000'000, '\n') + "x"},
      {Mode::kText, "words " + std::string(1'000'000, ' ') + "x"},
  };
  for (const auto& [mode, text] : texts) {
    const auto chunker = Chunker::create(chars(500, mode)).value();
    const std::size_t window = mode == Mode::kHtml ? 1'200'000 : 200'000;
    EXPECT_LT(largest_window(chunker, text, window), window + 60'000) << text.substr(0, 20);
  }
}

TEST(Streams, NamePlacesInTheWholeText) {
  const std::string text = std::string(50'000, 'a') + "\n\xff" + std::string(50'000, 'b');
  const auto chunker = Chunker::create(chars(100, Mode::kText)).value();
  Stream stream(chunker, Mode::kText, text.size(), 9'000);
  base::Status status;
  while (status.ok() && !stream.done()) {
    const auto [begin, size] = stream.wants();
    status = stream.feed(std::string_view(text).substr(begin, size));
  }
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(std::get<std::int64_t>(*status.detail("position")), 50'001);
}

}  // namespace
}  // namespace dure::chunk
