// dure/index/graph.h - an HNSW graph (Malkov & Yashunin 2016) over byte codes.
//
// Insertion and search are ours (docs/decisions/0024): FAISS computes one distance per virtual call
// in both, and the search of 1.7.3 miscounts its heap. Ours keep one sorted pool, ask four
// distances at a time and fetch codes ahead.
//
// Immutable once built. search() may run in several threads, each with its own GraphScratch.
#ifndef DURE_INDEX_GRAPH_H_
#define DURE_INDEX_GRAPH_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/codes.h"

namespace dure::index {

// Borrowed rows: codes of `dim` bytes one after another, and their heads.
struct CodeRows {
  const std::uint8_t* codes = nullptr;
  const CodeHead* heads = nullptr;
  std::size_t size = 0;
  std::size_t dim = 0;
};

struct GraphParams {
  std::int32_t m = 32;  // links of a row on upper levels; twice as many on the lowest
  std::int32_t ef_construction = 200;
};

// The links, in the form that is searched and stored.
struct GraphData {
  std::uint32_t stride = 0;             // 2 m
  std::int32_t entry = -1;              // row where searches begin
  std::int32_t top_level = -1;          // 0 = lowest
  std::vector<std::int32_t> lowest;     // size * stride rows; -1 ends a list
  std::vector<std::uint8_t> levels;     // top level of each row
  std::vector<std::int32_t> upper;      // stride / 2 links per level above 0, row after row
  std::vector<std::uint32_t> upper_at;  // where a row's links begin in `upper`, in lists
};

struct Candidate {
  float score;
  std::uint32_t row;
};

// Marks of visited rows, reused between searches. One thread at a time.
class GraphScratch {
 public:
  void begin(std::size_t rows);
  // True the first time since begin().
  [[nodiscard]] bool visit(std::uint32_t row) noexcept {
    if (marks_[row] == epoch_) return false;
    marks_[row] = epoch_;
    return true;
  }

  // Storage of a walk.
  std::vector<std::uint32_t> fresh;
  std::vector<std::uint32_t> closed;
  std::vector<Candidate> walk;

 private:
  std::vector<std::uint16_t> marks_;
  std::uint16_t epoch_ = 0;
};

// What a search did; for explain and for tests that the graph was used.
struct GraphStats {
  std::size_t distances = 0;
};

class Graph {
 public:
  // Builds over `rows` in this thread. kCancelled if `stop` becomes true meanwhile.
  [[nodiscard]] static base::Result<Graph> build(const CodeRows& rows, Metric metric,
                                                 const GraphParams& params,
                                                 const std::atomic<bool>& stop);
  // From a stored form; kCorrupt unless every link lies within `rows`.
  [[nodiscard]] static base::Result<Graph> load(GraphData data, std::size_t rows);

  [[nodiscard]] const GraphData& data() const noexcept { return data_; }

  // The best `ef` rows that were met and that `passes` (a bit per row; null: all) lets through,
  // best first. Walks through rows that do not pass.
  void search(const QueryVector& query, const CodeRows& rows, std::size_t ef,
              const std::uint64_t* passes, GraphScratch& scratch, std::vector<Candidate>& found,
              GraphStats& stats) const;
  // The same, walking through rows that pass alone: from one to those that it links, and through a
  // linked row that does not pass to those that that one links (ACORN-1). Meets fewer rows than
  // search() where a part passes; may find less than there is. `passes` is not null.
  void search_passing(const QueryVector& query, const CodeRows& rows, std::size_t ef,
                      const std::uint64_t* passes, GraphScratch& scratch,
                      std::vector<Candidate>& found, GraphStats& stats) const;

 private:
  explicit Graph(GraphData data) : data_(std::move(data)) {}
  void gather_passing(std::uint32_t from, const std::uint64_t* passes, GraphScratch& scratch,
                      std::vector<std::uint32_t>& fresh) const;
  template <typename Also>
  void walk_all(const QueryVector& query, const CodeRows& rows, std::size_t ef,
                GraphScratch& scratch, std::vector<Candidate>& found, GraphStats& stats,
                const Also& also) const;
  void fetch_links(std::uint32_t row) const noexcept;
  [[nodiscard]] Candidate descend(const QueryVector& query, const CodeRows& rows,
                                  GraphScratch& scratch, GraphStats& stats) const;

  GraphData data_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_GRAPH_H_
