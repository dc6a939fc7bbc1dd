#include "dure/tokenize/encoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dure/base/cancel.h"
#include "dure/tokenize/bpe.h"
#include "dure/tokenize/counter.h"

namespace dure::tokenize {
namespace {

using Ids = std::vector<Rank>;

const Encoding& encoding(std::string_view name) { return *Encoding::get(name).value(); }

Ids encode(std::string_view name, std::string_view text) {
  Ids ids;
  encoding(name).encode_ordinary(text, ids);
  return ids;
}

TEST(Encoding, GivesTheIdsOfTiktoken) {
  EXPECT_EQ(encode("gpt2", "hello world"), (Ids{31373, 995}));
  EXPECT_EQ(encode("cl100k_base", "hello world"), (Ids{15339, 1917}));
  EXPECT_EQ(encode("cl100k_base",
                   " \xC2\x85"
                   "0"),
            (Ids{220, 126, 227, 15}));
  EXPECT_EQ(encode("o200k_base", " I'\xC5\xBF"), (Ids{3413, 70067}));
  const Ids unassigned = encode("cl100k_base", "\xF0\xB2\x8E\xB0's");  // a letter in Unicode 17
  EXPECT_EQ(Ids(unassigned.end() - 2, unassigned.end()), (Ids{6, 82}));
}

TEST(Encoding, NamesWhatThereIsForAnUnknownName) {
  const auto result = Encoding::get("o300k");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), base::Code::kInvalidArgument);
  EXPECT_NE(result.error().message().find("o200k_base"), std::string::npos);
}

TEST(Encoding, ComesBackToTheSameBytes) {
  const std::string text =
      "Hangul \xED\x95\x9C\xEA\xB8\x80, \xF0\x9F\x99\x82 and\r\n\r\n  code();  ";
  for (const std::string_view name : Encoding::names()) {
    EXPECT_EQ(encoding(name).decode(encode(name, text)).value(), text) << name;
    EXPECT_EQ(encoding(name).count(text), encode(name, text).size()) << name;
  }
}

TEST(Encoding, SpecialTokensOnlyWhereAllowed) {
  const Encoding& gpt2 = encoding("gpt2");
  Ids ids;
  gpt2.encode("a<|endoftext|>b", [](std::string_view) { return true; }, ids);
  EXPECT_EQ(ids, (Ids{64, 50256, 65}));
  Ids plain;
  gpt2.encode("a<|endoftext|>b", [](std::string_view) { return false; }, plain);
  EXPECT_EQ(plain, encode("gpt2", "a<|endoftext|>b"));
}

TEST(Encoding, AnIdWithTwoNamesDecodesToEndOfPrompt) {
  EXPECT_EQ(encoding("o200k_harmony").token_bytes(200018), "<|endofprompt|>");
  EXPECT_EQ(encoding("o200k_harmony").max_token_value(), 201087U);
}

// Words are looked up and merged many at a time, new and known ones side by side: each must come
// out as it would alone.
TEST(Encoding, ManyWordsAtOnceAreMergedAsEachAlone) {
  std::mt19937 chance(9);
  const std::vector<std::string> letters{
      "a",        "e",       "t", "q", "z", "E", "\xED\x95\x9C", "\xEA\xB5\xAD", "\xEC\x9D\x98",
      "\xC3\xA9", "\xD0\xB6"};
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    const Encoding& one = encoding(name);
    std::string text;
    for (int i = 0; i < 4'000; ++i) {
      const std::size_t length = 1 + chance() % 40;
      std::string word = chance() % 4 == 0 ? " the" : " ";
      while (word.size() < length) word += letters[chance() % letters.size()];
      text += word;
      if (chance() % 3 == 0) text += word;  // again, often in the same batch
    }
    Ids wanted;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = piece_end(one.grammar(), text, at);
      merge_piece_slowly(one.vocab(), std::string_view(text).substr(at, end - at), wanted);
      at = end;
    }
    for (int round = 0; round < 3; ++round) {  // new, known, and half forgotten
      EXPECT_EQ(encode(name, text), wanted) << name << " " << round;
      EXPECT_EQ(one.count(text), wanted.size()) << name << " " << round;
      EXPECT_EQ(PrefixCounts(one, text).total(), wanted.size()) << name << " " << round;
      if (round == 1) Encoding::forget_merges();
    }
  }
}

TEST(Encoding, UnknownIdSaysWhich) {
  const auto result = encoding("p50k_base").decode(Ids{1, 60000});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "Invalid token for decoding: 60000");
}

TEST(Encoding, EmptyTextHasNoTokens) {
  EXPECT_TRUE(encode("o200k_base", "").empty());
  EXPECT_EQ(encoding("o200k_base").count(""), 0U);
}

TEST(Encoding, StopsCountingAtTheLimit) {
  const Encoding& o200k = encoding("o200k_base");
  const std::string text(1000, 'x');
  const std::size_t all = o200k.count(text);
  EXPECT_EQ(o200k.count_up_to(text, all), all);
  EXPECT_EQ(o200k.count_up_to(text, all - 1), std::nullopt);
}

TEST(Encoding, BadBytesAreReadWithinBounds) {
  for (const std::string_view bad : {"\xE2\x82", "a\xF0\x9F", "\xED\xA0\x80", "\xC0\x80", "\xFF"}) {
    // A buffer of exactly this size: the sanitizer would see one byte more.
    const std::vector<char> exact(bad.begin(), bad.end());
    const std::string_view text(exact.data(), exact.size());
    for (const std::string_view name : Encoding::names()) {
      Ids ids;
      encoding(name).encode_ordinary(text, ids);
      EXPECT_EQ(encoding(name).decode(ids).value(), text);
    }
  }
}

TEST(Encoding, LoadsOnceForAllThreads) {
  std::vector<std::thread> threads;
  std::vector<const Encoding*> seen(8);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    threads.emplace_back([&seen, i] { seen[i] = Encoding::get("r50k_base").value(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Encoding* one : seen) EXPECT_EQ(one, seen[0]);
}

// Long pieces of all kinds that grow, change and end; after each part the count is that of all.
TEST(Counter, FollowsLongPieces) {
  std::mt19937 chance(5);
  const std::vector<std::string> parts{
      "x",  "abcde", "XY", "\xED\x95\x9C", "!",        "/",        "=-",       "\n",  " ", "    ",
      "'s", "'",     "7",  "012345",       "\xCC\x81", "\xC3\x89", "\xED\x95", "\x9C"};
  for (const std::string_view name : {"gpt2", "cl100k_base", "o200k_base"}) {
    for (int round = 0; round < 12; ++round) {
      Counter counter(encoding(name));
      std::string text;
      while (text.size() < 3'000) {
        const std::string& part = parts[chance() % parts.size()];
        for (std::size_t i = 1U << chance() % 10; i > 0; --i) text += part;
        if (chance() % 4 == 0) text += parts[chance() % parts.size()];
      }
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = 1 + chance() % 40;
        counter.append(std::string_view(text).substr(at, size));
        at = std::min(at + size, text.size());
        ASSERT_EQ(counter.count(), encoding(name).count(std::string_view(text).substr(0, at)))
            << name << ", round " << round << ", " << at << " bytes";
      }
    }
  }
}

TEST(Counter, ReadsAGrowingPieceOnce) {
  for (const std::string_view name : {"gpt2", "cl100k_base", "o200k_base"}) {
    for (const std::string_view unit : {"abcdefgh", "=-", "\xED\x95\x9C"}) {
      Counter counter(encoding(name));
      std::string text;
      while (text.size() < 200'000) {  // once more for each part would take minutes
        counter.append(unit);
        text += unit;
      }
      EXPECT_EQ(counter.count(), encoding(name).count(text)) << name << " " << unit;
    }
  }
}

TEST(Truncate, KeepsTheLongestStartThatFits) {
  const Encoding& o200k = encoding("o200k_base");
  const std::string text = "one two  three\n\n\xED\x95\x9C\xEA\xB8\x80 \xF0\x9F\x99\x82 don't";
  for (std::size_t limit = 0; limit <= o200k.count(text) + 1; ++limit) {
    std::size_t best = 0;
    for (std::size_t end = 0; end <= text.size(); ++end) {
      const bool between =
          end == text.size() || (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
      if (between && o200k.count(std::string_view(text).substr(0, end)) <= limit) best = end;
    }
    EXPECT_EQ(o200k.truncate(text, limit), best) << limit;
  }
}

// Long pieces of all kinds against every end tried.
TEST(Truncate, IsExactInLongPieces) {
  std::mt19937 chance(6);
  const std::vector<std::string> units{"x",        "qzvxjkw", "AB",           "a", "\xED\x95\x9C",
                                       "A",        "=-",      "\xC3\x89",     " ", "\n",
                                       "\xCC\x81", "/",       "\xEA\xB8\x80", "0"};
  for (const std::string_view name : {"gpt2", "cl100k_base", "o200k_base"}) {
    for (int round = 0; round < 25; ++round) {
      const std::string& first = units[chance() % units.size()];
      const std::string& second = units[chance() % units.size()];
      std::string text = round % 2 == 0 ? "in front" : "";
      while (text.size() < 2'600) text += chance() % 3 == 0 ? second : first;
      text += " and more";
      const std::size_t limit = 2 + chance() % (encoding(name).count(text) - 2);
      std::size_t best = 0;
      for (std::size_t end = 0; end <= text.size(); ++end) {
        if (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) continue;
        if (encoding(name).fits(std::string_view(text).substr(0, end), limit)) best = end;
      }
      ASSERT_EQ(encoding(name).truncate(text, limit), best) << name << ": " << text;
    }
  }
}

// Every span that split_at makes within one endless word is the longest, by trying all ends.
TEST(SplitAt, IsExactInEndlessWords) {
  std::mt19937 chance(5);
  std::string letters;
  for (int i = 0; i < 2'500; ++i) letters += static_cast<char>('a' + chance() % 26);
  std::string hangul;
  for (int i = 0; i < 1'000; ++i) hangul += i % 7 == 3 ? "\xED\x95\x9C" : "\xEA\xB5\xAD";
  const std::string mixed = letters + hangul + std::string(3'000, ' ') + letters + "'S" + hangul;
  for (const std::string_view name : {"r50k_base", "cl100k_base", "o200k_base"}) {
    const Encoding& one = encoding(name);
    for (const std::string& text : {letters, hangul, std::string(3'000, ' '), mixed}) {
      const auto spans = split_at(one, text, 90, 0).value();
      std::size_t done = 0;
      for (const auto& [start, end] : spans) {
        ASSERT_EQ(start, done);
        ASSERT_LE(one.count(text.substr(start, end - start)), 90U);
        done = end;
      }
      ASSERT_EQ(done, text.size());
      for (std::size_t i = 0; i < spans.size(); i += 25) {
        const auto [start, end] = spans[i];
        const std::size_t last = std::min(text.size(), end + 200);
        for (std::size_t longer = end + 1; longer <= last; ++longer) {
          if (longer < text.size() && (text[longer] & 0xC0) == 0x80) continue;
          ASSERT_GT(one.count(text.substr(start, longer - start)), 90U)
              << name << " " << start << " " << end << " " << longer;
        }
      }
    }
  }
}

class Polls final : public base::CancelCheck {
 public:
  void poll() override { ++count; }
  std::size_t count = 0;
};

// What a cut asks for is counted, not its time: each look at the cancel check stands for a fixed
// piece of work.
TEST(SplitAt, WorkGrowsAsTheWordDoes) {
  const Encoding& one = encoding("cl100k_base");
  std::mt19937 chance(6);
  std::string word;
  for (int i = 0; i < 40'000; ++i) word += static_cast<char>('a' + chance() % 26);
  const auto work = [&](std::size_t size) {
    Polls polls;
    const base::CancelScope scope(&polls);
    EXPECT_GT(split_at(one, std::string_view(word).substr(0, size), 100, 0).value().size(),
              size / 500);
    return polls.count;
  };
  const std::size_t small = work(10'000);
  const std::size_t large = work(40'000);
  EXPECT_LT(small, 2'000U);
  EXPECT_LT(large, 5 * small + 50);
}

TEST(Truncate, FindsItsPlaceInAMegabyteWithoutSpaces) {
  const Encoding& o200k = encoding("o200k_base");
  for (const std::string& unit : {std::string("x"), std::string("\xED\x95\x9C\xEA\xB8\x80"),
                                  std::string("qzvxjkw"), std::string(" ")}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    const std::size_t end = o200k.truncate(text, 1000);
    EXPECT_LE(o200k.count(std::string_view(text).substr(0, end)), 1000U);
    for (std::size_t longer = end + 1; longer < end + 64; ++longer) {
      const bool between = (static_cast<unsigned char>(text[longer]) & 0xC0) != 0x80;
      if (!between) continue;
      EXPECT_GT(o200k.count(std::string_view(text).substr(0, longer)), 1000U);
    }
  }
}

}  // namespace
}  // namespace dure::tokenize
