// index/store_db.h - store.db: its tables, and what is read from and written to them.
//
// Errors stick: after a failure every further step answers nothing, and take_status() says what
// went wrong. A caller checks once, at the end of a unit of work.
//
// One thread at a time.
#ifndef DURE_INDEX_STORE_DB_H_
#define DURE_INDEX_STORE_DB_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "collection_index.h"
#include "dure/base/result.h"
#include "dure/index/store.h"
#include "sql/database.h"

namespace dure::index {

struct CollectionRow {
  std::int64_t id = 0;
  CollectionInfo info;
  std::uint64_t purged = 0;  // tombstones up to this seq are gone
  std::int64_t gen = 0;      // of the vectors that answer
};

// A generation of vectors that is being made.
struct NextGeneration {
  ModelIn model;
  std::size_t dim = 0;
};

// What a commit changed in one collection.
struct Changes {
  std::vector<std::int64_t> dead;
  std::vector<NewRow> rows;
  bool dropped = false;  // the collection itself
};

// An upsert, checked and with everything computed that needs no database.
struct UpsertJob {
  UpsertIn in;
  std::vector<std::string> ids;
  std::vector<std::vector<std::uint64_t>> words;
};

struct SegmentRow {
  std::string file;
  std::int64_t least = 0;  // chunk numbers
  std::int64_t most = 0;
  std::int64_t rows = 0;
};

class StoreDb {
 public:
  // Creates the tables unless `read_only`. StoreVersionError for a foreign or newer file.
  [[nodiscard]] static base::Result<StoreDb> open(const std::string& folder, Durability durability,
                                                  bool read_only);

  [[nodiscard]] sql::Database& database() noexcept { return database_; }
  // The first error since the last call; clears it.
  [[nodiscard]] base::Status take_status();
  [[nodiscard]] bool failed() const noexcept { return !status_.ok(); }

  // --- reading ---
  // What is read between the two is of one moment, and costs one look at the WAL.
  void begin_read();
  void end_read();
  [[nodiscard]] std::uint64_t seq();
  [[nodiscard]] std::optional<CollectionRow> find_collection(const std::string& tenant,
                                                             const std::string& name);
  [[nodiscard]] std::vector<CollectionRow> collections(const std::optional<std::string>& tenant);
  [[nodiscard]] std::vector<SegmentRow> segments(std::int64_t collection);
  [[nodiscard]] std::vector<std::string> segment_files(std::int64_t collection);
  // All files that are registered, of all collections.
  [[nodiscard]] std::vector<std::string> segment_files();
  // Fills a new index from segments and rows; returns the seq it holds.
  [[nodiscard]] std::uint64_t load(const CollectionRow& row, base::Files& files,
                                   const std::string& folder, CollectionIndex& index);
  // What was committed after `from`; returns the seq up to which.
  [[nodiscard]] std::uint64_t changes_since(const CollectionRow& row, std::uint64_t from,
                                            Changes& changes);
  [[nodiscard]] std::vector<bool> has_vectors(const CollectionRow& row,
                                              const std::vector<ContentHash>& contents);
  // Empty if the chunk is gone. kCorrupt (details path, row, document) if it, or its vector if
  // that is read, is not what was written.
  [[nodiscard]] std::optional<Row> fetch(std::int64_t chunk, bool with_vector);
  [[nodiscard]] std::optional<Row> find(std::int64_t collection, const std::string& id,
                                        bool with_vector);
  // Rows by rising id, from behind `after`; `only`: rising chunk numbers, null: all.
  [[nodiscard]] Page scroll(std::int64_t collection, const std::optional<std::string>& after,
                            std::size_t limit, const std::vector<std::int64_t>* only,
                            bool with_vector);
  // See Collection::changes.
  [[nodiscard]] ChangePage changed(std::int64_t collection, std::uint64_t since, std::int64_t after,
                                   std::size_t limit);
  [[nodiscard]] std::vector<DocumentOut> documents(std::int64_t collection);
  [[nodiscard]] std::optional<DocumentOut> document(std::int64_t collection, const std::string& id);

  [[nodiscard]] std::optional<NextGeneration> next_generation(std::int64_t collection);
  [[nodiscard]] ReembedState reembed_state(std::int64_t collection);
  [[nodiscard]] ReembedPage reembed_page(const CollectionRow& row, std::int64_t after,
                                         std::size_t limit, bool anew);
  // Appends the new vectors of all live rows, in the order of the chunks.
  void read_next(const CollectionRow& row, Part& out);
  // Reads everything; what is found does not stick as a failure.
  [[nodiscard]] VerifyOut verify(base::Files& files, const std::string& folder);

  // --- writing: within a transaction that will carry `seq` ---
  void set_seq(std::uint64_t seq);
  void create_collection(const CollectionInfo& info);
  void set_dim(std::int64_t collection, std::size_t dim);
  void drop_collection(std::int64_t collection);
  // Not ok: refused, and nothing of it may be committed.
  [[nodiscard]] base::Status upsert(CollectionRow& row, const UpsertJob& job, std::uint64_t seq,
                                    Changes& changes);
  [[nodiscard]] base::Status update(std::int64_t collection, Metric metric,
                                    const std::vector<std::string>& ids,
                                    const std::vector<std::string>& metadata, std::uint64_t seq,
                                    Changes& changes);
  std::size_t remove(std::int64_t collection, const std::vector<std::string>& ids,
                     std::uint64_t seq, Changes& changes);
  std::size_t remove_chunks(const std::vector<std::int64_t>& chunks, std::uint64_t seq,
                            Changes& changes);
  std::size_t remove_documents(std::int64_t collection, const std::vector<std::string>& ids,
                               std::uint64_t seq, Changes& changes);
  // Drops tombstones, vectors that nothing refers to, and the segments; returns their files.
  [[nodiscard]] std::vector<std::string> purge(std::int64_t collection, std::uint64_t seq);
  void begin_next(const CollectionRow& row, const NextGeneration& next);
  void cancel_next(const CollectionRow& row);
  void put_next(const CollectionRow& row, const std::vector<Reembedded>& rows,
                const std::vector<float>& vectors, std::size_t dim);
  // The next generation becomes the one that answers. REQUIRES: every live row has its vector.
  // Returns the files of the old one's segments.
  [[nodiscard]] std::vector<std::string> flip(const CollectionRow& row, const NextGeneration& next,
                                              std::uint64_t seq);
  // Registers a segment; returns the files it replaces.
  [[nodiscard]] std::vector<std::string> add_segment(std::int64_t collection,
                                                     const SegmentRow& segment);

 private:
  friend class Cursor;
  explicit StoreDb(sql::Database database) : database_(std::move(database)) {}
  [[nodiscard]] sql::Statement* statement(const char* sql);
  void fail(base::Status status);
  [[nodiscard]] base::Status upgrade();
  void run(const char* sql) { fail(database_.execute(sql)); }
  void forget_tombstones(std::int64_t collection);
  void put_extra(std::int64_t chunk, const RowIn& given);
  void tombstone(std::int64_t chunk, std::uint64_t seq, Changes& changes);
  [[nodiscard]] base::Status check_model(CollectionRow& row, const UpsertIn& in);
  [[nodiscard]] std::int64_t put_document(std::int64_t collection, const DocumentIn& document,
                                          std::uint64_t seq);
  [[nodiscard]] std::int64_t attach_document(std::int64_t collection, const std::string& id,
                                             std::uint64_t seq);

  sql::Database database_;
  std::string path_;
  std::unordered_map<const char*, sql::Statement> statements_;
  base::Status status_;
};

// The file beside a segment that holds its words.
[[nodiscard]] std::string words_file(const std::string& segment);

// `vector` as it is searched: of length one under cosine.
[[nodiscard]] std::vector<float> as_searched(std::string_view stored, Metric metric);

}  // namespace dure::index

#endif  // DURE_INDEX_STORE_DB_H_
