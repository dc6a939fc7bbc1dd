#include "dure/index/bm25.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "dure/base/hash.h"
#include "index/postings.h"
#include "index/word_table.h"

namespace dure::index {
namespace {

struct WordCount {
  std::uint64_t word;
  std::uint32_t count;
};

// The distinct words by rising hash, in `words`' memory.
std::vector<WordCount> count_of_each(Bm25::Words words) {
  std::vector<std::uint64_t> sorted(words.begin(), words.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<WordCount> counts;
  for (const std::uint64_t word : sorted) {
    if (counts.empty() || counts.back().word != word) counts.push_back({word, 0});
    ++counts.back().count;
  }
  return counts;
}

// The best k of the rows offered, in any order.
class Best {
 public:
  explicit Best(std::size_t k) : k_(k) { heap_.reserve(k); }

  // A score that is not above this need not be offered, if rows come rising.
  [[nodiscard]] float threshold() const noexcept {
    return heap_.size() < k_ ? 0 : heap_.front().score;
  }
  void offer(ScoredRow row) {
    if (heap_.size() == k_) {
      if (!ranks_before(row, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), ranks_before);
      heap_.pop_back();
    }
    heap_.push_back(row);
    std::push_heap(heap_.begin(), heap_.end(), ranks_before);
  }
  [[nodiscard]] std::vector<ScoredRow> take() && {
    std::sort_heap(heap_.begin(), heap_.end(), ranks_before);
    return std::move(heap_);
  }

 private:
  std::size_t k_;
  std::vector<ScoredRow> heap_;  // the worst on top
};

// The scores of one search, zero between searches. `touched` lists what is not zero if postings
// are few; else all is looked through.
struct Scores {
  std::vector<float> of_row;
  std::vector<RowNumber> touched;
};

// The first row from `row` on whose score is above `threshold`; `rows` if there is none.
std::size_t next_above(const float* of_row, std::size_t row, std::size_t rows, float threshold) {
#if defined(__SSE2__)
  const __m128 low = _mm_set1_ps(threshold);
  for (; row + 8 <= rows; row += 8) {
    const __m128 most = _mm_max_ps(_mm_loadu_ps(of_row + row), _mm_loadu_ps(of_row + row + 4));
    if (_mm_movemask_ps(_mm_cmpgt_ps(most, low)) != 0) break;
  }
#endif
  while (row < rows && of_row[row] <= threshold) ++row;
  return row;
}

Scores& scores_of_this_thread(std::size_t rows) {
  thread_local Scores scores;
  if (scores.of_row.size() < rows) scores.of_row.resize(rows, 0.0F);
  return scores;
}

template <typename T>
void append_fixed(T value, std::string& out) {
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

template <typename T>
bool read_fixed(VarintReader& in, T& value) {
  std::string_view bytes;
  if (!in.read_bytes(sizeof value, bytes)) return false;
  std::memcpy(&value, bytes.data(), sizeof value);
  return true;
}

constexpr std::string_view kMagic = "DUREBM25";
constexpr std::uint32_t kFormat = 1;
constexpr std::uint64_t kLongestRow = 0xFFFFFFFE;  // words
constexpr std::size_t kFewMarked = 1024;           // not worth a walk over all postings

bool in_range(const Bm25Options& options) {
  return std::isfinite(options.k1) && options.k1 >= 0 && options.b >= 0 && options.b <= 1;
}

base::Status damaged(std::string_view what) {
  return {base::Code::kCorrupt,
          "full-text index: " + std::string(what) + "; rebuild it from the texts"};
}

}  // namespace

struct Bm25::Impl {
  // A row's number of words, or this.
  static constexpr std::uint32_t kDead = 0xFFFFFFFF;

  Bm25Options options;
  std::vector<std::uint32_t> lengths;  // by row
  std::size_t live = 0;
  std::size_t marked = 0;   // removed rows whose postings are still here
  std::uint64_t words = 0;  // of the live rows
  WordTable table;
  std::vector<PostingList> lists;  // by the table's numbers

  [[nodiscard]] bool is_live(std::size_t row) const noexcept {
    return row < lengths.size() && lengths[row] != kDead;
  }
  [[nodiscard]] std::size_t live_postings(const PostingList& list) const {
    if (marked == 0) return list.size();
    std::size_t count = 0;
    list.for_each([&](RowNumber row, std::uint32_t) { count += is_live(row) ? 1 : 0; });
    return count;
  }
  [[nodiscard]] double idf(std::size_t df) const {
    const auto n = static_cast<double>(live);
    const auto f = static_cast<double>(df);
    return std::log1p((n - f + 0.5) / (f + 0.5));
  }
  void add_scores(const PostingList& list, double weight, bool note, Scores& scores) const;
  [[nodiscard]] std::vector<ScoredRow> best_of(Scores& scores, std::size_t k, bool noted,
                                               std::optional<RowBits> allowed) const;
  void rewrite(std::span<const RowNumber> new_row, std::size_t rows);
  void drop_marked();
  base::Status read_rows(VarintReader& in);
  base::Status read_lists(VarintReader& in);
  base::Status read_list(std::uint64_t word, std::string_view bytes,
                         std::vector<std::uint64_t>& seen);
};

void Bm25::Impl::add_scores(const PostingList& list, double weight, bool note,
                            Scores& scores) const {
  const double average = words > 0 ? static_cast<double>(words) / static_cast<double>(live) : 1.0;
  const auto base = static_cast<float>(options.k1 * (1 - options.b));
  const auto slope = static_cast<float>(options.k1 * options.b / average);
  const auto factor = static_cast<float>(weight);
  float* const of_row = scores.of_row.data();
  const std::uint32_t* const length = lengths.data();
  const auto gain = [=](RowNumber row, std::uint32_t count) {
    const auto tf = static_cast<float>(count);
    return factor * tf / (tf + base + slope * static_cast<float>(length[row]));
  };
  if (note) {
    list.for_each([&](RowNumber row, std::uint32_t count) {
      if (of_row[row] == 0) scores.touched.push_back(row);
      of_row[row] += gain(row, count);
    });
  } else {
    list.for_each([&](RowNumber row, std::uint32_t count) { of_row[row] += gain(row, count); });
  }
}

std::vector<ScoredRow> Bm25::Impl::best_of(Scores& scores, std::size_t k, bool noted,
                                           std::optional<RowBits> allowed) const {
  Best best(std::min(k, live));
  const auto consider = [&](RowNumber row, float score) {
    if (is_live(row) && (!allowed || contains(*allowed, row))) best.offer({row, score});
  };
  if (noted) {
    for (const RowNumber row : scores.touched) {
      consider(row, std::exchange(scores.of_row[row], 0.0F));
    }
    scores.touched.clear();
  } else {
    const std::size_t rows = lengths.size();
    const float* const of_row = scores.of_row.data();
    for (std::size_t row = next_above(of_row, 0, rows, 0); row < rows;
         row = next_above(of_row, row + 1, rows, best.threshold())) {
      consider(static_cast<RowNumber>(row), of_row[row]);
    }
    std::fill_n(scores.of_row.begin(), rows, 0.0F);
  }
  return std::move(best).take();
}

// Writes all postings anew under the new numbers; what is dead or gone stays behind.
void Bm25::Impl::rewrite(std::span<const RowNumber> new_row, std::size_t rows) {
  Impl fresh;
  fresh.options = options;
  fresh.lengths.assign(rows, kDead);
  const auto number_of = [&](std::size_t row) {
    return !is_live(row) ? kGone : new_row.empty() ? static_cast<RowNumber>(row) : new_row[row];
  };
  for (std::size_t row = 0; row < lengths.size(); ++row) {
    const RowNumber number = number_of(row);
    if (number == kGone) continue;
    fresh.lengths[number] = lengths[row];
    fresh.words += lengths[row];
    ++fresh.live;
  }
  for (std::size_t term = 0; term < lists.size(); ++term) {
    PostingList kept;
    lists[term].for_each([&](RowNumber row, std::uint32_t count) {
      const RowNumber number = number_of(row);
      if (number != kGone) kept.append(number, count);
    });
    lists[term] = {};
    if (kept.size() == 0) continue;
    kept.trim();
    fresh.table.number_of(table.word(term));
    fresh.lists.push_back(std::move(kept));
  }
  *this = std::move(fresh);
}

void Bm25::Impl::drop_marked() {
  if (marked > kFewMarked && marked > live / 2) rewrite({}, lengths.size());
}

Bm25::Bm25(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Bm25::~Bm25() = default;

base::Result<std::unique_ptr<Bm25>> Bm25::create(Bm25Options options) {
  if (!in_range(options)) {
    return base::fail(base::invalid_argument("options", "k1 must be 0 or more, b between 0 and 1"));
  }
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  return std::unique_ptr<Bm25>(new Bm25(std::move(impl)));
}

base::Status Bm25::add(RowNumber row, Words words) {
  Impl& index = *impl_;
  if (row < index.lengths.size() || row == kGone) {
    return base::invalid_argument("row", "rows are added with rising numbers");
  }
  if (words.size() > kLongestRow) return base::invalid_argument("words", "too many in one row");
  const std::vector<WordCount> counts = count_of_each(words);
  index.lengths.resize(std::size_t{row} + 1, Impl::kDead);
  for (const auto& [word, count] : counts) {
    const std::uint32_t term = index.table.number_of(word);
    if (term == index.lists.size()) index.lists.emplace_back();
    index.lists[term].append(row, count);
  }
  index.lengths[row] = static_cast<std::uint32_t>(words.size());
  index.words += words.size();
  ++index.live;
  return {};
}

bool Bm25::remove(RowNumber row) {
  Impl& index = *impl_;
  if (!index.is_live(row)) return false;
  index.words -= index.lengths[row];
  index.lengths[row] = Impl::kDead;
  --index.live;
  ++index.marked;
  index.drop_marked();
  return true;
}

base::Status Bm25::renumber(std::span<const RowNumber> new_row) {
  Impl& index = *impl_;
  if (new_row.size() < index.lengths.size()) {
    return base::invalid_argument("new_row", "must name every row");
  }
  std::size_t rows = 0;
  for (std::size_t row = 0; row < index.lengths.size(); ++row) {
    if (!index.is_live(row) || new_row[row] == kGone) continue;
    if (new_row[row] < rows) {
      return base::invalid_argument("new_row", "the numbers of live rows must rise");
    }
    rows = std::size_t{new_row[row]} + 1;
  }
  const std::vector<RowNumber> none;
  index.rewrite(new_row.empty() ? std::span<const RowNumber>(none) : new_row, rows);
  return {};
}

RowNumber Bm25::rows() const noexcept { return static_cast<RowNumber>(impl_->lengths.size()); }
std::size_t Bm25::live_rows() const noexcept { return impl_->live; }
bool Bm25::live(RowNumber row) const noexcept { return impl_->is_live(row); }
std::size_t Bm25::terms() const noexcept { return impl_->lists.size(); }
Bm25Options Bm25::options() const noexcept { return impl_->options; }

std::size_t Bm25::memory_bytes() const noexcept {
  const std::size_t inside = std::string().capacity();  // what a string holds without the heap
  std::size_t bytes = sizeof(Impl) + impl_->lengths.capacity() * sizeof(std::uint32_t) +
                      impl_->lists.capacity() * sizeof(PostingList) + impl_->table.memory_bytes();
  for (const PostingList& list : impl_->lists) {
    if (list.bytes().capacity() > inside) bytes += list.bytes().capacity() + 1;
  }
  return bytes;
}

std::vector<ScoredRow> Bm25::search(Words query, std::size_t k,
                                    std::optional<RowBits> allowed) const {
  const Impl& index = *impl_;
  if (k == 0 || index.live == 0) return {};
  std::vector<std::pair<const PostingList*, double>> weighted;
  std::size_t postings = 0;
  for (const auto& [word, count] : count_of_each(query)) {
    const std::optional<std::uint32_t> term = index.table.find(word);
    if (!term) continue;
    const PostingList& list = index.lists[*term];
    weighted.emplace_back(&list, count * index.idf(index.live_postings(list)));
    postings += list.size();
  }
  Scores& scores = scores_of_this_thread(index.lengths.size());
  const bool note = postings < index.lengths.size() / 8;
  if (note) scores.touched.reserve(postings);
  for (const auto& [list, weight] : weighted) index.add_scores(*list, weight, note, scores);
  return index.best_of(scores, k, note, allowed);
}

std::string Bm25::serialise() const {
  if (impl_->marked > 0) {
    Impl clean = *impl_;
    clean.rewrite({}, clean.lengths.size());
    return Bm25(std::make_unique<Impl>(std::move(clean))).serialise();
  }
  const Impl& index = *impl_;
  std::string out(kMagic);
  append_fixed(kFormat, out);
  append_fixed(index.options.k1, out);
  append_fixed(index.options.b, out);
  append_fixed(std::uint64_t{index.lengths.size()}, out);
  append_fixed(std::uint64_t{index.lists.size()}, out);
  for (const std::uint32_t length : index.lengths) {
    append_varint(length == Impl::kDead ? 0 : std::uint64_t{length} + 1, out);
  }
  std::vector<std::pair<std::uint64_t, std::uint32_t>> order;
  for (std::uint32_t term = 0; term < index.lists.size(); ++term) {
    order.emplace_back(index.table.word(term), term);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [word, term] : order) {
    append_fixed(word, out);
    append_varint(index.lists[term].bytes().size(), out);
    out += index.lists[term].bytes();
  }
  append_fixed(base::crc32c(out), out);
  return out;
}

base::Status Bm25::Impl::read_rows(VarintReader& in) {
  for (std::uint32_t& length : lengths) {
    std::uint64_t value = 0;
    if (!in.read(value, kLongestRow + 1)) return damaged("a row is cut");
    length = value == 0 ? kDead : static_cast<std::uint32_t>(value - 1);
    if (value == 0) continue;
    words += length;
    ++live;
  }
  return {};
}

// `seen`: words met in each row so far.
base::Status Bm25::Impl::read_list(std::uint64_t word, std::string_view bytes,
                                   std::vector<std::uint64_t>& seen) {
  PostingList list;
  VarintReader in(bytes);
  std::uint64_t next_row = 0;
  while (!in.done()) {
    std::uint64_t head = 0;
    std::uint64_t extra = 0;
    if (!in.read(head, std::uint64_t{kGone} << 1)) return damaged("a posting is cut");
    if ((head & 1U) != 0 && !in.read(extra, kLongestRow - 2)) return damaged("a posting is cut");
    const std::uint64_t row = next_row + (head >> 1);
    if (!is_live(row)) return damaged("a posting of no row");
    const std::uint64_t count = (head & 1U) != 0 ? extra + 2 : 1;
    seen[row] += count;
    if (seen[row] > lengths[row]) return damaged("a row has too many words");
    list.append(static_cast<RowNumber>(row), static_cast<std::uint32_t>(count));
    next_row = row + 1;
  }
  // Written anew it must be the same: no number in more bytes than it needs.
  if (list.size() == 0 || list.bytes() != bytes) return damaged("a posting list is malformed");
  list.trim();
  table.number_of(word);
  lists.push_back(std::move(list));
  return {};
}

base::Status Bm25::Impl::read_lists(VarintReader& in) {
  std::vector<std::uint64_t> seen(lengths.size(), 0);
  std::optional<std::uint64_t> last;
  while (!in.done()) {
    std::uint64_t word = 0;
    std::uint64_t size = 0;
    std::string_view bytes;
    if (!read_fixed(in, word) || !in.read(size, in.left()) || !in.read_bytes(size, bytes)) {
      return damaged("a posting list is cut");
    }
    if (last && word <= *last) return damaged("words out of order");
    last = word;
    if (auto status = read_list(word, bytes, seen); !status.ok()) return status;
  }
  for (std::size_t row = 0; row < lengths.size(); ++row) {
    if (is_live(row) && seen[row] != lengths[row]) return damaged("a row lacks words");
  }
  return {};
}

base::Result<std::unique_ptr<Bm25>> Bm25::deserialise(std::string_view bytes) {
  std::uint32_t checksum = 0;
  if (bytes.size() < kMagic.size() + sizeof checksum || !bytes.starts_with(kMagic)) {
    return base::fail(damaged("not its bytes"));
  }
  const std::string_view body = bytes.substr(0, bytes.size() - sizeof checksum);
  std::memcpy(&checksum, bytes.data() + body.size(), sizeof checksum);
  if (base::crc32c(body) != checksum) return base::fail(damaged("wrong checksum"));
  VarintReader in(body.substr(kMagic.size()));
  std::uint32_t format = 0;
  std::uint64_t rows = 0;
  std::uint64_t terms = 0;
  auto impl = std::make_unique<Impl>();
  if (!read_fixed(in, format) || format != kFormat || !read_fixed(in, impl->options.k1) ||
      !read_fixed(in, impl->options.b) || !read_fixed(in, rows) || !read_fixed(in, terms)) {
    return base::fail(damaged("another format"));
  }
  // Each row takes a byte at least, so a false number cannot ask for more memory than that.
  if (!in_range(impl->options) || rows > in.left() || rows > kGone) {
    return base::fail(damaged("a false head"));
  }
  impl->lengths.resize(rows);
  DURE_RETURN_IF_ERROR(impl->read_rows(in));
  DURE_RETURN_IF_ERROR(impl->read_lists(in));
  if (impl->lists.size() != terms) return base::fail(damaged("words are missing"));
  return std::unique_ptr<Bm25>(new Bm25(std::move(impl)));
}

}  // namespace dure::index
