// index/ivf_pq.h - an inverted file of product codes, by FAISS: for rows whose byte codes and links
// would not fit in memory. About a quarter of a byte a component; answers must be scored anew.
//
// Immutable once built; search() may run in several threads.
#ifndef DURE_INDEX_IVF_PQ_H_
#define DURE_INDEX_IVF_PQ_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/codes.h"
#include "dure/index/graph.h"

namespace faiss {
struct IndexIVFPQ;
}

namespace dure::index {

class IvfPq {
 public:
  // Copies a row in single precision.
  using ReadRow = std::function<base::Status(std::size_t row, float* out)>;

  // In this thread. kCancelled if `stop` becomes true meanwhile; what `read` returns if it fails.
  [[nodiscard]] static base::Result<IvfPq> build(std::size_t rows, std::size_t dim, Metric metric,
                                                 const ReadRow& read,
                                                 const std::atomic<bool>& stop);
  // From bytes(). kCorrupt if they are of another shape.
  [[nodiscard]] static base::Result<IvfPq> load(std::string_view bytes, std::size_t rows,
                                                std::size_t dim, Metric metric);
  ~IvfPq();
  IvfPq(IvfPq&&) noexcept;
  IvfPq& operator=(IvfPq&&) noexcept;

  [[nodiscard]] std::string bytes() const;
  [[nodiscard]] std::size_t lists() const noexcept;

  // The best `count` rows of the `probes` lists nearest to the question that `passes` (a bit per
  // row; null: all) lets through, best first, by estimated score.
  [[nodiscard]] base::Status search(const QueryVector& query, std::size_t count, std::size_t probes,
                                    const std::uint64_t* passes, std::vector<Candidate>& found,
                                    GraphStats& stats) const;

 private:
  explicit IvfPq(std::unique_ptr<faiss::IndexIVFPQ> index);
  void read_centroids();

  std::unique_ptr<faiss::IndexIVFPQ> index_;
  std::vector<float>
      centroids_;  // asked by our own kernels: FAISS's are slow where it is built for all
  std::vector<float> squares_;  // of their lengths
};

}  // namespace dure::index

#endif  // DURE_INDEX_IVF_PQ_H_
