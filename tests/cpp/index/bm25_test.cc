#include "dure/index/bm25.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "dure/base/hash.h"
#include "fake_random.h"
#include "index/postings.h"

namespace dure::index {
namespace {

using Text = std::vector<std::uint64_t>;
using Texts = std::map<RowNumber, Text>;

// The definition, in double, over all live rows.
std::map<RowNumber, double> slow_scores(const Texts& texts, const Text& query, Bm25Options o) {
  double words = 0;
  for (const auto& [row, text] : texts) words += static_cast<double>(text.size());
  const auto n = static_cast<double>(texts.size());
  const double average = words > 0 ? words / n : 1;
  std::map<RowNumber, double> scores;
  for (const std::uint64_t word : query) {
    const auto has = [&](const auto& entry) {
      return std::count(entry.second.begin(), entry.second.end(), word) > 0;
    };
    const auto df = static_cast<double>(std::count_if(texts.begin(), texts.end(), has));
    for (const auto& [row, text] : texts) {
      const auto tf = static_cast<double>(std::count(text.begin(), text.end(), word));
      if (tf == 0) continue;
      const double norm = 1 - o.b + o.b * static_cast<double>(text.size()) / average;
      scores[row] += std::log(1 + (n - df + .5) / (df + .5)) * tf / (tf + o.k1 * norm);
    }
  }
  return scores;
}

// `hits` are the best k of `scores` in order, rounding aside.
void expect_best(const std::vector<ScoredRow>& hits, const std::map<RowNumber, double>& scores,
                 std::size_t k) {
  ASSERT_EQ(hits.size(), std::min(k, scores.size()));
  std::vector<double> order;
  for (const auto& [row, score] : scores) order.push_back(score);
  std::sort(order.rbegin(), order.rend());
  for (std::size_t i = 0; i < hits.size(); ++i) {
    ASSERT_TRUE(scores.contains(hits[i].row)) << hits[i].row;
    ASSERT_NEAR(hits[i].score, scores.at(hits[i].row), 1e-5);
    ASSERT_NEAR(hits[i].score, order[i], 1e-5);
    ASSERT_TRUE(i == 0 || ranks_before(hits[i - 1], hits[i]));
  }
}

// Few words are common, many are rare.
std::uint64_t random_word(base::Random& random) {
  const double u = random.uniform();
  return static_cast<std::uint64_t>(200 * u * u * u) * 0x9E3779B97F4A7C15U;
}

Text random_text(base::Random& random, std::size_t most) {
  Text text(random.next() % (most + 1));
  for (auto& word : text) word = random_word(random);
  return text;
}

std::unique_ptr<Bm25> index_of(const Texts& texts, Bm25Options options = {}) {
  auto index = Bm25::create(options).value();
  for (const auto& [row, text] : texts) EXPECT_TRUE(index->add(row, text).ok());
  return index;
}

TEST(Postings, ComeBackAsTheyWere) {
  testing::FakeRandom random(11);
  PostingList list;
  std::vector<std::pair<RowNumber, std::uint32_t>> expected;
  std::uint64_t row = 0;
  while (row < Bm25::kGone) {
    const auto count = static_cast<std::uint32_t>(
        1 + (random.next() % 3 == 0 ? random.next() >> (33 + random.next() % 31) : 0));
    list.append(static_cast<RowNumber>(row), count);
    expected.emplace_back(row, count);
    row += 1 + (random.next() >> (36 + random.next() % 28));
  }
  std::vector<std::pair<RowNumber, std::uint32_t>> found;
  list.for_each([&](RowNumber r, std::uint32_t count) { found.emplace_back(r, count); });
  EXPECT_EQ(found, expected);
  EXPECT_EQ(list.size(), expected.size());
}

TEST(Bm25, ScoresByTheFormula) {
  const auto index = index_of({{0, {1, 2, 2}}, {1, {3}}, {5, {1, 4, 4, 4}}});
  const auto hits = index->search(Text{2}, 10);
  ASSERT_EQ(hits.size(), 1U);
  const double idf = std::log(1 + (3 - 1 + .5) / 1.5);
  const double expected = idf * 2 / (2 + 1.2 * (1 - .75 + .75 * 3 / (8.0 / 3)));
  EXPECT_NEAR(hits[0].score, expected, 1e-6);
  EXPECT_EQ(hits[0].row, 0U);
  EXPECT_NEAR(index->search(Text{2, 2}, 10)[0].score, 2 * expected, 1e-6);
}

TEST(Bm25, EqualsTheDefinitionThroughAddsAndRemoves) {
  testing::FakeRandom random(12);
  for (int round = 0; round < 12; ++round) {
    const Bm25Options options{random.uniform() * 2, random.uniform()};
    auto index = Bm25::create(options).value();
    Texts texts;
    RowNumber next = 0;
    for (int step = 0; step < 300; ++step) {
      if (random.next() % 3 != 0 || texts.empty()) {
        next += static_cast<RowNumber>(random.next() % 3);
        texts[next] = random_text(random, 30);
        ASSERT_TRUE(index->add(next, texts[next]).ok());
        ++next;
      } else {
        const auto row =
            std::next(texts.begin(), static_cast<std::ptrdiff_t>(random.next() % texts.size()));
        ASSERT_TRUE(index->remove(row->first));
        ASSERT_FALSE(index->remove(row->first));
        texts.erase(row);
      }
      if (step % 20 != 0) continue;
      ASSERT_EQ(index->live_rows(), texts.size());
      const Text query = random_text(random, 6);
      const std::size_t k = 1 + random.next() % 20;
      expect_best(index->search(query, k), slow_scores(texts, query, options), k);
      // To the bit what a fresh index of the live rows says.
      ASSERT_EQ(index->search(query, k), index_of(texts, options)->search(query, k));
    }
  }
}

TEST(Bm25, RareAndCommonWordsTakeBothWaysThroughTheRows) {
  testing::FakeRandom random(13);
  Texts texts;
  for (RowNumber row = 0; row < 2000; ++row) {
    texts[row] = {7};
    if (random.next() % 40 == 0) texts[row].push_back(8);
  }
  const auto index = index_of(texts);
  for (const Text& query : {Text{8}, Text{7}, Text{8, 7}, Text{8}}) {
    expect_best(index->search(query, 50), slow_scores(texts, query, {}), 50);
  }
}

TEST(Bm25, TiesGoToTheLowerRow) {
  Texts texts;
  for (RowNumber row = 0; row < 100; ++row) texts[row * 3] = {1, 2};
  const auto index = index_of(texts);
  const auto hits = index->search(Text{1}, 5);
  ASSERT_EQ(hits.size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(hits[i].row, i * 3);
}

TEST(Bm25, OnlyAllowedRowsAreFound) {
  testing::FakeRandom random(14);
  Texts texts;
  for (RowNumber row = 0; row < 500; ++row) texts[row] = random_text(random, 20);
  const auto index = index_of(texts);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::uint64_t> bits(random.next() % 9);  // may be shorter than the rows
    for (auto& word : bits) word = random.next() & random.next();
    const Text query = random_text(random, 5);
    auto scores = slow_scores(texts, query, {});
    std::erase_if(scores, [&](const auto& entry) { return !contains(bits, entry.first); });
    expect_best(index->search(query, 10, RowBits(bits)), scores, 10);
  }
}

TEST(Bm25, NothingComesFromNothing) {
  auto index = Bm25::create().value();
  EXPECT_TRUE(index->search(Text{1}, 5).empty());
  ASSERT_TRUE(index->add(3, {}).ok());
  ASSERT_TRUE(index->add(4, Text{1}).ok());
  EXPECT_TRUE(index->search({}, 5).empty());
  EXPECT_TRUE(index->search(Text{2}, 5).empty());
  EXPECT_TRUE(index->search(Text{1}, 0).empty());
  EXPECT_EQ(index->search(Text{1}, std::numeric_limits<std::size_t>::max()).size(), 1U);
  EXPECT_FALSE(index->remove(0));
  EXPECT_FALSE(index->remove(999));
  EXPECT_TRUE(index->remove(4));
  EXPECT_TRUE(index->search(Text{1}, 5).empty());
}

TEST(Bm25, RefusesWhatItCannotKeep) {
  for (const Bm25Options& bad : {Bm25Options{-1, .5}, Bm25Options{1, 1.1}, Bm25Options{1, -.1},
                                 Bm25Options{std::nan(""), .5}, Bm25Options{1, std::nan("")}}) {
    EXPECT_EQ(Bm25::create(bad).error().code(), base::Code::kInvalidArgument);
  }
  auto index = index_of({{5, {1}}});
  EXPECT_FALSE(index->add(5, Text{1}).ok());
  EXPECT_FALSE(index->add(0, Text{1}).ok());
  EXPECT_FALSE(index->add(Bm25::kGone, Text{1}).ok());
  EXPECT_EQ(index->search(Text{1}, 9).size(), 1U);
}

TEST(Bm25, RenumberKeepsAnswersAndFreesTheRest) {
  testing::FakeRandom random(15);
  Texts texts;
  for (RowNumber row = 0; row < 400; ++row) texts[row * 2] = random_text(random, 20);
  auto index = index_of(texts);
  std::vector<RowNumber> map(index->rows(), Bm25::kGone);
  Texts kept;
  RowNumber next = 0;
  for (const auto& [row, text] : texts) {
    if (random.next() % 2 == 0) continue;
    map[row] = next;
    kept[next++] = text;
  }
  ASSERT_TRUE(index->renumber(map).ok());
  EXPECT_EQ(index->rows(), next);
  EXPECT_EQ(index->serialise(), index_of(kept)->serialise());
  EXPECT_FALSE(index->renumber(std::vector<RowNumber>(next - 1)).ok()) << "too short";
  EXPECT_FALSE(index->renumber(std::vector<RowNumber>(next, 0)).ok()) << "not rising";
  EXPECT_EQ(index->serialise(), index_of(kept)->serialise()) << "refused, so unchanged";
}

TEST(Bm25, MemoryStaysFlatWhenAllIsRemovedAndAddedAgain) {
  testing::FakeRandom random(16);
  std::vector<Text> texts(500);
  for (Text& text : texts) text = random_text(random, 40);
  auto index = Bm25::create().value();
  std::size_t early = 0;
  for (int round = 0; round < 60; ++round) {
    const RowNumber first = index->rows();
    for (RowNumber i = 0; i < 500; ++i) ASSERT_TRUE(index->add(first + i, texts[i]).ok());
    for (RowNumber row = 0; row < first; ++row) index->remove(row);
    std::vector<RowNumber> map(index->rows(), Bm25::kGone);
    for (RowNumber i = 0; i < 500; ++i) map[first + i] = i;
    ASSERT_TRUE(index->renumber(map).ok());
    if (round == 5) early = index->memory_bytes();
  }
  EXPECT_LE(index->memory_bytes(), early);
}

TEST(Bm25, ManyMarkedRowsLetTheirPostingsGo) {
  auto index = Bm25::create().value();
  for (RowNumber row = 0; row < 3000; ++row) ASSERT_TRUE(index->add(row, Text{1, 100 + row}).ok());
  const std::size_t full = index->memory_bytes();
  for (RowNumber row = 0; row < 2900; ++row) ASSERT_TRUE(index->remove(row));
  EXPECT_LT(index->terms(), 1500U);
  EXPECT_LT(index->memory_bytes(), full / 2);
  EXPECT_EQ(index->rows(), 3000U) << "numbers stay";
  EXPECT_EQ(index->search(Text{1, 100 + 2950}, 1)[0].row, 2950U);
}

TEST(Bm25, ComesBackFromItsBytes) {
  testing::FakeRandom random(17);
  for (int round = 0; round < 20; ++round) {
    Texts texts;
    RowNumber row = 0;
    for (std::size_t i = random.next() % 200; i > 0; --i) {
      row += 1 + static_cast<RowNumber>(random.next() % 4);
      texts[row] = random_text(random, 20);
    }
    auto index = index_of(texts, {1.5, .6});
    for (const auto& [r, text] : texts) {
      if (random.next() % 5 == 0) index->remove(r);
    }
    auto back = Bm25::deserialise(index->serialise()).value();
    EXPECT_EQ(back->serialise(), index->serialise());
    EXPECT_EQ(back->rows(), index->rows());
    EXPECT_EQ(back->options().k1, 1.5);
    const Text query = random_text(random, 6);
    EXPECT_EQ(back->search(query, 10), index->search(query, 10));
    ASSERT_TRUE(back->add(row + 1, Text{42}).ok()) << "goes on growing";
    EXPECT_EQ(back->search(Text{42}, 1)[0].row, row + 1);
  }
}

std::string with_checksum(std::string body) {
  const std::uint32_t sum = base::crc32c(body);
  char bytes[sizeof sum];
  std::memcpy(bytes, &sum, sizeof sum);
  return body.append(bytes, sizeof sum);
}

TEST(Bm25, DamagedBytesAreRefused) {
  testing::FakeRandom random(18);
  Texts texts;
  for (RowNumber row = 0; row < 40; ++row) texts[row] = random_text(random, 10);
  const std::string good = index_of(texts)->serialise();
  for (std::size_t length = 0; length < good.size(); ++length) {
    const auto cut = Bm25::deserialise(good.substr(0, length));
    ASSERT_FALSE(cut);
    ASSERT_EQ(cut.error().code(), base::Code::kCorrupt);
  }
  EXPECT_FALSE(Bm25::deserialise(good + "x"));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << random.next() % 8));
    ASSERT_FALSE(Bm25::deserialise(bad)) << at;
  }
}

TEST(Bm25, CraftedBytesWithATrueChecksumAreRefusedOrHoldTogether) {
  testing::FakeRandom random(19);
  Texts texts;
  for (RowNumber row = 0; row < 30; ++row) texts[row] = random_text(random, 8);
  const std::string good = index_of(texts)->serialise();
  const std::string body = good.substr(0, good.size() - 4);
  int accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bad = body;
    for (std::size_t flips = 1 + random.next() % 3; flips > 0; --flips) {
      bad[random.next() % bad.size()] = static_cast<char>(random.next());
    }
    if (random.next() % 4 == 0) bad.resize(random.next() % bad.size());
    if (random.next() % 4 == 0) bad.append(random.next() % 20, '\xff');
    const auto index = Bm25::deserialise(with_checksum(bad));
    if (!index) {
      ASSERT_EQ(index.error().code(), base::Code::kCorrupt);
      continue;
    }
    ++accepted;  // other options, or another hash of a word
    ASSERT_LE((*index)->search(Text{0, 1}, 100).size(), (*index)->live_rows());
    ASSERT_EQ((*index)->serialise(), with_checksum(bad));
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 3000);
}

}  // namespace
}  // namespace dure::index
