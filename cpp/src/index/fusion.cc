#include "dure/index/fusion.h"

#include <algorithm>
#include <unordered_map>

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

}  // namespace dure::index
