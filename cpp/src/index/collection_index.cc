#include "collection_index.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <shared_mutex>
#include <utility>

#include "dure/index/fusion.h"
#include "dure/index/kernels.h"
#include "dure/index/planner.h"

namespace dure::index {
namespace {

constexpr std::size_t kWord = 64;
constexpr std::size_t kFilters = 64;         // bit sets kept
constexpr std::size_t kFewestReranked = 20;  // rows of a graph's answer scored anew
constexpr std::size_t kFusionDepth = 50;     // of each list, at least
constexpr std::size_t kReadCost = 16;  // of a row that is read from a file, in rows of byte codes
constexpr std::size_t kUsualCodedEf = 256;  // candidates of product codes that are read
constexpr std::size_t kRowsPerProbe = 8;    // of them, for each list that is looked at
constexpr const char* kMetTooFew = "the walk met too few: all that pass are looked at";

bool bit(const std::vector<std::uint64_t>& bits, std::uint32_t row) noexcept {
  const std::size_t word = row / kWord;
  return word < bits.size() && ((bits[word] >> (row % kWord)) & 1U) != 0;
}

void set_bit(std::vector<std::uint64_t>& bits, std::uint32_t row) {
  const std::size_t word = row / kWord;
  if (word >= bits.size()) bits.resize(word + 1, 0);
  bits[word] |= std::uint64_t{1} << (row % kWord);
}

std::size_t words_for(std::size_t rows) noexcept { return (rows + kWord - 1) / kWord; }

// Keeps the best `k`, as a heap whose front is the worst.
void keep(std::vector<ScoredRow>& best, ScoredRow one, std::size_t k) {
  if (best.size() < k) {
    best.push_back(one);
    std::push_heap(best.begin(), best.end(), ranks_before);
  } else if (ranks_before(one, best.front())) {
    std::pop_heap(best.begin(), best.end(), ranks_before);
    best.back() = one;
    std::push_heap(best.begin(), best.end(), ranks_before);
  }
}

float worst_kept(const std::vector<ScoredRow>& best, std::size_t k) noexcept {
  return best.size() < k ? -std::numeric_limits<float>::infinity() : best.front().score;
}

}  // namespace

CollectionIndex::CollectionIndex(std::size_t dim, Metric metric, const SealPolicy& policy)
    : dim_(dim), metric_(metric), policy_(policy), words_(std::move(*Bm25::create())) {}

std::uint32_t CollectionIndex::next_first() const noexcept {
  if (parts_.empty()) return 0;
  const std::size_t end = parts_.back()->first() + parts_.back()->size();
  return static_cast<std::uint32_t>(words_for(end) * kWord);
}

void CollectionIndex::add_segment(std::shared_ptr<Part> part) {
  metadata_.resize(part->first() + part->size());
  live_.resize(words_for(metadata_.size()), 0);
  dead_count_ += part->size();
  parts_.push_back(std::move(part));
  open_ = false;
}

bool CollectionIndex::take_words(std::string_view bytes) {
  if (parts_.size() != 1 || parts_.front()->first() != 0) return false;
  auto words = Bm25::deserialise(bytes);
  if (!words) return false;
  // Rows that came after the segment are not of its numbers any more.
  std::vector<RowNumber> numbers((*words)->rows());
  for (std::size_t row = 0; row < numbers.size(); ++row) {
    numbers[row] = row < parts_.front()->size() ? static_cast<RowNumber>(row) : Bm25::kGone;
  }
  if (!(*words)->renumber(numbers).ok()) return false;
  words_ = std::move(*words);
  return true;
}

void CollectionIndex::forget_dead_words() {
  for (RowNumber row = 0; row < words_->rows(); ++row) {
    if (words_->live(row) && !bit(live_, row)) (void)words_->remove(row);
  }
}

std::string CollectionIndex::words_of_segment() const {
  const std::shared_lock lock(mutex_);
  return words_->serialise();
}

void CollectionIndex::know_files(std::vector<std::string> files) {
  std::sort(files.begin(), files.end());
  const std::unique_lock lock(mutex_);
  files_ = std::move(files);
}

bool CollectionIndex::knows(const std::vector<std::string>& files) const {
  std::vector<std::string> sorted = files;
  std::sort(sorted.begin(), sorted.end());
  const std::shared_lock lock(mutex_);
  return sorted == files_;
}

bool CollectionIndex::revive(const NewRow& row) {
  const std::int64_t at = find(row.chunk);
  if (at < 0) return false;
  --dead_count_;
  make_live(static_cast<std::uint32_t>(at), row);
  return true;
}

Part& CollectionIndex::open_part() {
  if (!open_) {
    parts_.push_back(std::make_shared<Part>(next_first(), dim_, metric_));
    open_ = true;
  }
  return *parts_.back();
}

void CollectionIndex::close_part() { open_ = false; }

void CollectionIndex::make_live(std::uint32_t row, const NewRow& from) {
  if (metadata_.size() <= row) metadata_.resize(row + std::size_t{1});
  metadata_[row] = from.metadata;
  ids_.append(row, from.id);
  if (from.has_text) (void)words_->add(row, from.words);
  set_bit(live_, row);
  ++live_count_;
}

std::int64_t CollectionIndex::find(std::int64_t chunk) const {
  for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) {
    const std::int64_t row = (*part)->find(chunk);
    if (row >= 0) return static_cast<std::int64_t>((*part)->first()) + row;
  }
  return -1;
}

void CollectionIndex::kill(std::int64_t chunk) {
  const std::int64_t at = find(chunk);
  if (at < 0) return;
  const auto row = static_cast<std::uint32_t>(at);
  if (!bit(live_, row)) return;
  live_[row / kWord] &= ~(std::uint64_t{1} << (row % kWord));
  --live_count_;
  ++dead_count_;
  (void)words_->remove(row);
  metadata_[row].clear();
  metadata_[row].shrink_to_fit();
}

void CollectionIndex::apply(const std::vector<std::int64_t>& dead, std::vector<NewRow> rows) {
  const std::unique_lock lock(mutex_);
  for (const std::int64_t chunk : dead) kill(chunk);
  for (const NewRow& row : rows) {
    Part& part = open_part();
    const auto number = static_cast<std::uint32_t>(part.first() + part.size());
    part.append(row.chunk, row.vector.data());
    make_live(number, row);
    if (part.size() >= policy_.part_rows) close_part();
  }
}

bool CollectionIndex::replace(const std::shared_ptr<Part>& sealed) {
  const std::unique_lock lock(mutex_);
  const std::size_t end = sealed->first() + sealed->size();
  const auto begins = std::find_if(parts_.begin(), parts_.end(), [&sealed](const auto& part) {
    return part->first() == sealed->first();
  });
  auto last = begins;
  while (last != parts_.end() && (*last)->first() + (*last)->size() < end) ++last;
  if (last == parts_.end() || (*last)->first() + (*last)->size() != end) return false;
  if (open_ && last + 1 == parts_.end()) return false;  // rows may have come meanwhile
  *begins = sealed;
  parts_.erase(begins + 1, last + 1);
  return true;
}

void CollectionIndex::take(CollectionIndex& other) {
  const std::unique_lock lock(mutex_);
  const std::lock_guard<std::mutex> filters(filters_mutex_);
  parts_ = std::move(other.parts_);
  open_ = other.open_;
  live_ = std::move(other.live_);
  live_count_ = other.live_count_;
  dead_count_ = other.dead_count_;
  metadata_ = std::move(other.metadata_);
  ids_ = std::move(other.ids_);
  words_ = std::move(other.words_);
  files_ = std::move(other.files_);
  filters_.clear();
  columns_.clear();
}

std::vector<std::shared_ptr<const Part>> CollectionIndex::to_seal(bool all) {
  const std::unique_lock lock(mutex_);
  std::vector<std::shared_ptr<const Part>> chosen;
  if (all) {
    close_part();
    if (parts_.size() == 1 && parts_.front()->is_segment()) return {};
    return {parts_.begin(), parts_.end()};
  }
  const std::size_t closed = parts_.size() - (open_ ? 1 : 0);
  std::size_t begin = closed;
  std::size_t rows = 0;
  while (begin > 0 && !parts_[begin - 1]->is_segment()) rows += parts_[--begin]->size();
  if (rows < policy_.seal_rows) return {};
  // Size tiers: a segment joins if it is not much larger than what comes after it.
  while (begin > 0 && (parts_[begin - 1]->size() <= rows || begin >= kMostSegments)) {
    rows += parts_[--begin]->size();
  }
  chosen.assign(parts_.begin() + static_cast<std::ptrdiff_t>(begin),
                parts_.begin() + static_cast<std::ptrdiff_t>(closed));
  return chosen;
}

std::size_t CollectionIndex::graph_memory(
    const std::vector<std::shared_ptr<const Part>>& replaced) const {
  const std::shared_lock lock(mutex_);
  std::size_t bytes = 0;
  for (const auto& part : parts_) {
    const bool goes = std::any_of(replaced.begin(), replaced.end(),
                                  [&part](const auto& one) { return one.get() == part.get(); });
    if (!goes && part->is_segment() && part->product_codes() == nullptr) {
      bytes += Part::graph_bytes(part->size(), dim_, policy_.graph);
    }
  }
  return bytes;
}

std::size_t CollectionIndex::unsealed() const {
  const std::shared_lock lock(mutex_);
  std::size_t rows = 0;
  for (const auto& part : parts_) rows += part->is_segment() ? 0 : part->size();
  return rows;
}

bool CollectionIndex::wants_rebuild() const {
  const std::shared_lock lock(mutex_);
  return dead_count_ > policy_.part_rows && dead_count_ * 10 > (dead_count_ + live_count_) * 3;
}

bool CollectionIndex::has_dead() const {
  const std::shared_lock lock(mutex_);
  return dead_count_ > 0;
}

std::size_t CollectionIndex::segments() const {
  const std::shared_lock lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(parts_.begin(), parts_.end(), [](const auto& p) { return p->is_segment(); }));
}

const std::shared_ptr<Part>& CollectionIndex::part_of(std::uint32_t row) const {
  const auto after = std::upper_bound(
      parts_.begin(), parts_.end(), row,
      [](std::uint32_t number, const auto& part) { return number < part->first(); });
  return *(after - 1);
}

// A row's metadata never changes, so a filter's bits only grow with the rows.
base::Result<std::shared_ptr<const CollectionIndex::Bits>> CollectionIndex::bits_of(
    const std::string& where) const {
  const std::lock_guard<std::mutex> lock(filters_mutex_);
  auto at = std::find_if(filters_.begin(), filters_.end(),
                         [&where](const CachedFilter& one) { return one.text == where; });
  if (at == filters_.end()) {
    auto parsed = Filter::parse(where);
    if (!parsed) return base::fail(std::move(parsed.error()));
    filters_.push_front({where, std::make_shared<const Filter>(std::move(*parsed)),
                         std::make_shared<const Bits>(), 0});
    if (filters_.size() > kFilters) filters_.pop_back();
  } else {
    filters_.splice(filters_.begin(), filters_, at);
  }
  CachedFilter& cached = filters_.front();
  if (cached.rows < metadata_.size()) {
    if (base::Status status = grow(cached); !status.ok()) {
      filters_.pop_front();
      return base::fail(std::move(status));
    }
  }
  return cached.bits;
}

// By columns if they can tell, else by reading the rows that are new.
base::Status CollectionIndex::grow(CachedFilter& cached) const {
  auto found = columns_.passing(*cached.filter, metadata_, live_);
  if (!found) return std::move(found.error());
  Bits bits;
  if (*found) {
    bits = std::move(**found);
  } else {
    bits = *cached.bits;
    bits.resize(words_for(metadata_.size()), 0);
    FilterMatcher matcher(*cached.filter);
    for (std::size_t row = cached.rows; row < metadata_.size(); ++row) {
      const auto number = static_cast<std::uint32_t>(row);
      if (!bit(live_, number)) continue;
      const auto passes = matcher.matches(metadata_[row]);
      if (!passes) return passes.error();
      if (*passes) set_bit(bits, number);
    }
  }
  cached.bits = std::make_shared<const Bits>(std::move(bits));
  cached.rows = metadata_.size();
  return {};
}

base::Result<std::size_t> CollectionIndex::count(const std::string* where) const {
  const std::shared_lock lock(mutex_);
  if (where == nullptr) return live_count_;
  const auto bits = bits_of(*where);
  if (!bits) return base::fail(bits.error());
  std::size_t rows = 0;
  for (std::size_t word = 0; word < live_.size(); ++word) {
    rows += static_cast<std::size_t>(std::popcount(live_[word] & (**bits)[word]));
  }
  return rows;
}

base::Result<std::vector<std::int64_t>> CollectionIndex::passing(const std::string& where) const {
  const std::shared_lock lock(mutex_);
  const auto bits = bits_of(where);
  if (!bits) return base::fail(bits.error());
  std::vector<std::int64_t> chunks;
  for (const auto& part : parts_) {
    for (std::size_t i = 0; i < part->size(); ++i) {
      const auto row = static_cast<std::uint32_t>(part->first() + i);
      if (bit(live_, row) && bit(**bits, row)) chunks.push_back(part->chunk(i));
    }
  }
  std::sort(chunks.begin(), chunks.end());
  return chunks;
}

// Every row whose estimate may reach the best: exact, whatever the codes lost.
base::Status CollectionIndex::scan(const Part& part, const SearchSpec& spec,
                                   const std::uint64_t* passes, std::vector<ScoredRow>& best,
                                   Plan& plan) const {
  const QueryVector& query = *spec.vector;
  const CodeRows rows = part.rows();
  const float bound = query.bound(part.worst());
  std::vector<ScoredRow> maybe;
  std::vector<ScoredRow> sure;  // heap of the best lower bounds
  float threshold = worst_kept(best, spec.top_k);
  const auto meet = [&](std::uint32_t row, std::int32_t sum) {
    const float estimate = query.estimate(sum, rows.heads[row]);
    if (estimate + bound < threshold) return;
    maybe.push_back({row, estimate});
    keep(sure, {row, estimate - bound}, spec.top_k);
    threshold = std::max(threshold, worst_kept(sure, spec.top_k));
  };
  const Kernels& kernel = kernels();
  std::uint32_t four[4];
  const std::uint8_t* codes[4];
  std::int32_t sums[4];
  std::size_t waiting = 0;
  std::size_t met = 0;
  for (std::size_t word = 0; word < words_for(rows.size); ++word) {
    const std::size_t left = rows.size - word * kWord;
    const std::uint64_t inside =
        left >= kWord ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1U;
    for (std::uint64_t bits = passes[word] & inside; bits != 0; bits &= bits - 1) {
      const auto row =
          static_cast<std::uint32_t>(word * kWord + static_cast<unsigned>(std::countr_zero(bits)));
      four[waiting] = row;
      codes[waiting] = rows.codes + row * rows.dim;
      ++met;
      if (++waiting < 4) continue;
      kernel.dot_u8s8_x4(codes, query.code(), rows.dim, sums);
      for (std::size_t j = 0; j < 4; ++j) meet(four[j], sums[j]);
      waiting = 0;
    }
  }
  for (std::size_t j = 0; j < waiting; ++j) {
    meet(four[j], kernel.dot_u8s8(codes[j], query.code(), rows.dim));
  }
  plan.distances += met;
  std::vector<float> vector(dim_);
  for (const ScoredRow& one : maybe) {
    if (one.score + bound < threshold) continue;
    if (base::Status status = part.read(one.row, vector.data()); !status.ok()) return status;
    keep(best, {part.first() + one.row, query.score(vector.data(), rows.heads[one.row])},
         spec.top_k);
  }
  return {};
}

base::Status CollectionIndex::read_all(const Part& part, const SearchSpec& spec,
                                       const std::uint64_t* passes, std::vector<ScoredRow>& best,
                                       Plan& plan) const {
  std::vector<float> vector(dim_);
  for (std::size_t row = 0; row < part.size(); ++row) {
    if (((passes[row / kWord] >> (row % kWord)) & 1U) == 0) continue;
    ++plan.distances;
    if (base::Status status = part.read(row, vector.data()); !status.ok()) return status;
    keep(best,
         {static_cast<std::uint32_t>(part.first() + row),
          spec.vector->score(vector.data(), part.head(row))},
         spec.top_k);
  }
  return {};
}

base::Status CollectionIndex::walk(const Part& part, const SearchSpec& spec, const Walk& how,
                                   std::vector<ScoredRow>& best, Plan& plan) const {
  thread_local GraphScratch scratch;
  thread_local std::vector<Candidate> found;
  GraphStats stats;
  const CodeRows rows = part.rows();
  if (how.acorn) {
    part.graph().search_passing(*spec.vector, rows, how.ef, how.passes, scratch, found, stats);
  } else {
    part.graph().search(*spec.vector, rows, how.ef, how.passes, scratch, found, stats);
  }
  plan.distances += stats.distances;
  const std::size_t reranked = std::min(found.size(), std::max(kFewestReranked, 2 * spec.top_k));
  std::vector<float> vector(dim_);
  for (std::size_t i = 0; i < reranked; ++i) {
    const std::uint32_t row = found[i].row;
    // What cannot be among the best, however much its code lost, is not read.
    const float most = found[i].score + spec.vector->bound(rows.heads[row]);
    if (most < worst_kept(best, spec.top_k)) continue;
    if (base::Status status = part.read(row, vector.data()); !status.ok()) return status;
    keep(best, {part.first() + row, spec.vector->score(vector.data(), rows.heads[row])},
         spec.top_k);
  }
  return {};
}

// The lists nearest to the question, and what their codes promise read in single precision.
base::Status CollectionIndex::nearest_coded(const Part& part, const SearchSpec& spec,
                                            const Passing& pass, std::vector<ScoredRow>& best,
                                            Plan& plan) const {
  const IvfPq& product = *part.product_codes();
  const auto wanted = std::min(spec.top_k, pass.rows);
  if (pass.rows <= std::max(spec.top_k, pass.filtered ? policy_.brute_rows / kReadCost : 0)) {
    plan.vector = "filter+flat";
    plan.reason = "few rows pass: all are looked at";
    return read_all(part, spec, pass.bits, best, plan);
  }
  const double share = static_cast<double>(pass.rows) / static_cast<double>(part.size());
  const double asked = static_cast<double>(spec.ef != 0 ? spec.ef : kUsualCodedEf);
  const auto ef = std::max(static_cast<std::size_t>(asked / std::sqrt(share)), 4 * spec.top_k);
  plan.ef = std::max(plan.ef, ef);
  plan.reason = "codes of the nearest lists are looked at";
  const std::size_t before = best.size();
  std::vector<Candidate> found;
  GraphStats stats;
  base::Status status =
      product.search(*spec.vector, ef, std::max(ef / kRowsPerProbe, product.lists() / 100 + 1),
                     pass.rows == part.size() ? nullptr : pass.bits, found, stats);
  plan.distances += stats.distances;
  std::vector<float> vector(dim_);
  for (std::size_t i = 0; status.ok() && i < found.size(); ++i) {
    const std::uint32_t row = found[i].row;
    status = part.read(row, vector.data());
    keep(best, {part.first() + row, spec.vector->score(vector.data(), part.head(row))}, spec.top_k);
  }
  if (!status.ok()) return status;
  if (found.size() < wanted) {
    best.resize(before);
    std::make_heap(best.begin(), best.end(), ranks_before);
    plan.reason = kMetTooFew;
    plan.vector = "filter+flat";
    return read_all(part, spec, pass.bits, best, plan);
  }
  if (plan.vector != "filter+flat") plan.vector = pass.filtered ? "filter+ivfpq" : "ivfpq";
  return {};
}

base::Status CollectionIndex::nearest_in(const Part& part, const SearchSpec& spec,
                                         const Bits* where, std::vector<ScoredRow>& best,
                                         Plan& plan) const {
  const std::size_t first = part.first() / kWord;
  const std::size_t words = words_for(part.size());
  std::vector<std::uint64_t> mixed;
  const std::uint64_t* passes = live_.data() + first;
  if (where != nullptr) {
    mixed.resize(words);
    for (std::size_t i = 0; i < words; ++i) {
      mixed[i] = live_[first + i] & (*where)[first + i];
    }
    passes = mixed.data();
  }
  std::size_t passing = 0;
  for (std::size_t i = 0; i < words; ++i) {
    passing += static_cast<std::size_t>(std::popcount(passes[i]));
  }
  plan.passing += passing;
  if (!part.is_segment()) {
    plan.flat_rows += passing;
    return scan(part, spec, passes, best, plan);
  }
  ++plan.segments;
  if (part.product_codes() != nullptr) {
    return nearest_coded(part, spec, {passes, passing, where != nullptr}, best, plan);
  }
  const PlanChoice choice = index::plan(
      {part.size(), passing, dim_, spec.top_k, spec.ef, policy_.brute_rows, where != nullptr});
  plan.reason = choice.reason;
  if (choice.way == Way::kScan) {
    plan.vector = "filter+flat";
    return scan(part, spec, passes, best, plan);
  }
  plan.ef = std::max(plan.ef, choice.ef);
  const std::size_t before = best.size();
  const Walk how{choice.ef, passing == part.size() ? nullptr : passes, choice.way == Way::kAcorn};
  if (base::Status status = walk(part, spec, how, best, plan); !status.ok()) return status;
  // A graph that falls apart under a filter answers short: look at all.
  if (best.size() < std::min(spec.top_k, before + passing)) {
    best.resize(before);
    std::make_heap(best.begin(), best.end(), ranks_before);
    plan.reason = kMetTooFew;
    plan.vector = "filter+flat";
    return scan(part, spec, passes, best, plan);
  }
  if (plan.vector != "filter+flat") {
    plan.vector = where == nullptr ? "graph" : how.acorn ? "filter+acorn" : "filter+graph";
  }
  return {};
}

base::Result<std::vector<ScoredRow>> CollectionIndex::nearest(const SearchSpec& spec,
                                                              const Bits* where, Plan& plan) const {
  std::vector<ScoredRow> best;
  plan.vector = "flat";
  for (const auto& part : parts_) {
    if (part->size() == 0) continue;
    DURE_RETURN_IF_ERROR(nearest_in(*part, spec, where, best, plan));
  }
  std::sort(best.begin(), best.end(), ranks_before);
  return best;
}

base::Result<std::vector<ScoredChunk>> CollectionIndex::search(const SearchSpec& asked,
                                                               Plan& plan) const {
  const std::shared_lock lock(mutex_);
  SearchSpec spec = asked;
  spec.top_k = std::min(spec.top_k, live_count_);
  std::vector<ScoredChunk> chunks;
  std::shared_ptr<const Bits> where;
  if (spec.where != nullptr) {
    auto bits = bits_of(*spec.where);  // a wrong filter is an error also when nothing is there
    if (!bits) return base::fail(std::move(bits.error()));
    where = *bits;
  }
  if (spec.top_k == 0) return chunks;
  const bool both = spec.vector != nullptr && spec.words != nullptr;
  if (both) spec.top_k = std::min(std::max(kFusionDepth, 2 * spec.top_k), live_count_);
  std::vector<ScoredRow> rows;
  std::vector<ScoredRow> by_words;
  if (spec.vector != nullptr) {
    auto near = nearest(spec, where.get(), plan);
    if (!near) return base::fail(std::move(near.error()));
    rows = std::move(*near);
  } else {
    plan.vector = "none";
  }
  if (spec.words != nullptr) {
    plan.words = true;
    by_words = words_->search(*spec.words, spec.top_k,
                              where ? std::optional<RowBits>(*where) : std::nullopt);
  }
  if (both) {
    const Ranking lists[] = {{rows, spec.vector_weight}, {by_words, spec.words_weight}};
    const std::size_t wanted = std::min(asked.top_k, live_count_);
    rows = spec.fuse_by_score ? fuse_by_score(lists, wanted) : fuse_by_rank(lists, wanted);
  } else if (spec.words != nullptr) {
    rows = std::move(by_words);
  }
  chunks.reserve(rows.size());
  for (const ScoredRow& one : rows) {
    const auto& part = part_of(one.row);
    chunks.push_back({part->chunk(one.row - part->first()), static_cast<double>(one.score),
                      spec.with_ids ? std::string(ids_.of(one.row)) : std::string()});
  }
  return chunks;
}

}  // namespace dure::index
