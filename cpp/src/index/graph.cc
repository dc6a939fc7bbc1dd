#include "dure/index/graph.h"

#include <faiss/IndexHNSW.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/FaissException.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <new>
#include <numeric>

#include "dure/index/kernels.h"

// FAISS's archive follows ours on the linker's line: this reference brings blas.cc in before it.
extern "C" int dgemm_();

namespace dure::index {
namespace {

[[gnu::used]] int (*const kBlas)() = &dgemm_;

constexpr std::size_t kSeeds = 4;     // of a walk through rows that pass
constexpr std::size_t kBatch = 2000;  // rows per add(): FAISS allocates locks for all rows in each

// Distances between coded rows, smaller is nearer. A row is named by its number, written as a
// float: exact below 2^24, and FAISS only hands the pointer back to set_query.
class RowDistance final : public faiss::DistanceComputer {
 public:
  RowDistance(const CodeRows& rows, Metric metric)
      : rows_(rows), metric_(metric), query_(rows.dim) {}

  void set_query(const float* x) override { centre(static_cast<std::size_t>(*x)); }
  float operator()(idx_t i) override { return to_centre(static_cast<std::size_t>(i)); }
  float symmetric_dis(idx_t i, idx_t j) override {
    if (pair_ != j) {  // FAISS compares many rows with one, which it names second
      pair_ = j;
      to_signed(static_cast<std::size_t>(j), pair_query_, pair_shift_);
    }
    return distance(static_cast<std::size_t>(j), static_cast<std::size_t>(i), pair_query_.data(),
                    pair_shift_);
  }

 private:
  void centre(std::size_t row) {
    centre_ = row;
    to_signed(row, query_, shift_);
  }
  float to_centre(std::size_t row) const { return distance(centre_, row, query_.data(), shift_); }
  void to_signed(std::size_t row, std::vector<std::int8_t>& out, std::int32_t& shift) const {
    out.resize(rows_.dim);
    const std::uint8_t* code = rows_.codes + row * rows_.dim;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < rows_.dim; ++i) {
      out[i] = static_cast<std::int8_t>(code[i] - 128);
      sum += out[i];
    }
    shift = 128 * sum;
  }
  float distance(std::size_t a, std::size_t b, const std::int8_t* query, std::int32_t shift) const {
    const std::int32_t sum = kernel_(rows_.codes + b * rows_.dim, query, rows_.dim) - shift;
    const float product = rows_.heads[a].scale * rows_.heads[b].scale * static_cast<float>(sum);
    if (metric_ != Metric::kL2) return -product;
    return rows_.heads[a].squares + rows_.heads[b].squares - 2.0F * product;
  }

  CodeRows rows_;
  Metric metric_;
  decltype(Kernels::dot_u8s8) kernel_ = kernels().dot_u8s8;
  std::size_t centre_ = 0;
  std::vector<std::int8_t> query_;
  std::int32_t shift_ = 0;
  idx_t pair_ = -1;
  std::vector<std::int8_t> pair_query_;
  std::int32_t pair_shift_ = 0;
};

// What FAISS takes for its storage: it only asks for distances.
class CodeStorage final : public faiss::Index {
 public:
  CodeStorage(const CodeRows& rows, Metric metric)
      : faiss::Index(1, faiss::METRIC_L2), rows_(rows), metric_(metric) {
    is_trained = true;
  }
  void add(idx_t n, const float* /*x*/) override { ntotal += n; }
  void search(idx_t /*n*/, const float* /*x*/, idx_t /*k*/, float* /*distances*/, idx_t* /*labels*/,
              const faiss::SearchParameters* /*params*/) const override {
    FAISS_THROW_MSG("the graph is searched by dure::index::Graph");
  }
  void reset() override { ntotal = 0; }
  faiss::DistanceComputer* get_distance_computer() const override {
    return new RowDistance(rows_, metric_);  // FAISS owns it
  }

 private:
  CodeRows rows_;
  Metric metric_;
};

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

GraphData copy_links(const faiss::HNSW& hnsw, std::size_t rows) {
  GraphData data;
  data.stride = static_cast<std::uint32_t>(hnsw.nb_neighbors(0));
  data.entry = hnsw.entry_point;
  data.top_level = hnsw.max_level;
  data.lowest.assign(rows * data.stride, -1);
  data.levels.resize(rows);
  data.upper_at.resize(rows);
  const std::size_t half = data.stride / 2;
  for (std::size_t row = 0; row < rows; ++row) {
    const int top = hnsw.levels[row] - 1;
    data.levels[row] = static_cast<std::uint8_t>(top);
    data.upper_at[row] = static_cast<std::uint32_t>(data.upper.size() / half);
    for (int level = 0; level <= top; ++level) {
      std::size_t begin = 0;
      std::size_t end = 0;
      hnsw.neighbor_range(static_cast<faiss::HNSW::idx_t>(row), level, &begin, &end);
      const auto* from = hnsw.neighbors.data() + begin;
      if (level == 0) {
        std::copy_n(from, data.stride, data.lowest.data() + row * data.stride);
      } else {
        data.upper.insert(data.upper.end(), from, from + half);
      }
    }
  }
  return data;
}

// The best `capacity` candidates met so far, best first, and which of them were walked from.
class Pool {
 public:
  Pool(std::size_t capacity, std::vector<Candidate>& storage)
      : capacity_(capacity), entries_(storage) {
    entries_.clear();
    entries_.reserve(capacity + 1);
    walked_.reserve(capacity + 1);
  }
  [[nodiscard]] bool full() const noexcept { return entries_.size() == capacity_; }
  [[nodiscard]] float worst() const noexcept {
    return full() ? entries_.back().score : -std::numeric_limits<float>::infinity();
  }
  void insert(Candidate one) {
    if (full() && one.score <= entries_.back().score) return;
    const auto at =
        std::upper_bound(entries_.begin(), entries_.end(), one,
                         [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    const auto index = static_cast<std::size_t>(at - entries_.begin());
    entries_.insert(at, one);
    walked_.insert(walked_.begin() + static_cast<std::ptrdiff_t>(index), 0);
    if (entries_.size() > capacity_) {
      entries_.pop_back();
      walked_.pop_back();
    }
    next_ = std::min(next_, index);
  }
  // The best row nobody walked from; false if there is none.
  [[nodiscard]] bool take(std::uint32_t& row) noexcept {
    while (next_ < entries_.size() && walked_[next_] != 0) ++next_;
    if (next_ == entries_.size()) return false;
    walked_[next_] = 1;
    row = entries_[next_].row;
    return true;
  }

 private:
  std::size_t capacity_;
  std::vector<Candidate>& entries_;
  std::vector<std::uint8_t> walked_;
  std::size_t next_ = 0;
};

bool bit(const std::uint64_t* bits, std::uint32_t row) noexcept {
  return ((bits[row >> 6U] >> (row & 63U)) & 1U) != 0;
}

void fetch(const std::uint8_t* code, std::size_t dim) noexcept {
  for (std::size_t at = 0; at < dim; at += 64) __builtin_prefetch(code + at);
}

// Calls meet(Candidate) for each of `fresh`, four distances at a time.
template <typename Meet>
void score_all(const QueryVector& query, const CodeRows& rows,
               const std::vector<std::uint32_t>& fresh, const Meet& meet) {
  const auto& kernel = kernels();
  std::size_t at = 0;
  for (; at + 4 <= fresh.size(); at += 4) {
    const std::uint8_t* four[4];
    std::int32_t sums[4];
    for (std::size_t j = 0; j < 4; ++j) four[j] = rows.codes + fresh[at + j] * rows.dim;
    kernel.dot_u8s8_x4(four, query.code(), rows.dim, sums);
    for (std::size_t j = 0; j < 4; ++j) {
      const std::uint32_t row = fresh[at + j];
      meet(Candidate{query.estimate(sums[j], rows.heads[row]), row});
    }
  }
  for (; at < fresh.size(); ++at) {
    const std::uint32_t row = fresh[at];
    const std::int32_t sum = kernel.dot_u8s8(rows.codes + row * rows.dim, query.code(), rows.dim);
    meet(Candidate{query.estimate(sum, rows.heads[row]), row});
  }
}

// A few rows that pass, spread over all: where a walk begins that the entry alone does not reach.
void add_seeds(const std::uint64_t* passes, std::size_t rows, GraphScratch& scratch,
               std::vector<std::uint32_t>& fresh) {
  const std::size_t words = (rows + 63) / 64;
  for (std::size_t seed = 0; seed < kSeeds; ++seed) {
    const std::size_t begin = words * seed / kSeeds;
    const std::size_t end = words * (seed + 1) / kSeeds;
    for (std::size_t word = begin; word < end; ++word) {
      if (passes[word] == 0) continue;
      const auto row = static_cast<std::uint32_t>(
          word * 64 + static_cast<unsigned>(std::countr_zero(passes[word])));
      if (row < rows && scratch.visit(row)) fresh.push_back(row);
      break;
    }
  }
}

}  // namespace

void GraphScratch::begin(std::size_t rows) {
  if (marks_.size() < rows) marks_.resize(rows, 0);
  if (++epoch_ == 0) {  // wrapped: old marks would look new
    std::fill(marks_.begin(), marks_.end(), std::uint16_t{0});
    epoch_ = 1;
  }
}

base::Result<Graph> Graph::build(const CodeRows& rows, Metric metric, const GraphParams& params,
                                 const std::atomic<bool>& stop) {
  if (rows.size >= (std::size_t{1} << 24U)) {
    return base::fail(base::Code::kInternal, "a segment holds at most 2^24 rows");
  }
  const OneThread one_thread;
  try {
    CodeStorage storage(rows, metric);
    faiss::IndexHNSW index(&storage, params.m);
    index.own_fields = false;
    index.hnsw.efConstruction = params.ef_construction;
    std::vector<float> names(std::min(kBatch, rows.size));
    for (std::size_t begin = 0; begin < rows.size; begin += kBatch) {
      if (stop.load(std::memory_order_relaxed)) {
        return base::fail(base::Code::kCancelled, "the store is closing");
      }
      const std::size_t count = std::min(kBatch, rows.size - begin);
      for (std::size_t i = 0; i < count; ++i) names[i] = static_cast<float>(begin + i);
      index.add(static_cast<faiss::Index::idx_t>(count), names.data());
    }
    return Graph(copy_links(index.hnsw, rows.size));
  } catch (const faiss::FaissException& failure) {
    return base::fail(base::Code::kInternal, std::string("faiss: ") + failure.what());
  } catch (const std::bad_alloc&) {
    return base::fail(base::Code::kOutOfMemory, "no memory to build a graph segment");
  }
}

base::Result<Graph> Graph::load(GraphData data, std::size_t rows) {
  const auto limit = static_cast<std::int32_t>(rows);
  const auto inside = [limit](std::int32_t row) { return row >= -1 && row < limit; };
  const std::size_t half = data.stride / 2;
  bool sound = rows > 0 && data.stride >= 2 && data.lowest.size() == rows * data.stride &&
               data.levels.size() == rows && data.upper_at.size() == rows && data.entry >= 0 &&
               data.entry < limit && data.upper.size() % half == 0;
  sound = sound && data.top_level == data.levels[static_cast<std::size_t>(data.entry)];
  sound = sound && std::all_of(data.lowest.begin(), data.lowest.end(), inside) &&
          std::all_of(data.upper.begin(), data.upper.end(), inside);
  for (std::size_t row = 0; sound && row < rows; ++row) {
    sound = data.upper_at[row] + std::size_t{data.levels[row]} <= data.upper.size() / half;
  }
  const auto level_is_shared = [&data, half](std::size_t row, std::size_t level) {
    const std::int32_t* links = data.upper.data() + (data.upper_at[row] + level - 1) * half;
    return std::all_of(links, links + half, [&data, level](std::int32_t link) {
      return link < 0 || data.levels[static_cast<std::size_t>(link)] >= level;
    });
  };
  for (std::size_t row = 0; sound && row < rows; ++row) {
    for (std::size_t level = 1; sound && level <= data.levels[row]; ++level) {
      sound = level_is_shared(row, level);
    }
  }
  if (!sound) return base::fail(base::Code::kCorrupt, "a graph segment has links outside its rows");
  return Graph(std::move(data));
}

Candidate Graph::descend(const QueryVector& query, const CodeRows& rows, GraphStats& stats) const {
  const auto& dot = kernels().dot_u8s8;
  const auto score = [&](std::uint32_t row) {
    ++stats.distances;
    return query.estimate(dot(rows.codes + row * rows.dim, query.code(), rows.dim),
                          rows.heads[row]);
  };
  const std::size_t half = data_.stride / 2;
  Candidate best{0, static_cast<std::uint32_t>(data_.entry)};
  best.score = score(best.row);
  for (int level = data_.top_level; level >= 1; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const std::size_t list = data_.upper_at[best.row] + static_cast<std::size_t>(level) - 1;
      const std::int32_t* links = data_.upper.data() + list * half;
      for (std::size_t i = 0; i < half && links[i] >= 0; ++i) {
        const auto row = static_cast<std::uint32_t>(links[i]);
        const float met = score(row);
        if (met > best.score) {
          best = {met, row};
          moved = true;
        }
      }
    }
  }
  return best;
}

void Graph::search(const QueryVector& query, const CodeRows& rows, std::size_t ef,
                   const std::uint64_t* passes, GraphScratch& scratch,
                   std::vector<Candidate>& found, GraphStats& stats) const {
  std::vector<Candidate> walk_storage;
  std::vector<Candidate> unused;
  Pool walk(ef, passes == nullptr ? found : walk_storage);
  Pool passing(passes == nullptr ? 1 : ef, passes == nullptr ? unused : found);
  scratch.begin(rows.size);
  const auto meet = [&](Candidate one) {
    walk.insert(one);
    if (passes != nullptr && bit(passes, one.row)) passing.insert(one);
  };
  const Candidate start = descend(query, rows, stats);
  (void)scratch.visit(start.row);
  meet(start);

  std::vector<std::uint32_t> fresh;
  fresh.reserve(data_.stride + 4);
  std::uint32_t from = 0;
  while (walk.take(from)) {
    fresh.clear();
    const std::int32_t* links = data_.lowest.data() + std::size_t{from} * data_.stride;
    for (std::size_t i = 0; i < data_.stride && links[i] >= 0; ++i) {
      const auto row = static_cast<std::uint32_t>(links[i]);
      if (!scratch.visit(row)) continue;
      fetch(rows.codes + row * rows.dim, rows.dim);
      fresh.push_back(row);
    }
    stats.distances += fresh.size();
    score_all(query, rows, fresh, meet);
  }
}

// Rows that pass, at most two links away. A row that does not pass is opened once.
void Graph::gather_passing(std::uint32_t from, const std::uint64_t* passes, GraphScratch& scratch,
                           std::vector<std::uint32_t>& fresh) const {
  const auto links_of = [this](std::uint32_t row) {
    return data_.lowest.data() + std::size_t{row} * data_.stride;
  };
  const std::size_t begin = fresh.size();
  std::vector<std::uint32_t> closed;
  const std::int32_t* links = links_of(from);
  for (std::size_t i = 0; i < data_.stride && links[i] >= 0; ++i) {
    const auto row = static_cast<std::uint32_t>(links[i]);
    if (!bit(passes, row)) {
      __builtin_prefetch(links_of(row));
      closed.push_back(row);
    } else if (scratch.visit(row)) {
      fresh.push_back(row);
    }
  }
  for (const std::uint32_t through : closed) {
    if (fresh.size() - begin >= data_.stride) return;
    if (!scratch.visit(through)) continue;
    const std::int32_t* further = links_of(through);
    for (std::size_t i = 0; i < data_.stride && further[i] >= 0; ++i) {
      const auto row = static_cast<std::uint32_t>(further[i]);
      if (bit(passes, row) && scratch.visit(row)) fresh.push_back(row);
    }
  }
}

void Graph::search_passing(const QueryVector& query, const CodeRows& rows, std::size_t ef,
                           const std::uint64_t* passes, GraphScratch& scratch,
                           std::vector<Candidate>& found, GraphStats& stats) const {
  Pool walk(ef, found);
  scratch.begin(rows.size);
  std::vector<std::uint32_t> fresh;
  const auto meet_fresh = [&] {
    for (const std::uint32_t row : fresh) fetch(rows.codes + row * rows.dim, rows.dim);
    stats.distances += fresh.size();
    score_all(query, rows, fresh, [&walk](Candidate one) { walk.insert(one); });
    fresh.clear();
  };
  const Candidate start = descend(query, rows, stats);
  (void)scratch.visit(start.row);
  if (bit(passes, start.row)) fresh.push_back(start.row);
  gather_passing(start.row, passes, scratch, fresh);
  add_seeds(passes, rows.size, scratch, fresh);
  meet_fresh();
  std::uint32_t from = 0;
  while (walk.take(from)) {
    gather_passing(from, passes, scratch, fresh);
    meet_fresh();
  }
}

}  // namespace dure::index
