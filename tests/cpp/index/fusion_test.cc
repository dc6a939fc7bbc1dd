#include "dure/index/fusion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "fake_random.h"

namespace dure::index {
namespace {

std::vector<RowNumber> rows_of(const std::vector<ScoredRow>& hits) {
  std::vector<RowNumber> rows;
  for (const ScoredRow& hit : hits) rows.push_back(hit.row);
  return rows;
}

TEST(Fusion, AddsReciprocalRanks) {
  const std::vector<ScoredRow> a = {{7, 9.F}, {3, 5.F}};
  const std::vector<ScoredRow> b = {{3, .9F}, {8, .8F}, {7, .1F}};
  const std::vector<Ranking> rankings = {{a}, {b}};
  const auto hits = fuse_by_rank(rankings, 10);
  EXPECT_EQ(rows_of(hits), (std::vector<RowNumber>{3, 7, 8}));
  EXPECT_FLOAT_EQ(hits[0].score, static_cast<float>(1.0 / 62 + 1.0 / 61));
  EXPECT_FLOAT_EQ(hits[1].score, static_cast<float>(1.0 / 61 + 1.0 / 63));
  EXPECT_EQ(rows_of(fuse_by_rank(rankings, 1)), (std::vector<RowNumber>{3}));
}

TEST(Fusion, TiesGoToTheLowerRow) {
  const std::vector<ScoredRow> a = {{9, 1.F}, {4, 1.F}};
  const std::vector<ScoredRow> b = {{4, 1.F}, {9, 1.F}};
  const std::vector<Ranking> rankings = {{a}, {b}};
  EXPECT_EQ(rows_of(fuse_by_rank(rankings, 2)), (std::vector<RowNumber>{4, 9}));
  EXPECT_EQ(rows_of(fuse_by_score(rankings, 2)), (std::vector<RowNumber>{4, 9}));
}

TEST(Fusion, WeighsNormalisedScores) {
  const std::vector<ScoredRow> a = {{1, 20.F}, {2, 10.F}, {3, 0.F}};
  const std::vector<ScoredRow> b = {{3, .5F}};
  const std::vector<Ranking> rankings = {{a, 0.6}, {b, 0.4}};
  const auto hits = fuse_by_score(rankings, 10);
  EXPECT_EQ(rows_of(hits), (std::vector<RowNumber>{1, 3, 2}));
  EXPECT_FLOAT_EQ(hits[0].score, 0.6F);
  EXPECT_FLOAT_EQ(hits[1].score, 0.4F);
  EXPECT_FLOAT_EQ(hits[2].score, 0.3F);
}

TEST(Fusion, NothingFromNothing) {
  EXPECT_TRUE(fuse_by_rank({}, 5).empty());
  const std::vector<Ranking> empty = {{}, {}};
  EXPECT_TRUE(fuse_by_rank(empty, 5).empty());
  EXPECT_TRUE(fuse_by_score(empty, 5).empty());
}

TEST(Fusion, EqualsTheDefinitionOnRandomRankings) {
  testing::FakeRandom random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<ScoredRow>> lists(1 + random.next() % 4);
    std::vector<Ranking> rankings;
    std::map<RowNumber, double> sums;
    for (auto& list : lists) {
      const std::size_t size = random.next() % 20;
      while (list.size() < size) {
        const RowNumber row = static_cast<RowNumber>(random.next() % 30);
        const auto same = [row](const ScoredRow& hit) { return hit.row == row; };
        if (std::none_of(list.begin(), list.end(), same)) list.push_back({row, 0});
      }
      const double weight = random.uniform();
      rankings.push_back({list, weight});
      for (std::size_t i = 0; i < list.size(); ++i) {
        sums[list[i].row] += weight / (60 + static_cast<double>(i) + 1);
      }
    }
    const auto hits = fuse_by_rank(rankings, 100);
    ASSERT_EQ(hits.size(), sums.size());
    for (std::size_t i = 0; i < hits.size(); ++i) {
      ASSERT_NEAR(hits[i].score, sums[hits[i].row], 1e-6);
      ASSERT_TRUE(i == 0 || sums[hits[i - 1].row] >= sums[hits[i].row]);
    }
  }
}

TEST(Diversify, WeighsRelevanceAgainstLikeness) {
  const std::vector<double> scores = {1.0, 0.99, 0.5, 0.0};
  const std::vector<float> vectors = {1, 0, 2, 0, 0, 1, 0, -1};  // the first two point the same way
  const auto order = [&](double relevance, std::size_t k) {
    return diversify(scores, vectors, 2, k, relevance);
  };
  EXPECT_EQ(order(1.0, 4), (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(order(0.5, 2), (std::vector<std::size_t>{0, 2})) << "0.99 - 1 is less than 0.5 - 0";
  EXPECT_EQ(order(0.0, 3), (std::vector<std::size_t>{0, 2, 3})) << "likeness alone";
  EXPECT_EQ(order(0.5, 9).size(), 4U);
  EXPECT_TRUE(diversify({}, {}, 2, 3, 0.5).empty());
  const std::vector<double> equal = {2, 2};
  EXPECT_EQ(diversify(equal, std::vector<float>{0, 0, 1, 1}, 2, 2, 0.5),
            (std::vector<std::size_t>{0, 1}))
      << "rows without direction are like nothing";
}

}  // namespace
}  // namespace dure::index
