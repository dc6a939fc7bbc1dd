// The graph against all rows looked at: recall, links, levels, equal rows.
#include "dure/index/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "dure/index/kernels.h"
#include "fake_random.h"
#include "index/pool.h"

namespace dure::index {
namespace {

struct Rows {
  std::size_t dim;
  std::vector<float> exact;
  std::vector<std::uint8_t> codes;
  std::vector<CodeHead> heads;

  [[nodiscard]] CodeRows view() const { return {codes.data(), heads.data(), heads.size(), dim}; }
  void add(const std::vector<float>& vector) {
    exact.insert(exact.end(), vector.begin(), vector.end());
    codes.resize(codes.size() + dim);
    heads.push_back(encode(vector.data(), dim, codes.data() + codes.size() - dim));
  }
};

std::vector<float> random_vector(testing::FakeRandom& random, std::size_t dim) {
  std::vector<float> vector(dim);
  for (float& v : vector) v = static_cast<float>(random.uniform() + random.uniform() - 1.0);
  (void)normalize(vector.data(), dim);
  return vector;
}

Rows random_rows(std::size_t count, std::size_t dim) {
  testing::FakeRandom random(5);
  Rows rows{dim, {}, {}, {}};
  for (std::size_t i = 0; i < count; ++i) rows.add(random_vector(random, dim));
  return rows;
}

std::vector<std::uint32_t> best_of(const Rows& rows, const QueryVector& query, std::size_t k) {
  std::vector<Candidate> all;
  for (std::uint32_t row = 0; row < rows.heads.size(); ++row) {
    const std::int32_t sum =
        kernels().dot_u8s8(rows.codes.data() + row * rows.dim, query.code(), rows.dim);
    all.push_back({query.estimate(sum, rows.heads[row]), row});
  }
  std::sort(all.begin(), all.end(),
            [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  std::vector<std::uint32_t> best;
  for (std::size_t i = 0; i < k; ++i) best.push_back(all[i].row);
  return best;
}

Graph built(const Rows& rows, Metric metric, GraphParams params) {
  const std::atomic<bool> stop{false};
  return Graph::build(rows.view(), metric, params, stop).value();
}

TEST(Graph, FindsWhatIsNearestForEachMetric) {
  const Rows rows = random_rows(5000, 24);
  testing::FakeRandom random(9);
  for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
    const Graph graph = built(rows, metric, {16, 100});
    GraphScratch scratch;
    GraphStats stats;
    std::size_t found = 0;
    for (int round = 0; round < 50; ++round) {
      const auto vector = random_vector(random, rows.dim);
      const QueryVector query(vector.data(), rows.dim, metric);
      std::vector<Candidate> met;
      graph.search(query, rows.view(), 100, nullptr, scratch, met, stats);
      ASSERT_LE(met.size(), 100U);
      ASSERT_TRUE(std::is_sorted(met.begin(), met.end(),
                                 [](const auto& a, const auto& b) { return a.score > b.score; }));
      for (const std::uint32_t row : best_of(rows, query, 10)) {
        found += static_cast<std::size_t>(
            std::any_of(met.begin(), met.end(), [row](const auto& one) { return one.row == row; }));
      }
    }
    EXPECT_GE(found, 490U) << name_of(metric);  // 98 %
    EXPECT_LT(stats.distances / 50, 2500U);
  }
}

TEST(Graph, LinksAreSoundAndDiffer) {
  const Rows rows = random_rows(3000, 16);
  const GraphParams params{8, 40};
  const Graph graph = built(rows, Metric::kCosine, params);
  const GraphData& data = graph.data();
  ASSERT_EQ(data.stride, 16U);
  std::size_t links = 0;
  for (std::size_t row = 0; row < 3000; ++row) {
    std::set<std::int32_t> seen;
    for (std::size_t i = 0; i < data.stride; ++i) {
      const std::int32_t link = data.lowest[row * data.stride + i];
      if (link < 0) continue;
      EXPECT_NE(link, static_cast<std::int32_t>(row));
      EXPECT_TRUE(seen.insert(link).second) << "row " << row << " links " << link << " twice";
    }
    EXPECT_GT(seen.size(), 0U) << row;
    links += seen.size();
  }
  EXPECT_GT(links, 3000U * 6);
  EXPECT_TRUE(Graph::load(graph.data(), 3000).has_value());
  EXPECT_EQ(built(rows, Metric::kCosine, params).data().lowest, data.lowest) << "not repeatable";
}

TEST(Graph, EqualRowsAndFewRows) {
  Rows rows{8, {}, {}, {}};
  const std::vector<float> same{1, 0, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < 300; ++i) rows.add(same);
  const Graph graph = built(rows, Metric::kL2, {4, 20});
  GraphScratch scratch;
  GraphStats stats;
  std::vector<Candidate> met;
  graph.search(QueryVector(same.data(), 8, Metric::kL2), rows.view(), 30, nullptr, scratch, met,
               stats);
  EXPECT_EQ(met.size(), 30U);
  Rows one{8, {}, {}, {}};
  one.add(same);
  const Graph single = built(one, Metric::kCosine, {4, 20});
  single.search(QueryVector(same.data(), 8, Metric::kCosine), one.view(), 5, nullptr, scratch, met,
                stats);
  ASSERT_EQ(met.size(), 1U);
  EXPECT_EQ(met[0].row, 0U);
  const std::atomic<bool> stop{true};
  EXPECT_EQ(Graph::build(rows.view(), Metric::kL2, {4, 20}, stop).error().code(),
            base::Code::kCancelled);
}

// Rows of few distinct vectors must not fall apart into islands of equal ones.
TEST(Graph, ManyEqualRowsAreLeftAgain) {
  testing::FakeRandom random(21);
  Rows rows{16, {}, {}, {}};
  std::vector<std::vector<float>> kinds;
  for (int kind = 0; kind < 24; ++kind) kinds.push_back(random_vector(random, rows.dim));
  for (int i = 0; i < 6000; ++i) rows.add(kinds[random.next() % kinds.size()]);
  const Graph graph = built(rows, Metric::kCosine, {16, 100});
  GraphScratch scratch;
  GraphStats stats;
  for (const auto& kind : kinds) {
    std::vector<Candidate> met;
    graph.search(QueryVector(kind.data(), rows.dim, Metric::kCosine), rows.view(), 64, nullptr,
                 scratch, met, stats);
    ASSERT_EQ(met.size(), 64U);
    for (int i = 0; i < 10; ++i) EXPECT_GT(met[static_cast<std::size_t>(i)].score, 0.99F);
  }
}

TEST(Graph, ThePoolKeepsTheBest) {
  testing::FakeRandom random(3);
  for (const std::size_t capacity : {1U, 2U, 7U, 64U}) {
    std::vector<Candidate> storage;
    std::vector<float> all;
    std::set<std::uint32_t> taken;
    Pool pool(capacity, storage);
    for (std::uint32_t row = 0; row < 500; ++row) {
      const auto score = static_cast<float>(random.next() % 97);
      all.push_back(score);
      pool.insert({score, row});
      std::uint32_t from = 0;
      if (random.next() % 3 != 0) continue;
      const std::uint32_t seen = pool.peek(~0U);
      if (pool.take(from)) {
        EXPECT_EQ(seen, from);
        EXPECT_TRUE(taken.insert(from).second);
      }
    }
    for (std::uint32_t from = 0; pool.take(from);) EXPECT_TRUE(taken.insert(from).second);
    pool.release();
    ASSERT_EQ(storage.size(), capacity);
    std::sort(all.begin(), all.end(), std::greater<>());
    for (std::size_t i = 0; i < capacity; ++i) {
      EXPECT_EQ(storage[i].score, all[i]);
      EXPECT_TRUE(taken.contains(storage[i].row));
    }
  }
}

}  // namespace
}  // namespace dure::index
