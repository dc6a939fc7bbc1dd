#include "dure/index/planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "dure/index/graph.h"
#include "fake_random.h"

namespace dure::index {
namespace {

PlanChoice choose(std::size_t rows, std::size_t passing, bool filtered = true,
                  std::size_t dim = 384) {
  return plan({rows, passing, dim, 10, 0, 20000, filtered});
}

TEST(Planner, CountsRowsNotShares) {
  EXPECT_EQ(choose(50'000, 500).way, Way::kScan);
  EXPECT_EQ(choose(1'000'000, 20'000).way, Way::kScan) << "2 %, and few";
  EXPECT_EQ(choose(1'000'000, 20'001).way, Way::kAcorn);
  EXPECT_EQ(choose(10'000'000, 50'000).way, Way::kScan) << "too scattered";
  EXPECT_EQ(choose(50'000, 25'000).way, Way::kGraph);
  EXPECT_EQ(choose(1'000'000, 900'000).way, Way::kGraph);
  EXPECT_EQ(choose(100'000, 9'000, true, 1536).way, Way::kAcorn) << "longer rows, fewer of them";
  EXPECT_EQ(choose(50'000, 10).way, Way::kScan);
  EXPECT_EQ(choose(50'000, 11, false).way, Way::kGraph) << "what is deleted is no filter";
  EXPECT_GT(choose(1'000'000, 400'000).ef, choose(1'000'000, 1'000'000).ef);
  EXPECT_STRNE(choose(50'000, 500).reason, choose(50'000, 25'000).reason);
}

// 4,000 rows in a plane of 16 floats: ACORN-1 finds what passes, and looks at less.
TEST(Planner, WalksThroughWhatPasses) {
  constexpr std::size_t kRows = 4000;
  constexpr std::size_t kDim = 16;
  testing::FakeRandom random(3);
  std::vector<float> vectors(kRows * kDim);
  for (float& v : vectors) v = static_cast<float>(random.uniform() - 0.5);
  std::vector<std::uint8_t> codes(kRows * kDim);
  std::vector<CodeHead> heads;
  for (std::size_t row = 0; row < kRows; ++row) {
    (void)normalize(vectors.data() + row * kDim, kDim);
    heads.push_back(encode(vectors.data() + row * kDim, kDim, codes.data() + row * kDim));
  }
  const CodeRows rows{codes.data(), heads.data(), kRows, kDim};
  const std::atomic<bool> stop{false};
  const auto graph = Graph::build(rows, Metric::kCosine, {16, 100}, stop);
  ASSERT_TRUE(graph);
  std::vector<std::uint64_t> passes((kRows + 63) / 64, 0);
  for (std::size_t row = 0; row < kRows; row += 10) passes[row / 64] |= 1ULL << (row % 64);

  GraphScratch scratch;
  std::vector<Candidate> found;
  GraphStats acorn;
  GraphStats through_all;
  std::size_t right = 0;
  for (std::size_t ask = 0; ask < 50; ++ask) {
    const QueryVector query(vectors.data() + (ask * 79 + 1) * kDim, kDim, Metric::kCosine);
    std::vector<Candidate> exact;
    for (std::size_t row = 0; row < kRows; row += 10) {
      exact.push_back(
          {query.score(vectors.data() + row * kDim, heads[row]), static_cast<std::uint32_t>(row)});
    }
    std::partial_sort(exact.begin(), exact.begin() + 10, exact.end(),
                      [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    std::set<std::uint32_t> best;
    for (std::size_t i = 0; i < 10; ++i) best.insert(exact[i].row);
    graph->search_passing(query, rows, 64, passes.data(), scratch, found, acorn);
    ASSERT_GE(found.size(), 10U);
    for (const Candidate& one : found) ASSERT_EQ(one.row % 10, 0U);
    for (std::size_t i = 0; i < 20; ++i) right += best.count(found[i].row);
    graph->search(query, rows, 200, passes.data(), scratch, found, through_all);
  }
  EXPECT_GE(right, 490U) << "recall " << static_cast<double>(right) / 500;
  EXPECT_LT(acorn.distances * 2, through_all.distances);
}

TEST(Planner, NoRowPasses) {
  const std::vector<std::uint8_t> codes(8 * 64, 200);
  const std::vector<CodeHead> heads(64, CodeHead{0.01F, 0, 1});
  const CodeRows rows{codes.data(), heads.data(), 64, 8};
  const std::atomic<bool> stop{false};
  const auto graph = Graph::build(rows, Metric::kCosine, {4, 20}, stop);
  ASSERT_TRUE(graph);
  const std::vector<std::uint64_t> none(1, 0);
  const std::vector<float> vector(8, 0.3F);
  GraphScratch scratch;
  std::vector<Candidate> found;
  GraphStats stats;
  graph->search_passing({vector.data(), 8, Metric::kCosine}, rows, 8, none.data(), scratch, found,
                        stats);
  EXPECT_TRUE(found.empty());
}

}  // namespace
}  // namespace dure::index
