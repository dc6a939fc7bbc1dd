#include "graph_builder.h"

#include <faiss/impl/HNSW.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "code_fetch.h"

namespace dure::index {
namespace {

constexpr std::size_t kStopEvery = 256;  // rows between two looks at `stop`
constexpr std::uint32_t kOrderSeed = 1;  // any: equal rows give equal graphs

// Each byte less 128: its highest bit turned over, eight at a time.
void to_signed(const std::uint8_t* code, std::size_t dim, std::int8_t* out) noexcept {
  constexpr std::uint64_t kHighest = 0x8080808080808080;
  std::size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, code + i, 8);
    eight ^= kHighest;
    std::memcpy(out + i, &eight, 8);
  }
  for (; i < dim; ++i) out[i] = static_cast<std::int8_t>(code[i] ^ 0x80U);
}

}  // namespace

GraphBuilder::GraphBuilder(const CodeRows& rows, Metric metric, const GraphParams& params)
    : rows_(rows), metric_(metric), params_(params), kernels_(kernels()), shifts_(rows.size) {
  const auto m = static_cast<std::size_t>(params.m);
  lowest_.most = 2 * m;
  lowest_.width = 3 * m;
  upper_.most = m;
  upper_.width = m + m / 2 + 1;
  draw_levels();
  lowest_.resize(rows.size);
  for (std::size_t row = 0; row < rows.size; ++row) {
    const std::uint8_t* code = rows.codes + row * rows.dim;
    const std::int32_t sum = std::accumulate(code, code + rows.dim, std::int32_t{0});
    shifts_[row] = 128 * (sum - 128 * static_cast<std::int32_t>(rows.dim));
  }
}

void GraphBuilder::draw_levels() {
  faiss::HNSW drawn(params_.m);
  levels_.resize(rows_.size);
  upper_at_.resize(rows_.size);
  std::uint32_t lists = 0;
  for (std::size_t row = 0; row < rows_.size; ++row) {
    levels_[row] = static_cast<std::uint8_t>(drawn.random_level());
    upper_at_[row] = lists;
    lists += levels_[row];
  }
  upper_.resize(lists);
}

void GraphBuilder::centre(std::uint32_t row, Centre& out) const {
  const std::uint8_t* const code = rows_.codes + std::size_t{row} * rows_.dim;
  out.code.resize(rows_.dim);
  to_signed(code, rows_.dim, out.code.data());
  out.scale = rows_.heads[row].scale;
  out.squares = rows_.heads[row].squares;
  out.shift = shifts_[row];
}

float GraphBuilder::score(const Centre& from, std::int32_t sum, std::uint32_t row) const noexcept {
  const CodeHead& head = rows_.heads[row];
  const float product = from.scale * head.scale * static_cast<float>(sum - from.shift);
  return metric_ == Metric::kL2 ? 2.0F * product - head.squares - from.squares : product;
}

// Calls meet(row, score) until it says no.
template <typename Meet>
void GraphBuilder::score_each(const Centre& from, std::span<const std::uint32_t> rows,
                              const Meet& meet) const {
  std::size_t at = 0;
  for (; at + 4 <= rows.size(); at += 4) {
    const std::uint8_t* four[4];
    std::int32_t sums[4];
    for (std::size_t j = 0; j < 4; ++j) {
      four[j] = rows_.codes + std::size_t{rows[at + j]} * rows_.dim;
    }
    kernels_.dot_u8s8_x4(four, from.code.data(), rows_.dim, sums);
    for (std::size_t j = 0; j < 4; ++j) {
      if (!meet(rows[at + j], score(from, sums[j], rows[at + j]))) return;
    }
  }
  for (; at < rows.size(); ++at) {
    const std::int32_t sum = kernels_.dot_u8s8(rows_.codes + std::size_t{rows[at]} * rows_.dim,
                                               from.code.data(), rows_.dim);
    if (!meet(rows[at], score(from, sum, rows[at]))) return;
  }
}

std::size_t GraphBuilder::list_of(int level, std::uint32_t row) const noexcept {
  return level == 0 ? row : upper_at_[row] + static_cast<std::size_t>(level) - 1;
}

std::span<std::uint32_t> GraphBuilder::links_of(int level, std::uint32_t row) noexcept {
  return lists_of(level).of(list_of(level, row));
}

Candidate GraphBuilder::descend(int level, Candidate best) {
  for (bool moved = true; moved;) {
    moved = false;
    score_each(row_, links_of(level, best.row), [&](std::uint32_t row, float score) {
      if (score > best.score) {
        best = {score, row};
        moved = true;
      }
      return true;
    });
  }
  return best;
}

// Fills met_ with the best rows of a level around `start`.
void GraphBuilder::meet_around(int level, Candidate start) {
  Pool pool(static_cast<std::size_t>(params_.ef_construction), met_);
  scratch_.begin(rows_.size);
  (void)scratch_.visit(start.row);
  pool.insert(start);
  std::uint32_t from = 0;
  while (pool.take(from)) {
    fresh_.clear();
    for (const std::uint32_t row : links_of(level, from)) {
      if (!scratch_.visit(row)) continue;
      fetch_code(rows_.codes + std::size_t{row} * rows_.dim, rows_.dim);
      fresh_.push_back(row);
    }
    __builtin_prefetch(links_of(level, pool.peek(from)).data());
    score_each(row_, fresh_, [&pool](std::uint32_t row, float score) {
      pool.insert({score, row});
      return true;
    });
  }
  pool.release();
}

void GraphBuilder::keep_spread(std::span<const Candidate> met, std::size_t most,
                               std::vector<std::uint32_t>& kept) {
  kept.clear();
  equal_.clear();
  if (met.size() <= most) {
    for (const Candidate& one : met) kept.push_back(one.row);
    return;
  }
  for (const Candidate& one : met) {
    if (kept.size() == most) return;
    // Rows equal to the centre fill half of the list at first: the rest leads out of them.
    if (kept.size() >= most / 2 && one.score == met.front().score) {
      equal_.push_back(one.row);
      continue;
    }
    centre(one.row, other_);
    bool hidden = false;
    score_each(other_, kept, [&](std::uint32_t /*row*/, float score) {
      hidden = score > one.score;
      return !hidden;
    });
    if (!hidden) kept.push_back(one.row);
  }
  for (std::size_t i = 0; i < equal_.size() && kept.size() < most; ++i) kept.push_back(equal_[i]);
}

void GraphBuilder::thin(int level, std::uint32_t row) {
  centre(row, owner_);
  sorted_.clear();
  score_each(owner_, links_of(level, row), [this](std::uint32_t link, float score) {
    sorted_.push_back({score, link});
    return true;
  });
  // Of equal ones the latest: else rows that are all equal would link the same few.
  std::reverse(sorted_.begin(), sorted_.end());
  std::stable_sort(sorted_.begin(), sorted_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  Lists& lists = lists_of(level);
  std::vector<std::uint32_t>& kept = fresh_;
  keep_spread(sorted_, lists.most, kept);
  const std::size_t list = list_of(level, row);
  std::copy(kept.begin(), kept.end(),
            lists.links.begin() + static_cast<std::ptrdiff_t>(list * lists.width));
  lists.sizes[list] = static_cast<std::uint16_t>(kept.size());
}

void GraphBuilder::add_link(int level, std::uint32_t from, std::uint32_t to) {
  Lists& lists = lists_of(level);
  const std::size_t list = list_of(level, from);
  if (lists.sizes[list] == lists.width) thin(level, from);
  lists.links[list * lists.width + lists.sizes[list]++] = to;
}

// Links `row` with a spread of what was met, both ways.
void GraphBuilder::link(int level, std::uint32_t row) {
  keep_spread(met_, lists_of(level).most, kept_);
  for (const std::uint32_t other : kept_) {
    add_link(level, row, other);
    add_link(level, other, row);
  }
}

void GraphBuilder::insert(std::uint32_t row) {
  const int level = levels_[row];
  if (top_ < 0) {
    entry_ = row;
    top_ = level;
    return;
  }
  centre(row, row_);
  Candidate best{0, entry_};
  score_each(row_, {&entry_, 1}, [&best](std::uint32_t /*row*/, float score) {
    best.score = score;
    return true;
  });
  for (int at = top_; at > level; --at) best = descend(at, best);
  for (int at = std::min(level, top_); at >= 0; --at) {
    meet_around(at, best);
    best = met_.front();
    link(at, row);
  }
}

GraphData GraphBuilder::finish() {
  GraphData data;
  data.stride = static_cast<std::uint32_t>(lowest_.most);
  data.entry = static_cast<std::int32_t>(entry_);
  data.top_level = top_;
  data.lowest.assign(rows_.size * lowest_.most, -1);
  data.upper.assign(upper_.sizes.size() * upper_.most, -1);
  for (std::uint32_t row = 0; row < rows_.size; ++row) {
    for (int level = 0; level <= levels_[row]; ++level) {
      const Lists& lists = lists_of(level);
      const std::size_t list = list_of(level, row);
      if (lists.sizes[list] > lists.most) thin(level, row);
      auto& out = level == 0 ? data.lowest : data.upper;
      const auto links = links_of(level, row);
      std::copy(links.begin(), links.end(),
                out.begin() + static_cast<std::ptrdiff_t>(list * lists.most));
    }
  }
  data.levels = std::move(levels_);
  data.upper_at = std::move(upper_at_);
  return data;
}

base::Result<GraphData> GraphBuilder::run(const std::atomic<bool>& stop) {
  // Highest first, in random order: the first rows that are met span the whole.
  std::vector<std::uint32_t> order(rows_.size);
  std::iota(order.begin(), order.end(), 0U);
  std::mt19937 random(kOrderSeed);
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random() % left]);
  }
  std::stable_sort(order.begin(), order.end(),
                   [this](std::uint32_t a, std::uint32_t b) { return levels_[a] > levels_[b]; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i % kStopEvery == 0 && stop.load(std::memory_order_relaxed)) {
      return base::fail(base::Code::kCancelled, "the store is closing");
    }
    insert(order[i]);
  }
  return finish();
}

}  // namespace dure::index
