#include "dure/index/planner.h"

#include <algorithm>
#include <cmath>

namespace dure::index {
namespace {

constexpr std::size_t kSmallestEf = 64;
constexpr std::size_t kUsualDim = 384;    // of `scan_rows`
constexpr std::size_t kLeastDim = 128;    // shorter rows cost hardly less to look at
constexpr double kInGraphShare = 0.3;     // below, a walk through all rows meets too few
constexpr double kScatteredShare = 0.01;  // below, links between rows that pass are too few

}  // namespace

PlanChoice plan(const PlanAsk& ask) noexcept {
  if (ask.passing <= ask.top_k) return {Way::kScan, 0, "no more rows pass than are asked for"};
  const double share = static_cast<double>(ask.passing) / static_cast<double>(ask.rows);
  const std::size_t few = ask.scan_rows * kUsualDim / std::max(ask.dim, kLeastDim);
  if (ask.filtered && ask.passing <= few)
    return {Way::kScan, 0, "few rows pass: all are looked at"};
  if (ask.filtered && share < kScatteredShare) {
    return {Way::kScan, 0, "rows that pass are too scattered for the graph: all are looked at"};
  }
  const std::size_t ef = std::max(ask.ef != 0 ? ask.ef : kSmallestEf, 2 * ask.top_k);
  if (ask.filtered && share < kInGraphShare) {
    return {Way::kAcorn, std::min(ef, ask.rows), "a part passes: walked from one to the next"};
  }
  const auto wider = static_cast<std::size_t>(static_cast<double>(ef) / std::sqrt(share));
  return {Way::kGraph, std::min(wider, ask.rows),
          ask.filtered ? "most rows pass: the graph is walked, and wider" : "the graph is walked"};
}

}  // namespace dure::index
