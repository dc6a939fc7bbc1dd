// dure/index/planner.h - how one part of a collection is searched under a filter.
//
// By the absolute number of rows that pass, not by their share: a scan of few rows is exact and
// costs less than any walk, however large the part is. The figures behind the bounds are in
// docs/performance-notes/retrieval.md.
//
// Thread-safe: pure functions.
#ifndef DURE_INDEX_PLANNER_H_
#define DURE_INDEX_PLANNER_H_

#include <cstddef>
#include <cstdint>

namespace dure::index {

enum class Way : std::uint8_t {
  kScan,   // look at every row that passes: exact
  kGraph,  // walk through all rows, keep those that pass
  kAcorn,  // walk through rows that pass alone, over two links (ACORN-1, Patel et al. 2024)
};

struct PlanAsk {
  std::size_t rows = 0;     // of the part
  std::size_t passing = 0;  // of them, live and let through by the filter
  std::size_t dim = 0;
  std::size_t top_k = 0;
  std::size_t ef = 0;         // asked for; 0: chosen here
  std::size_t scan_rows = 0;  // scan at most so many rows of 384 floats; fewer longer ones
  bool filtered = false;      // by a filter, not only by what was deleted
};

struct PlanChoice {
  Way way = Way::kScan;
  std::size_t ef = 0;  // width of the walk
  const char* reason = "";
};

// REQUIRES: rows > 0.
[[nodiscard]] PlanChoice plan(const PlanAsk& ask) noexcept;

}  // namespace dure::index

#endif  // DURE_INDEX_PLANNER_H_
