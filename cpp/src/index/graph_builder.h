// index/graph_builder.h - the links of an HNSW graph (Malkov & Yashunin 2016), row by row.
//
// FAISS draws the levels; the insertion is ours: it asks four distances at a time, fetches codes
// ahead, and lets a list grow by half before it is thinned, so that one thinning serves many links.
//
// One thread at a time. Borrows the rows.
#ifndef DURE_INDEX_GRAPH_BUILDER_H_
#define DURE_INDEX_GRAPH_BUILDER_H_

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/graph.h"
#include "dure/index/kernels.h"
#include "pool.h"

namespace dure::index {

class GraphBuilder {
 public:
  // REQUIRES: 0 < rows.size < 2^31, params.m >= 2.
  GraphBuilder(const CodeRows& rows, Metric metric, const GraphParams& params);

  // kCancelled if `stop` becomes true meanwhile. Call once.
  [[nodiscard]] base::Result<GraphData> run(const std::atomic<bool>& stop);

 private:
  // A row as the question of a distance: its code, signed.
  struct Centre {
    std::vector<std::int8_t> code;
    float scale = 0;
    float squares = 0;
    std::int32_t shift = 0;
  };
  // Lists of links of one level, or of all above the lowest.
  struct Lists {
    std::size_t width = 0;  // places of a list
    std::size_t most = 0;   // links that stay in the end
    std::vector<std::uint32_t> links;
    std::vector<std::uint16_t> sizes;

    void resize(std::size_t lists) {
      links.resize(lists * width);
      sizes.assign(lists, 0);
    }
    [[nodiscard]] std::span<std::uint32_t> of(std::size_t list) noexcept {
      return {links.data() + list * width, sizes[list]};
    }
  };

  void draw_levels();
  void centre(std::uint32_t row, Centre& out) const;
  [[nodiscard]] float score(const Centre& from, std::int32_t sum, std::uint32_t row) const noexcept;
  template <typename Meet>
  void score_each(const Centre& from, std::span<const std::uint32_t> rows, const Meet& meet) const;

  [[nodiscard]] Lists& lists_of(int level) noexcept { return level == 0 ? lowest_ : upper_; }
  [[nodiscard]] std::size_t list_of(int level, std::uint32_t row) const noexcept;
  [[nodiscard]] std::span<std::uint32_t> links_of(int level, std::uint32_t row) noexcept;
  void insert(std::uint32_t row);
  [[nodiscard]] Candidate descend(int level, Candidate best);
  void meet_around(int level, Candidate start);
  void link(int level, std::uint32_t row);
  void add_link(int level, std::uint32_t from, std::uint32_t to);
  void thin(int level, std::uint32_t row);
  // Of `met`, best first, at most `most`, none of which is nearer to one kept than to the centre.
  void keep_spread(std::span<const Candidate> met, std::size_t most,
                   std::vector<std::uint32_t>& kept);
  [[nodiscard]] GraphData finish();

  const CodeRows rows_;
  const Metric metric_;
  const GraphParams params_;
  const Kernels& kernels_;
  std::vector<std::uint8_t> levels_;
  std::vector<std::uint32_t> upper_at_;
  std::vector<std::int32_t> shifts_;  // 128 * the sum of a row's signed code
  Lists lowest_;
  Lists upper_;
  std::uint32_t entry_ = 0;
  int top_ = -1;

  Centre row_;    // that is inserted
  Centre owner_;  // whose list is thinned
  Centre other_;  // that is compared with what is kept
  GraphScratch scratch_;
  std::vector<Candidate> met_;
  std::vector<std::uint32_t> fresh_;
  std::vector<std::uint32_t> kept_;
  std::vector<Candidate> sorted_;
  std::vector<std::uint32_t> equal_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_GRAPH_BUILDER_H_
