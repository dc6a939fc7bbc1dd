// index/part.h - a run of a collection's rows: flat while young, a sealed graph later.
//
// Rows of a part are numbered from 0; `first` is the collection's number of row 0 and a multiple of
// 64, so that a part's share of a bit set is whole words. Chunk numbers rise within a part.
//
// A closed part is immutable. An open one is changed only under its collection's exclusive lock.
#ifndef DURE_INDEX_PART_H_
#define DURE_INDEX_PART_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dure/base/files.h"
#include "dure/base/result.h"
#include "dure/index/codes.h"
#include "dure/index/graph.h"
#include "ivf_pq.h"

namespace dure::index {

// How rows become a segment.
struct SealForm {
  GraphParams graph;
  bool product_codes = false;  // instead of a graph: far smaller, and slower
};

class Part {
 public:
  Part(std::uint32_t first, std::size_t dim, Metric metric)
      : first_(first), dim_(dim), metric_(metric) {}
  ~Part();
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  [[nodiscard]] std::uint32_t first() const noexcept { return first_; }
  [[nodiscard]] std::size_t size() const noexcept { return chunks_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }
  [[nodiscard]] bool is_segment() const noexcept { return graph_.has_value() || ivf_.has_value(); }
  [[nodiscard]] const Graph& graph() const noexcept { return *graph_; }
  // Null unless the segment holds product codes; it has no rows() then.
  [[nodiscard]] const IvfPq* product_codes() const noexcept { return ivf_ ? &*ivf_ : nullptr; }
  [[nodiscard]] const CodeHead& head(std::size_t row) const noexcept { return heads_[row]; }
  // What a segment of so many rows takes of memory with a graph.
  [[nodiscard]] static std::size_t graph_bytes(std::size_t rows, std::size_t dim,
                                               const GraphParams& graph) noexcept {
    return rows * (dim + sizeof(CodeHead) + static_cast<std::size_t>(graph.m) * 9);
  }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] CodeRows rows() const noexcept {
    return {codes_.data(), heads_.data(), heads_.size(), dim_};
  }
  // At least as far off as any row's estimate can be (QueryVector::bound).
  [[nodiscard]] const CodeHead& worst() const noexcept { return worst_; }
  [[nodiscard]] std::int64_t chunk(std::size_t row) const noexcept { return chunks_[row]; }
  [[nodiscard]] const std::vector<std::int64_t>& chunks() const noexcept { return chunks_; }
  // The row of a chunk, -1 if it is not here.
  [[nodiscard]] std::int64_t find(std::int64_t chunk) const noexcept;

  // `vector`: `dim` floats, of length one under cosine. `chunk` is above all before it.
  void append(std::int64_t chunk, const float* vector);
  // Copies the row in single precision. kIo if the segment's file cannot be read.
  [[nodiscard]] base::Status read(std::size_t row, float* out) const;

  // One segment of the rows of `parts`, in their order, in a new file of `folder`; numbered like
  // the first of them. kCancelled if `stop` becomes true meanwhile.
  [[nodiscard]] static base::Result<std::shared_ptr<Part>> seal(
      std::span<const std::shared_ptr<const Part>> parts, const SealForm& form, base::Files& files,
      const std::string& folder, const std::string& name, const std::atomic<bool>& stop);
  // A segment from its file. kCorrupt if the file is damaged or of another collection's shape.
  [[nodiscard]] static base::Result<std::shared_ptr<Part>> load(base::Files& files,
                                                                const std::string& folder,
                                                                const std::string& name,
                                                                std::uint32_t first,
                                                                std::size_t dim, Metric metric);

 private:
  // Where a row of a new segment comes from.
  struct Origin {
    const Part* part;
    std::size_t row;
  };

  void copy_row(std::vector<Origin>& origins, Origin from, bool with_code);
  // Makes the graph or the product codes.
  [[nodiscard]] base::Status connect(const std::vector<Origin>& origins, const SealForm& form,
                                     const std::atomic<bool>& stop);
  void widen_worst(const CodeHead& head) noexcept;
  [[nodiscard]] base::Status write(base::Files& files, const std::string& path,
                                   const std::vector<Origin>& origins) const;
  [[nodiscard]] base::Status open_rows(const std::string& path, std::uint64_t offset);

  std::uint32_t first_;
  std::size_t dim_;
  Metric metric_;
  std::vector<std::int64_t> chunks_;
  std::vector<std::uint8_t> codes_;
  std::vector<CodeHead> heads_;
  CodeHead worst_{0, 0, 0};
  std::vector<float> exact_;  // flat parts; segments read their file
  std::optional<Graph> graph_;
  std::optional<IvfPq> ivf_;
  std::string file_;
  int descriptor_ = -1;
  std::uint64_t rows_at_ = 0;  // where single-precision rows begin in the file
};

}  // namespace dure::index

#endif  // DURE_INDEX_PART_H_
