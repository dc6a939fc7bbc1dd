// index/collection_index.h - what of a collection lives in memory: parts, words, metadata.
//
// Derived from store.db and rebuilt from it at any time. Rows are only appended and killed; each
// keeps its number until the whole is built anew.
//
// Thread-safe: searches share the lock, append, kill and replace hold it alone.
#ifndef DURE_INDEX_COLLECTION_INDEX_H_
#define DURE_INDEX_COLLECTION_INDEX_H_

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "columns.h"
#include "dure/base/annotations.h"
#include "dure/index/bm25.h"
#include "dure/index/filter.h"
#include "dure/index/store.h"
#include "fair_mutex.h"
#include "part.h"
#include "row_ids.h"

namespace dure::index {

// A committed row on its way into memory.
struct NewRow {
  std::int64_t chunk = 0;
  std::vector<float> vector;  // as searched: of length one under cosine
  std::vector<std::uint64_t> words;
  bool has_text = false;
  std::string metadata;
  std::string id;
};

struct SearchSpec {
  const QueryVector* vector = nullptr;                // null: words only
  const std::vector<std::uint64_t>* words = nullptr;  // null: vector only
  std::size_t top_k = 0;
  std::size_t ef = 0;                  // 0: chosen
  const std::string* where = nullptr;  // JSON
  bool fuse_by_score = false;
  double vector_weight = 1;
  double words_weight = 1;
  bool with_ids = false;
};

struct ScoredChunk {
  std::int64_t chunk;
  double score;
  std::string id;  // if asked for
};

inline constexpr std::size_t kMostSegments = 6;  // of a collection, in the long run

class CollectionIndex {
 public:
  CollectionIndex(std::size_t dim, Metric metric, const SealPolicy& policy);
  CollectionIndex(const CollectionIndex&) = delete;
  CollectionIndex& operator=(const CollectionIndex&) = delete;

  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }
  [[nodiscard]] Metric metric() const noexcept { return metric_; }

  // --- building, before others see the index ---
  // Adds a sealed part behind what is there; its rows are not live yet. The part must begin at
  // next_first().
  void add_segment(std::shared_ptr<Part> part);
  [[nodiscard]] std::uint32_t next_first() const noexcept;
  // Takes the words of the only segment, as words_of_segment() gave them; its rows need none then.
  // False if they are damaged or there are other rows.
  [[nodiscard]] bool take_words(std::string_view bytes);
  // After all rows of segments were revived: words of the others go.
  void forget_dead_words();
  // The segment files that this index was made of, whether they could be read or not.
  void know_files(std::vector<std::string> files);
  [[nodiscard]] bool knows(const std::vector<std::string>& files) const;
  // Makes a row of a segment live. False if no segment holds the chunk. Rows come in rising order.
  bool revive(const NewRow& row);

  // --- changes ---
  // Applies one commit: `dead` go, `rows` come, in one step for searches.
  void apply(const std::vector<std::int64_t>& dead, std::vector<NewRow> rows);
  // Puts `sealed` in place of the parts that it was made of. False if they are not there any more.
  bool replace(const std::shared_ptr<Part>& sealed);
  // Takes all from `other`.
  void take(CollectionIndex& other);

  // --- reading ---
  // Best first; Plan's fields are filled in.
  [[nodiscard]] base::Result<std::vector<ScoredChunk>> search(const SearchSpec& spec,
                                                              Plan& plan) const;
  [[nodiscard]] base::Result<std::size_t> count(const std::string* where) const;
  // The chunks that pass, rising.
  [[nodiscard]] base::Result<std::vector<std::int64_t>> passing(const std::string& where) const;

  // Parts that sealing may merge now: closed flat ones and the small segments before them. Empty if
  // there are fewer than `policy.seal_rows` flat rows. `all`: everything, the open part included.
  [[nodiscard]] std::vector<std::shared_ptr<const Part>> to_seal(bool all);
  // Bytes of memory that segments with a graph take, those of `replaced` apart.
  [[nodiscard]] std::size_t graph_memory(
      const std::vector<std::shared_ptr<const Part>>& replaced) const;
  [[nodiscard]] std::size_t unsealed() const;
  // Share of rows that are dead, and whether it is worth building the index anew.
  [[nodiscard]] bool wants_rebuild() const;
  [[nodiscard]] bool has_dead() const;
  [[nodiscard]] std::size_t segments() const;
  // All words, to be kept beside a segment that begins at row 0; see take_words().
  [[nodiscard]] std::string words_of_segment() const;

 private:
  using Bits = std::vector<std::uint64_t>;
  struct CachedFilter {
    std::string text;
    std::shared_ptr<const Filter> filter;
    std::shared_ptr<const Bits> bits;
    std::size_t rows = 0;  // evaluated so far
  };
  struct Walk {
    std::size_t ef;
    const std::uint64_t* passes;  // null: all rows
    bool acorn;
  };
  struct Passing {
    const std::uint64_t* bits;
    std::size_t rows;
    bool filtered;
  };

  Part& open_part() DURE_REQUIRES(mutex_);
  void close_part() DURE_REQUIRES(mutex_);
  void make_live(std::uint32_t row, const NewRow& from) DURE_REQUIRES(mutex_);
  void kill(std::int64_t chunk) DURE_REQUIRES(mutex_);
  [[nodiscard]] std::int64_t find(std::int64_t chunk) const;
  [[nodiscard]] base::Result<std::shared_ptr<const Bits>> bits_of(const std::string& where) const;
  [[nodiscard]] base::Status grow(CachedFilter& cached) const DURE_REQUIRES(filters_mutex_);
  [[nodiscard]] const std::shared_ptr<Part>& part_of(std::uint32_t row) const;
  [[nodiscard]] base::Result<std::vector<ScoredRow>> nearest(const SearchSpec& spec,
                                                             const Bits* where, Plan& plan) const;
  [[nodiscard]] base::Status nearest_in(const Part& part, const SearchSpec& spec, const Bits* where,
                                        std::vector<ScoredRow>& best, Plan& plan) const;
  [[nodiscard]] base::Status scan(const Part& part, const SearchSpec& spec,
                                  const std::uint64_t* passes, std::vector<ScoredRow>& best,
                                  Plan& plan) const;
  // Reads every row that passes in single precision: of a part without byte codes.
  [[nodiscard]] base::Status read_all(const Part& part, const SearchSpec& spec,
                                      const std::uint64_t* passes, std::vector<ScoredRow>& best,
                                      Plan& plan) const;
  [[nodiscard]] base::Status nearest_coded(const Part& part, const SearchSpec& spec,
                                           const Passing& pass, std::vector<ScoredRow>& best,
                                           Plan& plan) const;
  [[nodiscard]] base::Status walk(const Part& part, const SearchSpec& spec, const Walk& how,
                                  std::vector<ScoredRow>& best, Plan& plan) const;

  const std::size_t dim_;
  const Metric metric_;
  const SealPolicy policy_;
  mutable FairMutex mutex_;  // guards everything down to the next blank line
  std::vector<std::shared_ptr<Part>> parts_;
  bool open_ = false;  // whether the last part takes rows
  Bits live_;
  std::size_t live_count_ = 0;
  std::size_t dead_count_ = 0;
  std::vector<std::string> metadata_;  // by row
  RowIds ids_;
  std::unique_ptr<Bm25> words_;
  std::vector<std::string> files_;  // sorted

  mutable std::mutex filters_mutex_;
  mutable std::list<CachedFilter> filters_ DURE_GUARDED_BY(filters_mutex_);  // latest first
  mutable Columns columns_ DURE_GUARDED_BY(filters_mutex_);
};

}  // namespace dure::index

#endif  // DURE_INDEX_COLLECTION_INDEX_H_
