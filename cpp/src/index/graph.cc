#include "dure/index/graph.h"

#include <algorithm>
#include <bit>
#include <new>

#include "code_fetch.h"
#include "dure/index/kernels.h"
#include "graph_builder.h"
#include "pool.h"

namespace dure::index {
namespace {

constexpr std::size_t kSeeds = 4;  // of a walk through rows that pass

bool bit(const std::uint64_t* bits, std::uint32_t row) noexcept {
  return ((bits[row >> 6U] >> (row & 63U)) & 1U) != 0;
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
  if (rows.size == 0 || rows.size >= (std::size_t{1} << 24U)) {
    return base::fail(base::Code::kInternal, "a segment holds 1 to 2^24 rows");
  }
  try {
    auto data = GraphBuilder(rows, metric, params).run(stop);
    if (!data) return base::fail(std::move(data.error()));
    return Graph(std::move(*data));
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

Candidate Graph::descend(const QueryVector& query, const CodeRows& rows, GraphScratch& scratch,
                         GraphStats& stats) const {
  const std::size_t half = data_.stride / 2;
  std::vector<std::uint32_t>& fresh = scratch.fresh;
  Candidate best{0, static_cast<std::uint32_t>(data_.entry)};
  fresh.assign(1, best.row);
  score_all(query, rows, fresh, [&best](Candidate one) { best = one; });
  ++stats.distances;
  for (int level = data_.top_level; level >= 1; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const std::size_t list = data_.upper_at[best.row] + static_cast<std::size_t>(level) - 1;
      const std::int32_t* links = data_.upper.data() + list * half;
      fresh.clear();
      for (std::size_t i = 0; i < half && links[i] >= 0; ++i) {
        fresh.push_back(static_cast<std::uint32_t>(links[i]));
        fetch_code(rows.codes + std::size_t{fresh.back()} * rows.dim, rows.dim);
      }
      stats.distances += fresh.size();
      score_all(query, rows, fresh, [&](Candidate one) {
        if (one.score <= best.score) return;
        best = one;
        moved = true;
      });
    }
  }
  return best;
}

void Graph::search(const QueryVector& query, const CodeRows& rows, std::size_t ef,
                   const std::uint64_t* passes, GraphScratch& scratch,
                   std::vector<Candidate>& found, GraphStats& stats) const {
  if (passes == nullptr) {
    walk_all(query, rows, ef, scratch, found, stats, [](Candidate) {});
    return;
  }
  Pool passing(ef, found);
  walk_all(query, rows, ef, scratch, scratch.walk, stats, [&](Candidate one) {
    if (bit(passes, one.row)) passing.insert(one);
  });
  passing.release();
}

// `also(Candidate)` is called for each row that is met.
template <typename Also>
void Graph::walk_all(const QueryVector& query, const CodeRows& rows, std::size_t ef,
                     GraphScratch& scratch, std::vector<Candidate>& found, GraphStats& stats,
                     const Also& also) const {
  Pool pool(ef, found);
  scratch.begin(rows.size);
  const auto meet = [&](Candidate one) {
    pool.insert(one);
    also(one);
  };
  const Candidate start = descend(query, rows, scratch, stats);
  (void)scratch.visit(start.row);
  meet(start);
  std::vector<std::uint32_t>& fresh = scratch.fresh;
  std::uint32_t from = 0;
  while (pool.take(from)) {
    fresh.clear();
    const std::int32_t* links = data_.lowest.data() + std::size_t{from} * data_.stride;
    for (std::size_t i = 0; i < data_.stride && links[i] >= 0; ++i) {
      const auto row = static_cast<std::uint32_t>(links[i]);
      if (!scratch.visit(row)) continue;
      fetch_code(rows.codes + row * rows.dim, rows.dim);
      __builtin_prefetch(rows.heads + row);
      fresh.push_back(row);
    }
    fetch_links(pool.peek(from));  // probably the next
    stats.distances += fresh.size();
    score_all(query, rows, fresh, meet);
  }
  pool.release();
}

void Graph::fetch_links(std::uint32_t row) const noexcept {
  const auto* links =
      reinterpret_cast<const char*>(data_.lowest.data() + std::size_t{row} * data_.stride);
  for (std::size_t at = 0; at < data_.stride * sizeof(std::int32_t); at += 64) {
    __builtin_prefetch(links + at);
  }
}

// Rows that pass, at most two links away. A row that does not pass is opened once.
void Graph::gather_passing(std::uint32_t from, const std::uint64_t* passes, GraphScratch& scratch,
                           std::vector<std::uint32_t>& fresh) const {
  const auto links_of = [this](std::uint32_t row) {
    return data_.lowest.data() + std::size_t{row} * data_.stride;
  };
  const std::size_t begin = fresh.size();
  std::vector<std::uint32_t>& closed = scratch.closed;
  closed.clear();
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
  std::vector<std::uint32_t>& fresh = scratch.fresh;
  const auto meet_fresh = [&] {
    for (const std::uint32_t row : fresh) fetch_code(rows.codes + row * rows.dim, rows.dim);
    stats.distances += fresh.size();
    score_all(query, rows, fresh, [&walk](Candidate one) { walk.insert(one); });
    fresh.clear();
  };
  const Candidate start = descend(query, rows, scratch, stats);
  (void)scratch.visit(start.row);
  fresh.clear();
  if (bit(passes, start.row)) fresh.push_back(start.row);
  gather_passing(start.row, passes, scratch, fresh);
  add_seeds(passes, rows.size, scratch, fresh);
  meet_fresh();
  std::uint32_t from = 0;
  while (walk.take(from)) {
    gather_passing(from, passes, scratch, fresh);
    meet_fresh();
  }
  walk.release();
}

}  // namespace dure::index
