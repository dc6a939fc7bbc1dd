#include "ivf_pq.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/impl/FaissException.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/invlists/InvertedLists.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "dure/index/kernels.h"

// FAISS's archive follows ours on the linker's line: this reference brings blas.cc in before it.
extern "C" int dgemm_();

namespace dure::index {
namespace {

[[gnu::used]] int (*const kBlas)() = &dgemm_;

constexpr std::size_t kBlock = 4096;           // rows of an add()
constexpr std::size_t kRowsPerList = 256;      // at most, on average
constexpr std::size_t kLeastTraining = 10000;  // rows, if there are as many
constexpr std::size_t kTrainingPerList = 40;
constexpr int kRounds = 10;  // of k-means
constexpr std::size_t kMostLists = 65536;

// One thread: libgomp must not start a team in a process that may fork (faiss#5206).
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

faiss::MetricType faiss_metric(Metric metric) noexcept {
  return metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

// Bytes of a row's code: a byte for four components where they divide.
std::size_t code_bytes(std::size_t dim) noexcept {
  for (const std::size_t part : {4U, 5U, 6U, 3U, 2U}) {
    if (dim % part == 0) return dim / part;
  }
  return dim;
}

std::size_t lists_for(std::size_t rows) noexcept {
  const auto roots = static_cast<std::size_t>(2.0 * std::sqrt(static_cast<double>(rows)));
  return std::clamp<std::size_t>(std::max(roots, rows / kRowsPerList / 8), 1, kMostLists);
}

base::Status failed(const faiss::FaissException& failure) {
  return {base::Code::kInternal, std::string("faiss: ") + failure.what()};
}

base::Status no_memory() {
  return {base::Code::kOutOfMemory, "no memory to build a segment of product codes"};
}

template <typename T>
void append(const T* values, std::size_t count, std::string& out) {
  out.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  // False if there are not as many.
  template <typename T>
  [[nodiscard]] bool take(T* values, std::size_t count) {
    if (count > bytes_.size() / sizeof(T)) return false;
    if (count > 0) std::memcpy(values, bytes_.data(), count * sizeof(T));
    bytes_.remove_prefix(count * sizeof(T));
    return true;
  }
  [[nodiscard]] bool at_end() const noexcept { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

std::unique_ptr<faiss::IndexIVFPQ> empty_index(std::size_t dim, std::size_t lists, Metric metric) {
  auto quantizer = std::make_unique<faiss::IndexFlat>(static_cast<faiss::Index::idx_t>(dim),
                                                      faiss_metric(metric));
  auto index = std::make_unique<faiss::IndexIVFPQ>(quantizer.get(), dim, lists, code_bytes(dim), 8,
                                                   faiss_metric(metric));
  index->own_fields = true;
  (void)quantizer.release();
  index->use_precomputed_table = -1;
  index->do_polysemous_training = false;
  return index;
}

// Rows spread evenly over all.
base::Status sample(std::size_t rows, std::size_t dim, std::size_t count,
                    const IvfPq::ReadRow& read, std::vector<float>& out) {
  out.resize(count * dim);
  for (std::size_t i = 0; i < count; ++i) {
    base::Status status = read(i * rows / count, out.data() + i * dim);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace

IvfPq::IvfPq(std::unique_ptr<faiss::IndexIVFPQ> index) : index_(std::move(index)) {
  read_centroids();
}
IvfPq::~IvfPq() = default;
IvfPq::IvfPq(IvfPq&&) noexcept = default;
IvfPq& IvfPq::operator=(IvfPq&&) noexcept = default;

std::size_t IvfPq::lists() const noexcept { return index_->nlist; }

void IvfPq::read_centroids() {
  const auto dim = static_cast<std::size_t>(index_->d);
  centroids_.resize(index_->nlist * dim);
  index_->quantizer->reconstruct_n(0, static_cast<faiss::Index::idx_t>(index_->nlist),
                                   centroids_.data());
  squares_.resize(index_->nlist);
  for (std::size_t i = 0; i < squares_.size(); ++i) {
    const float* centroid = centroids_.data() + i * dim;
    squares_[i] = kernels().dot_f32(centroid, centroid, dim);
  }
}

base::Result<IvfPq> IvfPq::build(std::size_t rows, std::size_t dim, Metric metric,
                                 const ReadRow& read, const std::atomic<bool>& stop) {
  const OneThread one_thread;
  try {
    const std::size_t lists = lists_for(rows);
    auto index = empty_index(dim, lists, metric);
    index->cp.niter = kRounds;
    index->pq.cp.niter = kRounds;
    index->cp.min_points_per_centroid = 1;  // fewer are no reason to print a warning
    index->pq.cp.min_points_per_centroid = 1;
    std::vector<float> block;
    const std::size_t training = std::min(rows, std::max(kLeastTraining, kTrainingPerList * lists));
    DURE_RETURN_IF_ERROR(sample(rows, dim, training, read, block));
    index->train(static_cast<faiss::Index::idx_t>(training), block.data());
    for (std::size_t begin = 0; begin < rows; begin += kBlock) {
      if (stop.load(std::memory_order_relaxed)) {
        return base::fail(base::Code::kCancelled, "the store is closing");
      }
      const std::size_t count = std::min(kBlock, rows - begin);
      block.resize(count * dim);
      for (std::size_t i = 0; i < count; ++i) {
        DURE_RETURN_IF_ERROR(read(begin + i, block.data() + i * dim));
      }
      index->add(static_cast<faiss::Index::idx_t>(count), block.data());
    }
    return IvfPq(std::move(index));
  } catch (const faiss::FaissException& failure) {
    return base::fail(failed(failure));
  } catch (const std::bad_alloc&) {
    return base::fail(no_memory());
  }
}

// Lists of rows of fixed size, one after another: counts, centroids, code book, sizes of the lists,
// their rows, their codes.
base::Result<IvfPq> IvfPq::load(std::string_view bytes, std::size_t rows, std::size_t dim,
                                Metric metric) {
  const auto wrong = [] {
    return base::fail(base::Code::kCorrupt, "product codes of another shape");
  };
  try {
    Reader in(bytes);
    std::uint64_t lists = 0;
    if (!in.take(&lists, 1) || lists == 0 || lists > kMostLists) return wrong();
    std::vector<float> centroids(lists * dim);
    if (!in.take(centroids.data(), centroids.size())) return wrong();
    auto index = empty_index(dim, lists, metric);
    index->quantizer->add(static_cast<faiss::Index::idx_t>(lists), centroids.data());
    if (!in.take(index->pq.centroids.data(), index->pq.centroids.size())) return wrong();
    std::vector<std::uint32_t> sizes(lists);
    if (!in.take(sizes.data(), sizes.size())) return wrong();
    std::vector<std::uint32_t> members;
    std::vector<faiss::Index::idx_t> ids;
    std::vector<std::uint8_t> codes;
    std::uint64_t total = 0;
    for (std::uint64_t list = 0; list < lists; ++list) {
      total += sizes[list];
      if (total > rows) return wrong();
      members.resize(sizes[list]);
      codes.resize(sizes[list] * index->code_size);
      if (!in.take(members.data(), members.size()) || !in.take(codes.data(), codes.size()) ||
          std::any_of(members.begin(), members.end(),
                      [rows](std::uint32_t row) { return row >= rows; })) {
        return wrong();
      }
      ids.assign(members.begin(), members.end());
      (void)index->invlists->add_entries(list, ids.size(), ids.data(), codes.data());
    }
    if (total != rows || !in.at_end()) return wrong();
    index->ntotal = static_cast<faiss::Index::idx_t>(rows);
    index->is_trained = true;
    return IvfPq(std::move(index));
  } catch (const faiss::FaissException& failure) {
    return base::fail(base::Code::kCorrupt, std::string("faiss: ") + failure.what());
  } catch (const std::bad_alloc&) {
    return base::fail(no_memory());
  }
}

std::string IvfPq::bytes() const {
  std::string out;
  const std::uint64_t lists = index_->nlist;
  append(&lists, 1, out);
  append(centroids_.data(), centroids_.size(), out);
  append(index_->pq.centroids.data(), index_->pq.centroids.size(), out);
  std::vector<std::uint32_t> numbers;
  for (std::size_t list = 0; list < lists; ++list) {
    numbers.push_back(static_cast<std::uint32_t>(index_->get_list_size(list)));
  }
  append(numbers.data(), numbers.size(), out);
  for (std::size_t list = 0; list < lists; ++list) {
    const std::size_t size = index_->get_list_size(list);
    const faiss::Index::idx_t* ids = index_->invlists->get_ids(list);
    numbers.assign(size, 0);
    for (std::size_t i = 0; i < size; ++i) numbers[i] = static_cast<std::uint32_t>(ids[i]);
    append(numbers.data(), size, out);
    append(index_->invlists->get_codes(list), size * index_->code_size, out);
  }
  return out;
}

base::Status IvfPq::search(const QueryVector& query, std::size_t count, std::size_t probes,
                           const std::uint64_t* passes, std::vector<Candidate>& found,
                           GraphStats& stats) const {
  found.clear();
  const auto dim = static_cast<std::size_t>(index_->d);
  const bool is_l2 = index_->metric_type == faiss::METRIC_L2;
  const float own = kernels().dot_f32(query.exact(), query.exact(), dim);
  std::vector<Candidate> near(index_->nlist);
  for (std::size_t i = 0; i < near.size(); ++i) {
    const float product = kernels().dot_f32(query.exact(), centroids_.data() + i * dim, dim);
    const float score = is_l2 ? 2.0F * product - squares_[i] - own : product;
    near[i] = {score, static_cast<std::uint32_t>(i)};
  }
  probes = std::clamp<std::size_t>(probes, 1, near.size());
  std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(probes), near.end(),
                    [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  std::vector<faiss::Index::idx_t> lists(probes);
  std::vector<float> distances(probes);
  for (std::size_t i = 0; i < probes; ++i) {
    lists[i] = near[i].row;
    distances[i] = is_l2 ? -near[i].score : near[i].score;
    stats.distances += index_->get_list_size(near[i].row);
  }
  std::vector<float> scores(count);
  std::vector<faiss::Index::idx_t> rows(count);
  try {
    faiss::IVFPQSearchParameters parameters;
    parameters.nprobe = probes;
    const std::size_t words = (static_cast<std::size_t>(index_->ntotal) + 63) / 64;
    faiss::IDSelectorBitmap selector(words * 8, reinterpret_cast<const std::uint8_t*>(passes));
    if (passes != nullptr) parameters.sel = &selector;
    index_->search_preassigned(1, query.exact(), static_cast<faiss::Index::idx_t>(count),
                               lists.data(), distances.data(), scores.data(), rows.data(), false,
                               &parameters);
  } catch (const faiss::FaissException& failure) {
    return failed(failure);
  }
  for (std::size_t i = 0; i < count && rows[i] >= 0; ++i) {
    found.push_back({is_l2 ? -scores[i] : scores[i], static_cast<std::uint32_t>(rows[i])});
  }
  return {};
}

}  // namespace dure::index
