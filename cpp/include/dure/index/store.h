// dure/index/store.h - collections of texts, vectors and metadata that survive kill -9.
//
// One folder holds `store.db` (SQLite, WAL: the truth) and derived segment files. A write is
// durable and visible when its call returns, and never before: one writer thread gathers waiting
// calls into one transaction and publishes to memory only after COMMIT. Searches read a snapshot:
// sealed graph segments plus flat, exact parts for what is newer. Sealing runs in the background;
// no search waits for it. Several processes may use one folder (a local file system): each sees
// what the others committed at its next call.
//
// Threads start at the first write and the first seal and end in close(). After fork, the child
// abandons what it inherited and opens the folder again at its first call.
//
// Thread-safe.
#ifndef DURE_INDEX_STORE_H_
#define DURE_INDEX_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/chunk_id.h"
#include "dure/index/codes.h"
#include "dure/index/graph.h"

namespace dure::index {

enum class Durability : std::uint8_t {
  kFull,    // survives power loss
  kNormal,  // survives kill -9; power loss may take the last commits, never the store
};

// When flat parts become graph segments. Tests make these small.
struct SealPolicy {
  std::size_t part_rows = 4096;        // a flat part is closed at this size
  std::size_t seal_rows = 16384;       // closed flat rows that make a segment worthwhile
  std::size_t smallest = 1024;         // optimize() leaves fewer rows flat and exact
  std::size_t most_unsealed = 100000;  // writers wait above this
  std::size_t brute_rows = 20000;  // filters passing at most this many rows are answered exactly
  bool background = true;          // seal without being asked
  std::size_t builders = 2;        // threads that build segments at once; at most the processors
  // Bytes of codes and links that a collection's segments may take of memory; what would go beyond
  // becomes product codes (IVFPQ). 0: half of the machine's memory.
  std::size_t segment_memory = 0;
  GraphParams graph;
};

struct StoreOptions {
  Durability durability = Durability::kFull;
  bool read_only = false;
  SealPolicy seal;
};

// Which model made the vectors. Empty fingerprint: not known, only the dimension is checked.
struct ModelIn {
  std::string id;
  std::string fingerprint;
};

struct RowIn {
  std::string id;        // empty: chunk_id(document, content, n)
  std::string document;  // of the row; empty: the upsert's
  std::optional<std::string> text;
  std::string metadata = "{}";         // a JSON object
  std::optional<ContentHash> content;  // names the vector, so that equal contents share it
  std::int64_t vector = -1;            // row of UpsertIn::vectors; -1: the one stored for `content`
  std::optional<std::string> embed;    // what was embedded, if it is not `text`
  // `text` as words joined by kWordBreak (words.h); needed if the collection names a tokenizer.
  std::optional<std::string> words;
};

struct DocumentIn {
  std::string id;
  std::optional<std::string> source;  // path or address
  std::optional<std::int64_t> size;   // bytes
  std::string content_hash;           // the caller's, of the source's bytes
  std::string metadata = "{}";
};

struct UpsertIn {
  std::vector<RowIn> rows;
  std::vector<float> vectors;  // [n, dim]
  std::size_t dim = 0;
  ModelIn model;
  // Given: rows replace all rows of that document, in the same commit; those whose id, metadata
  // and text stay the same are not touched.
  std::optional<DocumentIn> document;
};

enum class SearchMode : std::uint8_t { kVector, kBm25, kHybrid };

struct QueryIn {
  std::optional<std::vector<float>> vector;
  std::optional<std::string> text;
  std::int64_t top_k = 5;
  SearchMode mode = SearchMode::kVector;
  std::optional<std::string> where;  // a filter as JSON (filter.h)
  std::int64_t ef = 0;               // 0: chosen
  std::optional<double> min_score;
  std::string group_by;  // a metadata field; empty: no grouping
  // How the rankings of a hybrid search become one (fusion.h), and their weights.
  bool fuse_by_score = false;
  double vector_weight = 1;
  double words_weight = 1;
  // Given: of a wider answer the rows that are unlike each other (fusion.h, diversify). 0..1.
  std::optional<double> mmr;
  std::optional<std::string> words;  // of `text`, as in RowIn
  bool with_vectors = false;
  bool with_content = true;  // false: hits have their id and score alone
  ModelIn model;             // of `vector`, if it was made from the text
};

struct Row {
  std::string id;
  std::string document;
  std::optional<std::string> text;
  std::string metadata;       // JSON
  std::vector<float> vector;  // if asked for
};

struct Hit {
  Row row;
  double score = 0;
};

// How a query was answered.
struct Plan {
  // "graph", "flat", "filter+flat", "filter+graph", "filter+acorn", "none"
  std::string vector;
  const char* reason = "";  // why the last segment was searched like that
  bool words = false;
  std::size_t ef = 0;
  std::size_t distances = 0;
  std::size_t segments = 0;
  std::size_t flat_rows = 0;
  std::size_t passing = 0;
  std::uint64_t seq = 0;
};

struct QueryOut {
  std::vector<Hit> hits;
  Plan plan;
};

struct Page {
  std::vector<Row> rows;
  std::optional<std::string> next;  // hand it in as `after`
};

// What changed, in the order of the commits' rows.
struct ChangePage {
  std::vector<Row> rows;             // new or replaced, with vectors
  std::vector<std::string> removed;  // ids that are gone
  std::int64_t next = 0;             // hand it in as `after`; 0: that was all
  std::uint64_t seq = 0;             // of the last commit, when this page was read
};

struct DocumentOut {
  DocumentIn document;
  std::int64_t chunks = 0;
};

struct CollectionInfo {
  std::string name;
  std::string tenant;
  std::size_t dim = 0;  // 0: not known yet
  Metric metric = Metric::kCosine;
  std::string model;
  std::string fingerprint;
  std::string tokenizer;  // who cuts texts into words; empty: words.h
  std::string next;       // fingerprint of the generation that is being made; empty: none
};

// --- a new generation of vectors, beside the one that answers ---

struct ReembedState {
  std::size_t rows = 0;      // that are there
  std::size_t ready = 0;     // of these: with a new vector
  std::size_t textless = 0;  // without anything that could be embedded
  std::string first_textless;
};
struct ReembedRow {
  std::int64_t chunk = 0;
  std::string text;  // what is to be embedded
  ContentHash content{};
  bool known = false;  // its new vector is stored already
};
struct ReembedPage {
  std::vector<ReembedRow> rows;  // without a new vector
  std::int64_t next = 0;         // hand it in as `after`; 0: that was all
};
struct Reembedded {
  std::int64_t chunk = 0;
  ContentHash content{};
  std::int64_t vector = -1;  // row of the vectors; -1: the one stored for `content`
};

// What verify() found.
struct Damage {
  std::string tenant;
  std::string collection;
  std::string row;
  std::string document;
  std::string what;  // "row", "vector", "segment", "file"
};
struct VerifyOut {
  std::size_t rows = 0;  // that were read
  std::vector<Damage> damaged;
};

class StoreHandle;  // src/index/store_core.h

// A named set of rows of one tenant. Cheap to copy; keeps its store open.
class Collection {
 public:
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const std::string& tenant() const noexcept { return tenant_; }
  [[nodiscard]] base::Result<CollectionInfo> info() const;

  // Ids in the order of the rows. All rows or none.
  [[nodiscard]] base::Result<std::vector<std::string>> upsert(UpsertIn rows) const;
  // For each content: whether its vector is stored.
  [[nodiscard]] base::Result<std::vector<bool>> has_vectors(
      const std::vector<ContentHash>& contents) const;
  [[nodiscard]] base::Result<QueryOut> query(const QueryIn& query) const;
  [[nodiscard]] base::Result<std::vector<QueryOut>> query_batch(const std::vector<float>& vectors,
                                                                std::size_t dim,
                                                                const QueryIn& common) const;
  // In the order of `ids`; kNotFound names the first that is missing.
  [[nodiscard]] base::Result<std::vector<Row>> get(const std::vector<std::string>& ids,
                                                   bool with_vectors) const;
  // `metadata`: a JSON object per id; its keys replace, null removes.
  [[nodiscard]] base::Result<std::size_t> update(std::vector<std::string> ids,
                                                 std::vector<std::string> metadata) const;
  // Rows removed. Unknown ids are no error.
  [[nodiscard]] base::Result<std::size_t> remove(std::vector<std::string> ids) const;
  [[nodiscard]] base::Result<std::size_t> remove_where(std::string where) const;
  [[nodiscard]] base::Result<std::size_t> count(const std::optional<std::string>& where) const;
  // Rows ordered by id.
  [[nodiscard]] base::Result<Page> scroll(const std::optional<std::string>& after,
                                          std::int64_t limit,
                                          const std::optional<std::string>& where,
                                          bool with_vectors) const;
  // What was committed after `since`, a page of at most `limit` rows behind `after` (0: the first).
  // kInvalidArgument if rows were removed since then and nobody knows which: read all rows.
  [[nodiscard]] base::Result<ChangePage> changes(std::uint64_t since, std::int64_t after,
                                                 std::int64_t limit) const;
  // Seals and merges all rows into one segment, drops what was deleted, and waits for it.
  [[nodiscard]] base::Status optimize() const;

  // Begins, or goes on with, a generation of vectors by another model. What another model began is
  // dropped. Searches and writes go on with the old one until finish_reembed().
  [[nodiscard]] base::Status begin_reembed(const ModelIn& model, std::size_t dim) const;
  [[nodiscard]] base::Result<ReembedState> reembed_state() const;
  // Drops what was begun.
  [[nodiscard]] base::Status cancel_reembed() const;
  // Rows behind `after` without a new vector; `anew`: all rows, as if nothing were begun.
  [[nodiscard]] base::Result<ReembedPage> reembed_page(std::int64_t after, std::int64_t limit,
                                                       bool anew) const;
  // Durable when it returns. `model`: as begun; kInvalidArgument if another is being made now.
  [[nodiscard]] base::Status put_reembedded(const ModelIn& model,
                                            const std::vector<Reembedded>& rows,
                                            const std::vector<float>& vectors,
                                            std::size_t dim) const;
  // The new generation answers from here on, in one commit, and the old one is dropped. False, and
  // nothing is changed, if rows without a new vector came meanwhile.
  [[nodiscard]] base::Result<bool> finish_reembed(const ModelIn& model) const;

  [[nodiscard]] base::Result<std::vector<DocumentOut>> documents() const;
  [[nodiscard]] base::Result<std::optional<DocumentOut>> document(const std::string& id) const;
  // Documents removed, with their rows.
  [[nodiscard]] base::Result<std::size_t> remove_documents(std::vector<std::string> ids) const;

 private:
  friend class Store;
  Collection(std::shared_ptr<StoreHandle> store, std::string tenant, std::string name)
      : store_(std::move(store)), tenant_(std::move(tenant)), name_(std::move(name)) {}

  std::shared_ptr<StoreHandle> store_;
  std::string tenant_;
  std::string name_;
};

class Store {
 public:
  // Opens or creates the folder. kIo (StoreVersionError) for a foreign file or a newer version,
  // which are left untouched; kCorrupt for a damaged store.db.
  [[nodiscard]] static base::Result<Store> open(const std::string& folder,
                                                const StoreOptions& options);

  struct CollectionIn {
    std::string name;
    std::string tenant;
    std::size_t dim = 0;  // 0: as stored, or the first upsert's
    Metric metric = Metric::kCosine;
    std::optional<std::string> tokenizer = std::nullopt;  // nothing: as stored
  };
  // Creates it if missing. DimensionMismatchError or kInvalidArgument if it differs.
  [[nodiscard]] base::Result<Collection> collection(const CollectionIn& wanted) const;
  // All tenants' if `tenant` is empty.
  [[nodiscard]] base::Result<std::vector<CollectionInfo>> collections(
      const std::optional<std::string>& tenant) const;
  // kNotFound if there is none.
  [[nodiscard]] base::Status drop(const std::string& name, const std::string& tenant) const;
  // A consistent copy of store.db at `path`, which must not exist; derived files need none.
  [[nodiscard]] base::Status backup(const std::string& path) const;
  // Reads every row, vector and segment and compares them with their checksums.
  [[nodiscard]] base::Result<VerifyOut> verify() const;
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  // Ends the threads; waits for writes under way. Later calls fail. Idempotent.
  void close() const;

 private:
  Store(std::shared_ptr<StoreHandle> handle, std::string folder)
      : handle_(std::move(handle)), folder_(std::move(folder)) {}

  std::shared_ptr<StoreHandle> handle_;
  std::string folder_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_STORE_H_
