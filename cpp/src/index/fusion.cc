#include "dure/index/fusion.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "dure/index/kernels.h"

namespace dure::index {
namespace {

using Sums = std::unordered_map<RowNumber, double>;

struct Sum {
  RowNumber row;
  double score;
};

// Sums are ranked in double: rounding to float makes no ties.
std::vector<ScoredRow> best(const Sums& sums, std::size_t k) {
  std::vector<Sum> rows;
  rows.reserve(sums.size());
  for (const auto& [row, score] : sums) rows.push_back({row, score});
  const auto count = static_cast<std::ptrdiff_t>(std::min(k, rows.size()));
  std::partial_sort(rows.begin(), rows.begin() + count, rows.end(), [](const Sum& a, const Sum& b) {
    return a.score != b.score ? a.score > b.score : a.row < b.row;
  });
  std::vector<ScoredRow> out;
  out.reserve(static_cast<std::size_t>(count));
  for (auto at = rows.begin(); at != rows.begin() + count; ++at) {
    out.push_back({at->row, static_cast<float>(at->score)});
  }
  return out;
}

}  // namespace

std::vector<ScoredRow> fuse_by_rank(std::span<const Ranking> rankings, std::size_t k,
                                    double constant) {
  Sums sums;
  for (const Ranking& ranking : rankings) {
    double rank = 0;
    for (const ScoredRow& hit : ranking.rows) {
      rank += 1;
      sums[hit.row] += ranking.weight / (constant + rank);
    }
  }
  return best(sums, k);
}

std::vector<ScoredRow> fuse_by_score(std::span<const Ranking> rankings, std::size_t k) {
  Sums sums;
  for (const Ranking& ranking : rankings) {
    if (ranking.rows.empty()) continue;
    const auto [low, high] = std::minmax_element(
        ranking.rows.begin(), ranking.rows.end(),
        [](const ScoredRow& a, const ScoredRow& b) { return a.score < b.score; });
    const double bottom = low->score;
    const double range = static_cast<double>(high->score) - bottom;
    for (const ScoredRow& hit : ranking.rows) {
      const double share = range > 0 ? (static_cast<double>(hit.score) - bottom) / range : 1.0;
      sums[hit.row] += ranking.weight * share;
    }
  }
  return best(sums, k);
}

std::vector<std::size_t> diversify(std::span<const double> scores, std::span<const float> vectors,
                                   std::size_t dim, std::size_t k, double relevance) {
  const std::size_t count = scores.size();
  std::vector<std::size_t> order;
  if (count == 0) return order;
  const auto [least, most] = std::minmax_element(scores.begin(), scores.end());
  const double range = *most - *least;
  std::vector<double> length(count);
  for (std::size_t i = 0; i < count; ++i) {
    const float* row = vectors.data() + i * dim;
    length[i] = std::sqrt(static_cast<double>(kernels().dot_f32(row, row, dim)));
  }
  std::vector<double> likeness(count, 0);  // the largest to a chosen row; none yet
  std::vector<bool> taken(count, false);
  while (order.size() < std::min(k, count)) {
    std::size_t best = count;
    double best_value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (taken[i]) continue;
      const double score = range > 0 ? (scores[i] - *least) / range : 1;
      const double value = relevance * score - (1 - relevance) * likeness[i];
      if (best == count || value > best_value) {
        best = i;
        best_value = value;
      }
    }
    taken[best] = true;
    order.push_back(best);
    for (std::size_t i = 0; i < count; ++i) {
      const double lengths = length[i] * length[best];
      if (taken[i] || !(lengths > 0)) continue;
      const double dot =
          kernels().dot_f32(vectors.data() + i * dim, vectors.data() + best * dim, dim);
      likeness[i] = order.size() == 1 ? dot / lengths : std::max(likeness[i], dot / lengths);
    }
  }
  return order;
}

}  // namespace dure::index
