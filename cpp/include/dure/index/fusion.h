// dure/index/fusion.h - one ranking out of several: by rank (RRF) or by weighted scores; and an
// order of rows that are unlike each other (MMR).
//
// Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion", SIGIR 2009: sum of 1 / (60 + rank).
//
// Thread-safe: pure functions.
#ifndef DURE_INDEX_FUSION_H_
#define DURE_INDEX_FUSION_H_

#include <cstddef>
#include <span>
#include <vector>

#include "dure/index/scored_row.h"

namespace dure::index {

// One input ranking, best first, each row at most once.
struct Ranking {
  std::span<const ScoredRow> rows;  // borrowed for the call
  double weight = 1.0;              // finite, >= 0
};

inline constexpr double kRrfConstant = 60.0;

// The best `k` rows by sum of weight / (constant + rank), rank from 1; a ranking without the row
// adds nothing. Ties go to the lower row. REQUIRES: constant > -1.
[[nodiscard]] std::vector<ScoredRow> fuse_by_rank(std::span<const Ranking> rankings, std::size_t k,
                                                  double constant = kRrfConstant);

// The best `k` rows by sum of weight * s, s being the score brought to 0..1 within its ranking
// (lowest to 0, highest to 1; all equal: 1); a ranking without the row adds nothing. Ties go to
// the lower row. REQUIRES: finite scores.
[[nodiscard]] std::vector<ScoredRow> fuse_by_score(std::span<const Ranking> rankings,
                                                   std::size_t k);

// The order of at most `k` rows that are good and unlike each other: each next one has the largest
// relevance * score - (1 - relevance) * (the largest cosine to those chosen before), scores brought
// to 0..1 (maximal marginal relevance, Carbonell & Goldstein 1998). `vectors`: one of `dim` floats
// per score, one after another. Ties go to the earlier row. REQUIRES: finite scores, relevance
// 0..1.
[[nodiscard]] std::vector<std::size_t> diversify(std::span<const double> scores,
                                                 std::span<const float> vectors, std::size_t dim,
                                                 std::size_t k, double relevance);

}  // namespace dure::index

#endif  // DURE_INDEX_FUSION_H_
