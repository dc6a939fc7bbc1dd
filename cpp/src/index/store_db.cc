#include "store_db.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "dure/base/hash.h"
#include "dure/index/words.h"
#include "json/reader.h"
#include "json/writer.h"

namespace dure::index {
namespace {

constexpr std::int64_t kApplication = 0x64757265;  // "dure"
constexpr std::int64_t kVersion = 3;
constexpr const char* kWordsEnding = ".words1";  // another number where words.h cuts otherwise
constexpr int kPatienceMs = 30'000;              // for another process's commit

constexpr const char* kTables = R"(
CREATE TABLE state (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('seq', 0);
CREATE TABLE collection (
  id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, name TEXT NOT NULL,
  dim INTEGER NOT NULL, metric TEXT NOT NULL, model TEXT NOT NULL, fingerprint TEXT NOT NULL,
  gen INTEGER NOT NULL DEFAULT 0, purged INTEGER NOT NULL DEFAULT 0, UNIQUE (tenant, name));
CREATE TABLE doc (
  id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, ext_id TEXT NOT NULL,
  source TEXT, size INTEGER, hash BLOB NOT NULL, meta TEXT NOT NULL, seq INTEGER NOT NULL,
  UNIQUE (collection, ext_id));
CREATE TABLE vec (
  id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, gen INTEGER NOT NULL,
  hash BLOB, data BLOB NOT NULL, sum INTEGER);
CREATE UNIQUE INDEX vec_hash ON vec (collection, gen, hash) WHERE hash IS NOT NULL;
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, doc INTEGER,
  ext_id TEXT NOT NULL, text TEXT, meta TEXT NOT NULL, vec INTEGER NOT NULL,
  del INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL, sum INTEGER);
CREATE UNIQUE INDEX chunk_live ON chunk (collection, ext_id) WHERE del = 0;
CREATE INDEX chunk_doc ON chunk (doc) WHERE del = 0 AND doc IS NOT NULL;
CREATE INDEX chunk_seq ON chunk (collection, seq);
CREATE TABLE segment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, file TEXT NOT NULL,
  least INTEGER NOT NULL, most INTEGER NOT NULL, rows INTEGER NOT NULL);
PRAGMA application_id = 1685418597;
)";
static_assert(kApplication == 1685418597);

// Version 2 has checksums of rows and vectors; what was written before has none.
constexpr const char* kToSecond = R"(
ALTER TABLE chunk ADD COLUMN sum INTEGER;
ALTER TABLE vec ADD COLUMN sum INTEGER;
)";

// Version 3 keeps what was embedded where it is not the text, words that a tokenizer cut, settings
// of a collection, and a generation of vectors that is being made.
constexpr const char* kToThird = R"(
CREATE TABLE IF NOT EXISTS extra (
  chunk INTEGER PRIMARY KEY, embed TEXT, words TEXT, sum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS setting (
  collection INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (collection, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS next_gen (
  collection INTEGER PRIMARY KEY, model TEXT NOT NULL, fingerprint TEXT NOT NULL,
  dim INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS next_vec (
  chunk INTEGER PRIMARY KEY, collection INTEGER NOT NULL, vec INTEGER NOT NULL);
PRAGMA user_version = 3;
)";
static_assert(kVersion == 3);

struct Blob {
  std::string_view bytes;
};

base::Status version_error(std::string message) {
  return base::Status(base::Code::kIo, std::move(message))
      .as("StoreVersionError")
      .with_provider_code("store_version");
}

// SQLite reads a WAL database by files that it makes beside it; where it cannot make them, the
// database is complete in itself unless a WAL was left.
sql::OpenMode reading_mode(const std::string& folder) {
  if (::faccessat(AT_FDCWD, folder.c_str(), W_OK, AT_EACCESS) == 0) return sql::OpenMode::kReadOnly;
  struct stat wal{};
  const bool left = ::stat((folder + "/store.db-wal").c_str(), &wal) == 0 && wal.st_size > 0;
  return left ? sql::OpenMode::kReadOnly : sql::OpenMode::kImmutable;
}

std::string_view as_bytes(const float* values, std::size_t count) noexcept {
  return {reinterpret_cast<const char*>(values), count * sizeof(float)};
}

std::string_view as_bytes(const ContentHash& hash) noexcept {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

// What a row is written with, to find damage when it is read.
std::int64_t sum_of(std::string_view id, const std::optional<std::string_view>& text,
                    std::string_view metadata) {
  std::array<std::uint64_t, 4> parts{base::hash64(id), text ? base::hash64(*text) : 0,
                                     base::hash64(metadata), text ? 1U : 0U};
  return static_cast<std::int64_t>(
      base::hash64({reinterpret_cast<const char*>(parts.data()), sizeof(parts)}));
}

std::int64_t sum_of_extra(const std::optional<std::string_view>& embed,
                          const std::optional<std::string_view>& words) {
  return sum_of(embed.value_or(std::string_view()), words, embed ? "embed" : "");
}

std::optional<std::string_view> view_of(const std::optional<std::string>& text) {
  return text ? std::optional<std::string_view>(*text) : std::nullopt;
}

// `changes` over `old`, both JSON objects: keys are replaced, null removes.
base::Result<std::string> merge(std::string_view old, std::string_view changes) {
  json::Parser old_parser;
  json::Parser new_parser;
  const auto before = old_parser.parse(old);
  if (!before) return base::fail(before.error());
  const auto after = new_parser.parse(changes);
  if (!after) return base::fail(after.error());
  json::Writer out;
  out.begin_object();
  for (const auto& [key, value] : before->members()) {
    if (!(*after)[key].missing()) continue;
    out.key(key);
    out.raw(value.text());
  }
  for (const auto& [key, value] : after->members()) {
    if (value.kind() == json::Kind::kNull) continue;
    out.key(key);
    out.raw(value.text());
  }
  out.end_object();
  return std::move(out).take();
}

}  // namespace

std::string words_file(const std::string& segment) {
  return segment.substr(0, segment.rfind('.')) + kWordsEnding;
}

std::vector<float> as_searched(std::string_view stored, Metric metric) {
  std::vector<float> vector(stored.size() / sizeof(float));
  if (!vector.empty()) std::memcpy(vector.data(), stored.data(), vector.size() * sizeof(float));
  if (metric == Metric::kCosine) (void)normalize(vector.data(), vector.size());
  return vector;
}

// A statement being read. Only one Cursor of a statement at a time.
class Cursor {
 public:
  template <typename... Arguments>
  Cursor(StoreDb& db, const char* sql, const Arguments&... arguments)
      : db_(db), statement_(db.statement(sql)) {
    if (statement_ == nullptr) return;
    int parameter = 0;
    (bind(++parameter, arguments), ...);
  }
  ~Cursor() {
    if (statement_ != nullptr) statement_->reset();
  }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  [[nodiscard]] bool next() {
    if (statement_ == nullptr || db_.failed()) return false;
    auto more = statement_->step();
    if (!more) db_.fail(std::move(more.error()));
    return more && *more;
  }
  // For statements without rows.
  void run() {
    while (next()) {
    }
  }
  [[nodiscard]] std::int64_t integer(int column) const { return statement_->integer(column); }
  [[nodiscard]] std::string_view text(int column) const { return statement_->text(column); }
  [[nodiscard]] std::string_view blob(int column) const { return statement_->blob(column); }
  [[nodiscard]] bool is_null(int column) const { return statement_->is_null(column); }
  [[nodiscard]] std::string string(int column) const { return std::string(text(column)); }

 private:
  void bind(int parameter, std::int64_t value) { statement_->bind(parameter, value); }
  void bind(int parameter, std::uint64_t value) {
    statement_->bind(parameter, static_cast<std::int64_t>(value));
  }
  void bind(int parameter, const std::string& text) { statement_->bind_text(parameter, text); }
  void bind(int parameter, std::string_view text) { statement_->bind_text(parameter, text); }
  void bind(int parameter, Blob blob) { statement_->bind_blob(parameter, blob.bytes); }
  template <typename T>
  void bind(int parameter, const std::optional<T>& value) {
    if (value) {
      bind(parameter, *value);
    } else {
      statement_->bind_null(parameter);
    }
  }

  StoreDb& db_;
  sql::Statement* statement_;
};

base::Result<StoreDb> StoreDb::open(const std::string& folder, Durability durability,
                                    bool read_only) {
  const std::string path = folder + "/store.db";
  auto database = sql::Database::open(
      path, read_only ? reading_mode(folder) : sql::OpenMode::kReadWrite, kPatienceMs);
  if (!database) return base::fail(std::move(database.error()));
  StoreDb db(std::move(*database));
  const auto application = db.database_.integer("PRAGMA application_id");
  if (!application) return base::fail(application.error());
  const auto version = db.database_.integer("PRAGMA user_version");
  if (!version) return base::fail(version.error());
  const auto tables = db.database_.integer("SELECT count(*) FROM sqlite_master");
  if (!tables) return base::fail(tables.error());
  if (*application != kApplication && (*tables != 0 || read_only)) {
    return base::fail(version_error(path + " is no store of dure: choose another folder"));
  }
  if (*version > kVersion) {
    return base::fail(version_error(path + " was written by a newer dure (format " +
                                    std::to_string(*version) + "): upgrade dure to open it"));
  }
  if (!read_only) {
    db.run("PRAGMA journal_mode = WAL");
    db.run(durability == Durability::kFull ? "PRAGMA synchronous = FULL"
                                           : "PRAGMA synchronous = NORMAL");
    if (*application != kApplication && !db.failed()) {
      auto transaction = sql::Transaction::begin(db.database_);
      if (!transaction) return base::fail(std::move(transaction.error()));
      const auto made = db.database_.integer("PRAGMA application_id");  // by another process?
      if (made && *made != kApplication) {
        db.run(kTables);
        db.run(kToThird);
      }
      if (!db.failed()) db.fail(transaction->commit());
    }
  }
  db.path_ = path;
  if (*application == kApplication && *version < kVersion) {
    if (read_only) {
      return base::fail(version_error(path + " has an older format: open it once for writing "
                                             "(read_only=False), which adds what is missing"));
    }
    DURE_RETURN_IF_ERROR(db.upgrade());
  }
  db.run("PRAGMA temp_store = MEMORY");
  db.run("PRAGMA cache_size = -16384");  // KiB: hits are read from all over the table
  DURE_RETURN_IF_ERROR(db.take_status());
  return db;
}

base::Status StoreDb::upgrade() {
  auto transaction = sql::Transaction::begin(database_);
  if (!transaction) return std::move(transaction.error());
  const auto version = database_.integer("PRAGMA user_version");  // by another process?
  if (!version) return version.error();
  if (*version < 2) run(kToSecond);
  if (*version < kVersion) run(kToThird);
  if (!failed()) fail(transaction->commit());
  return take_status();
}

base::Status StoreDb::take_status() { return std::exchange(status_, base::Status()); }

void StoreDb::fail(base::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

sql::Statement* StoreDb::statement(const char* sql) {
  if (failed()) return nullptr;
  auto at = statements_.find(sql);
  if (at == statements_.end()) {
    auto made = database_.prepare(sql);
    if (!made) {
      fail(std::move(made.error()));
      return nullptr;
    }
    at = statements_.emplace(sql, std::move(*made)).first;
  }
  return &at->second;
}

// --- reading
// --------------------------------------------------------------------------------------

void StoreDb::begin_read() { Cursor(*this, "BEGIN").run(); }

void StoreDb::end_read() {
  if (!database_.in_transaction()) return;
  Cursor(*this, "COMMIT").run();
  if (database_.in_transaction()) (void)database_.execute("ROLLBACK");  // a step had failed
}

std::uint64_t StoreDb::seq() {
  Cursor found(*this, "SELECT value FROM state WHERE key = 'seq'");
  return found.next() ? static_cast<std::uint64_t>(found.integer(0)) : 0;
}

namespace {
CollectionRow collection_of(const Cursor& at) {
  CollectionRow row;
  row.id = at.integer(0);
  row.info.tenant = at.string(1);
  row.info.name = at.string(2);
  row.info.dim = static_cast<std::size_t>(at.integer(3));
  row.info.metric = metric_of(at.text(4)).value_or(Metric::kCosine);
  row.info.model = at.string(5);
  row.info.fingerprint = at.string(6);
  row.purged = static_cast<std::uint64_t>(at.integer(7));
  row.gen = at.integer(8);
  row.info.tokenizer = at.string(9);
  row.info.next = at.string(10);
  return row;
}

// Columns: id, document, text, metadata, sum, and with a vector its data and its sum.
Row row_of(const Cursor& at, bool with_vector) {
  Row row;
  row.id = at.string(0);
  if (!at.is_null(1)) row.document = at.string(1);
  if (!at.is_null(2)) row.text = at.string(2);
  row.metadata = at.string(3);
  if (with_vector) {
    const std::string_view bytes = at.blob(5);
    row.vector.resize(bytes.size() / sizeof(float));
    if (!row.vector.empty())
      std::memcpy(row.vector.data(), bytes.data(), row.vector.size() * sizeof(float));
  }
  return row;
}

bool is_sound(const Cursor& at, bool with_vector) {
  std::optional<std::string_view> text;
  if (!at.is_null(2)) text = at.text(2);
  if (!at.is_null(4) && at.integer(4) != sum_of(at.text(0), text, at.text(3))) return false;
  return !with_vector || at.is_null(6) ||
         at.integer(6) == static_cast<std::int64_t>(base::hash64(at.blob(5)));
}

// Columns of what was embedded, the words that a tokenizer cut and their sum, as verify() reads.
bool is_sound_extra(const Cursor& at) {
  if (at.is_null(9)) return true;
  std::optional<std::string_view> embed;
  std::optional<std::string_view> words;
  if (!at.is_null(7)) embed = at.text(7);
  if (!at.is_null(8)) words = at.text(8);
  return at.integer(9) == sum_of_extra(embed, words);
}

// The hashes of a row's words: as a tokenizer cut them, else as we do.
std::vector<std::uint64_t> words_of(const Cursor& at, int text, int words) {
  std::vector<std::uint64_t> hashes;
  if (at.is_null(words)) {
    append_word_hashes(at.text(text), hashes);
  } else {
    append_given_hashes(at.text(words), hashes);
  }
  return hashes;
}

base::Status damaged(const std::string& path, const std::string& id, const std::string& document) {
  const std::string way_out = document.empty()
                                  ? "delete the row and add it again"
                                  : "delete document '" + document + "' and ingest it again";
  return base::Status(base::Code::kCorrupt,
                      "row '" + id + "' of " + path +
                          " is damaged: it is not what was written: restore a backup, or " +
                          way_out)
      .with("path", path)
      .with("row", id)
      .with("document", document);
}

DocumentOut document_of(const Cursor& at) {
  DocumentOut out;
  out.document.id = at.string(0);
  if (!at.is_null(1)) out.document.source = at.string(1);
  if (!at.is_null(2)) out.document.size = at.integer(2);
  out.document.content_hash = std::string(at.blob(3));
  out.document.metadata = at.string(4);
  out.chunks = at.integer(5);
  return out;
}
}  // namespace

std::optional<CollectionRow> StoreDb::find_collection(const std::string& tenant,
                                                      const std::string& name) {
  Cursor found(*this,
               "SELECT id, tenant, name, dim, metric, model, fingerprint, purged, gen, (SELECT "
               "value FROM setting s WHERE s.collection = c.id AND s.key = 'tokenizer'), (SELECT "
               "fingerprint FROM next_gen n WHERE n.collection = c.id) "
               "FROM collection c WHERE tenant = ? AND name = ?",
               tenant, name);
  if (!found.next()) return std::nullopt;
  return collection_of(found);
}

std::vector<CollectionRow> StoreDb::collections(const std::optional<std::string>& tenant) {
  std::vector<CollectionRow> rows;
  Cursor found(*this,
               "SELECT id, tenant, name, dim, metric, model, fingerprint, purged, gen, (SELECT "
               "value FROM setting s WHERE s.collection = c.id AND s.key = 'tokenizer'), (SELECT "
               "fingerprint FROM next_gen n WHERE n.collection = c.id) "
               "FROM collection c WHERE ?1 IS NULL OR tenant = ?1 ORDER BY tenant, name",
               tenant);
  while (found.next()) rows.push_back(collection_of(found));
  return rows;
}

std::vector<SegmentRow> StoreDb::segments(std::int64_t collection) {
  std::vector<SegmentRow> rows;
  Cursor found(*this,
               "SELECT file, least, most, rows FROM segment WHERE collection = ? ORDER BY least",
               collection);
  while (found.next()) {
    rows.push_back({found.string(0), found.integer(1), found.integer(2), found.integer(3)});
  }
  return rows;
}

std::vector<std::string> StoreDb::segment_files(std::int64_t collection) {
  std::vector<std::string> names;
  for (SegmentRow& one : segments(collection)) names.push_back(std::move(one.file));
  return names;
}

std::vector<std::string> StoreDb::segment_files() {
  std::vector<std::string> files;
  Cursor found(*this, "SELECT file FROM segment");
  while (found.next()) files.push_back(found.string(0));
  return files;
}

std::uint64_t StoreDb::load(const CollectionRow& row, base::Files& files, const std::string& folder,
                            CollectionIndex& index) {
  begin_read();
  const std::uint64_t seq_now = seq();
  bool sealed = false;
  const std::vector<std::string> names = segment_files(row.id);
  for (const std::string& name : names) {
    auto part = Part::load(files, folder, name, index.next_first(), row.info.dim, row.info.metric);
    // Damaged: its rows are served flat, and sealed again; those behind it too, since chunk numbers
    // rise within what is sealed together.
    if (!part) break;
    index.add_segment(std::move(*part));
    sealed = true;
  }
  index.know_files(names);
  bool has_words = false;
  if (sealed && names.size() == 1) {
    const auto stored = files.read(folder + "/" + words_file(names.front()));
    has_words = stored && index.take_words(*stored);
  }
  const auto basic = [](const Cursor& at) {
    NewRow one;
    one.chunk = at.integer(0);
    one.has_text = !at.is_null(1);
    one.words = words_of(at, 1, 4);
    one.metadata = at.string(2);
    one.id = at.string(3);
    return one;
  };
  std::vector<std::int64_t> flat;
  if (sealed) {
    // With stored words the texts are left alone: they are most of the bytes.
    Cursor rows(*this,
                has_words ? "SELECT id, NULL, meta, ext_id, NULL FROM chunk WHERE collection = ? "
                            "AND del = 0 ORDER BY id"
                          : "SELECT c.id, c.text, c.meta, c.ext_id, x.words FROM chunk c LEFT JOIN "
                            "extra x ON x.chunk = c.id WHERE c.collection = ? AND c.del = 0 "
                            "ORDER BY c.id",
                row.id);
    while (rows.next()) {
      const NewRow one = basic(rows);
      if (!index.revive(one)) flat.push_back(one.chunk);
    }
    if (has_words) index.forget_dead_words();
  }
  Cursor rows(*this,
              "SELECT c.id, c.text, c.meta, c.ext_id, x.words, v.data FROM chunk c JOIN vec v ON "
              "v.id = c.vec LEFT JOIN extra x ON x.chunk = c.id WHERE c.collection = ? AND "
              "c.del = 0 AND c.id >= ? ORDER BY c.id",
              row.id, !sealed ? std::int64_t{0} : (flat.empty() ? INT64_MAX : flat.front()));
  std::vector<NewRow> batch;
  while (rows.next()) {
    if (sealed && !std::binary_search(flat.begin(), flat.end(), rows.integer(0))) continue;
    NewRow one = basic(rows);
    one.vector = as_searched(rows.blob(5), row.info.metric);
    if (one.vector.size() != row.info.dim) {
      fail({base::Code::kCorrupt, "a vector of collection " + row.info.name +
                                      " has another length than the collection: restore a backup"});
      break;
    }
    batch.push_back(std::move(one));
    if (batch.size() == 1000) index.apply({}, std::exchange(batch, {}));
  }
  index.apply({}, std::move(batch));
  end_read();
  return seq_now;
}

std::uint64_t StoreDb::changes_since(const CollectionRow& row, std::uint64_t from,
                                     Changes& changes) {
  begin_read();
  const std::uint64_t seq_now = seq();
  {
    Cursor rows(*this,
                "SELECT c.id, c.text, c.meta, c.del, v.data, c.ext_id, x.words FROM chunk c LEFT "
                "JOIN vec v ON v.id = c.vec LEFT JOIN extra x ON x.chunk = c.id "
                "WHERE c.collection = ? AND c.seq > ? ORDER BY c.id",
                row.id, from);
    while (rows.next()) {
      if (rows.integer(3) != 0) {
        changes.dead.push_back(rows.integer(0));
        continue;
      }
      NewRow one;
      one.chunk = rows.integer(0);
      one.has_text = !rows.is_null(1);
      one.words = words_of(rows, 1, 6);
      one.metadata = rows.string(2);
      one.id = rows.string(5);
      one.vector = as_searched(rows.blob(4), row.info.metric);
      if (one.vector.size() == row.info.dim) changes.rows.push_back(std::move(one));
    }
  }
  end_read();
  return seq_now;
}

std::vector<bool> StoreDb::has_vectors(const CollectionRow& row,
                                       const std::vector<ContentHash>& contents) {
  std::vector<bool> known;
  known.reserve(contents.size());
  for (const ContentHash& content : contents) {
    Cursor found(*this, "SELECT 1 FROM vec WHERE collection = ? AND gen = ? AND hash = ?", row.id,
                 row.gen, Blob{as_bytes(content)});
    known.push_back(found.next());
  }
  return known;
}

std::optional<Row> StoreDb::fetch(std::int64_t chunk, bool with_vector) {
  const auto read = [&](const char* sql) -> std::optional<Row> {
    Cursor found(*this, sql, chunk);
    if (!found.next()) return std::nullopt;
    Row row = row_of(found, with_vector);
    if (!is_sound(found, with_vector)) fail(damaged(path_, row.id, row.document));
    return row;
  };
  return with_vector
             ? read(
                   "SELECT c.ext_id, d.ext_id, c.text, c.meta, c.sum, v.data, v.sum FROM chunk c "
                   "LEFT JOIN doc d ON d.id = c.doc JOIN vec v ON v.id = c.vec WHERE c.id = ?")
             : read(
                   "SELECT c.ext_id, d.ext_id, c.text, c.meta, c.sum FROM chunk c LEFT JOIN doc d "
                   "ON d.id = c.doc WHERE c.id = ?");
}

std::optional<Row> StoreDb::find(std::int64_t collection, const std::string& id, bool with_vector) {
  std::int64_t chunk = 0;
  {
    Cursor found(*this, "SELECT id FROM chunk WHERE collection = ? AND ext_id = ? AND del = 0",
                 collection, id);
    if (!found.next()) return std::nullopt;
    chunk = found.integer(0);
  }
  return fetch(chunk, with_vector);
}

Page StoreDb::scroll(std::int64_t collection, const std::optional<std::string>& after,
                     std::size_t limit, const std::vector<std::int64_t>* only, bool with_vector) {
  Page page;
  std::vector<std::int64_t> chunks;
  bool more = false;
  {
    Cursor found(*this,
                 "SELECT id FROM chunk WHERE collection = ? AND del = 0 AND ext_id > ? "
                 "ORDER BY ext_id",
                 collection, after.value_or(""));
    while (found.next()) {
      const std::int64_t chunk = found.integer(0);
      if (only != nullptr && !std::binary_search(only->begin(), only->end(), chunk)) continue;
      more = chunks.size() == limit;
      if (more) break;
      chunks.push_back(chunk);
    }
  }
  for (const std::int64_t chunk : chunks) {
    if (auto row = fetch(chunk, with_vector)) page.rows.push_back(std::move(*row));
  }
  if (more && !page.rows.empty()) page.next = page.rows.back().id;
  return page;
}

ChangePage StoreDb::changed(std::int64_t collection, std::uint64_t since, std::int64_t after,
                            std::size_t limit) {
  ChangePage page;
  std::vector<std::int64_t> live;
  begin_read();
  page.seq = seq();
  {
    Cursor found(*this,
                 "SELECT id, ext_id, del FROM chunk c WHERE collection = ?1 AND seq > ?2 AND "
                 "id > ?3 AND (del = 0 OR NOT EXISTS (SELECT 1 FROM chunk n WHERE n.collection = "
                 "?1 AND n.ext_id = c.ext_id AND n.del = 0)) ORDER BY id LIMIT ?4",
                 collection, since, after, static_cast<std::int64_t>(limit));
    std::size_t count = 0;
    while (found.next()) {
      if (++count == limit) page.next = found.integer(0);
      if (found.integer(2) == 0) {
        live.push_back(found.integer(0));
      } else {
        page.removed.push_back(found.string(1));
      }
    }
  }
  for (const std::int64_t chunk : live) {
    if (auto row = fetch(chunk, true)) page.rows.push_back(std::move(*row));
  }
  end_read();
  return page;
}

std::vector<DocumentOut> StoreDb::documents(std::int64_t collection) {
  std::vector<DocumentOut> all;
  Cursor found(*this,
               "SELECT ext_id, source, size, hash, meta, (SELECT count(*) FROM chunk c "
               "WHERE c.doc = d.id AND c.del = 0) FROM doc d WHERE collection = ? ORDER BY ext_id",
               collection);
  while (found.next()) all.push_back(document_of(found));
  return all;
}

std::optional<DocumentOut> StoreDb::document(std::int64_t collection, const std::string& id) {
  Cursor found(*this,
               "SELECT ext_id, source, size, hash, meta, (SELECT count(*) FROM chunk c "
               "WHERE c.doc = d.id AND c.del = 0) FROM doc d WHERE collection = ? AND ext_id = ?",
               collection, id);
  if (!found.next()) return std::nullopt;
  return document_of(found);
}

// --- writing
// --------------------------------------------------------------------------------------

void StoreDb::set_seq(std::uint64_t seq) {
  Cursor(*this, "UPDATE state SET value = ? WHERE key = 'seq'", seq).run();
}

void StoreDb::create_collection(const CollectionInfo& info) {
  Cursor(*this,
         "INSERT INTO collection (tenant, name, dim, metric, model, fingerprint, purged) "
         "VALUES (?, ?, ?, ?, '', '', (SELECT value FROM state WHERE key = 'seq'))",
         info.tenant, info.name, static_cast<std::int64_t>(info.dim), name_of(info.metric))
      .run();
  if (info.tokenizer.empty()) return;
  Cursor(*this, "INSERT INTO setting (collection, key, value) VALUES (?, 'tokenizer', ?)",
         database_.last_insert_id(), info.tokenizer)
      .run();
}

void StoreDb::set_dim(std::int64_t collection, std::size_t dim) {
  Cursor(*this, "UPDATE collection SET dim = ? WHERE id = ?", static_cast<std::int64_t>(dim),
         collection)
      .run();
}

void StoreDb::drop_collection(std::int64_t collection) {
  for (const char* sql :
       {"DELETE FROM extra WHERE chunk IN (SELECT id FROM chunk WHERE collection = ?)",
        "DELETE FROM setting WHERE collection = ?", "DELETE FROM next_gen WHERE collection = ?",
        "DELETE FROM next_vec WHERE collection = ?", "DELETE FROM chunk WHERE collection = ?",
        "DELETE FROM vec WHERE collection = ?", "DELETE FROM doc WHERE collection = ?",
        "DELETE FROM segment WHERE collection = ?", "DELETE FROM collection WHERE id = ?"}) {
    Cursor(*this, sql, collection).run();
  }
}

void StoreDb::tombstone(std::int64_t chunk, std::uint64_t seq, Changes& changes) {
  Cursor(*this, "UPDATE chunk SET del = 1, seq = ? WHERE id = ?", seq, chunk).run();
  changes.dead.push_back(chunk);
}

base::Status StoreDb::check_model(CollectionRow& row, const UpsertIn& in) {
  if (!in.vectors.empty()) {
    if (row.info.dim == 0) {
      row.info.dim = in.dim;
      set_dim(row.id, in.dim);
    } else if (row.info.dim != in.dim) {
      return base::invalid_argument("embeddings",
                                    "collection '" + row.info.name + "' holds vectors of " +
                                        std::to_string(row.info.dim) + " floats, not " +
                                        std::to_string(in.dim) +
                                        ": use another collection, or re-embed this one")
          .as("DimensionMismatchError")
          .with("collection", row.info.name)
          .with("stored", static_cast<std::int64_t>(row.info.dim))
          .with("given", static_cast<std::int64_t>(in.dim));
    }
  }
  if (in.model.fingerprint.empty()) return {};
  if (row.info.fingerprint.empty()) {
    row.info.model = in.model.id;
    row.info.fingerprint = in.model.fingerprint;
    Cursor(*this, "UPDATE collection SET model = ?, fingerprint = ? WHERE id = ?", in.model.id,
           in.model.fingerprint, row.id)
        .run();
  } else if (row.info.fingerprint != in.model.fingerprint) {
    return base::invalid_argument(
               "embedder", "collection '" + row.info.name + "' holds vectors of " + row.info.model +
                               ", not of " + in.model.id +
                               " (or of another revision or prefix of it): use another "
                               "collection, or re-embed this one")
        .as("ModelMismatchError")
        .with("collection", row.info.name)
        .with("stored", row.info.model)
        .with("given", in.model.id);
  }
  return {};
}

std::int64_t StoreDb::put_document(std::int64_t collection, const DocumentIn& document,
                                   std::uint64_t seq) {
  Cursor put(*this,
             "INSERT INTO doc (collection, ext_id, source, size, hash, meta, seq) "
             "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collection, ext_id) DO UPDATE SET "
             "source = excluded.source, size = excluded.size, hash = excluded.hash, "
             "meta = excluded.meta, seq = excluded.seq RETURNING id",
             collection, document.id, document.source, document.size, Blob{document.content_hash},
             document.metadata, seq);
  std::int64_t id = 0;
  while (put.next()) id = put.integer(0);
  return id;
}

std::int64_t StoreDb::attach_document(std::int64_t collection, const std::string& id,
                                      std::uint64_t seq) {
  {
    Cursor found(*this, "SELECT id FROM doc WHERE collection = ? AND ext_id = ?", collection, id);
    if (found.next()) return found.integer(0);
  }
  DocumentIn bare;
  bare.id = id;
  return put_document(collection, bare, seq);
}

base::Status StoreDb::upsert(CollectionRow& row, const UpsertJob& job, std::uint64_t seq,
                             Changes& changes) {
  const UpsertIn& in = job.in;
  if (base::Status status = check_model(row, in); !status.ok()) return status;
  std::optional<std::int64_t> document;
  std::unordered_set<std::int64_t> leftover;  // of the document that is replaced
  if (in.document) {
    document = put_document(row.id, *in.document, seq);
    Cursor old(*this, "SELECT id FROM chunk WHERE doc = ? AND del = 0 AND doc IS NOT NULL",
               *document);
    while (old.next()) leftover.insert(old.integer(0));
  }
  for (std::size_t i = 0; i < in.rows.size() && !failed(); ++i) {
    const RowIn& given = in.rows[i];
    std::optional<std::int64_t> doc = document;
    if (!doc && !given.document.empty()) doc = attach_document(row.id, given.document, seq);

    // The vector: shared by equal contents; of its own if the given bits differ.
    std::int64_t vec = 0;
    std::string data;
    if (given.vector >= 0) {
      data = as_bytes(in.vectors.data() + static_cast<std::size_t>(given.vector) * in.dim, in.dim);
    }
    bool taken = false;
    if (given.content) {
      Cursor found(*this, "SELECT id, data FROM vec WHERE collection = ? AND gen = ? AND hash = ?",
                   row.id, row.gen, Blob{as_bytes(*given.content)});
      if (found.next()) {
        taken = true;
        if (given.vector < 0) data = found.blob(1);
        if (found.blob(1) == data) vec = found.integer(0);
      }
    }
    if (given.vector < 0 && !taken && !failed()) {
      return base::invalid_argument("embeddings", "row " + std::to_string(i) +
                                                      " has no vector, and none is stored for its "
                                                      "content: give one (has_vectors tells)");
    }

    // The row that has this id now.
    std::optional<std::int64_t> old;
    bool same = false;
    {
      Cursor found(*this,
                   "SELECT c.id, c.doc, c.text, c.meta, c.vec, v.data FROM chunk c JOIN vec v "
                   "ON v.id = c.vec WHERE c.collection = ? AND c.ext_id = ? AND c.del = 0",
                   row.id, job.ids[i]);
      if (found.next()) {
        old = found.integer(0);
        if (vec == 0 && found.blob(5) == data) vec = found.integer(4);
        const bool same_doc =
            found.is_null(1) ? !doc.has_value() : doc.has_value() && *doc == found.integer(1);
        const bool same_text =
            found.is_null(2) ? !given.text.has_value() : given.text && *given.text == found.text(2);
        same = same_doc && same_text && found.text(3) == given.metadata && found.integer(4) == vec;
      }
    }
    if (old) leftover.erase(*old);
    if (same) continue;
    if (vec == 0) {
      std::optional<Blob> hash;
      if (given.content && !taken) hash = Blob{as_bytes(*given.content)};
      Cursor(*this, "INSERT INTO vec (collection, gen, hash, data, sum) VALUES (?, ?, ?, ?, ?)",
             row.id, row.gen, hash, Blob{data}, base::hash64(data))
          .run();
      vec = database_.last_insert_id();
    }
    if (old) tombstone(*old, seq, changes);
    Cursor(*this,
           "INSERT INTO chunk (collection, doc, ext_id, text, meta, vec, seq, sum) "
           "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
           row.id, doc, job.ids[i], given.text, given.metadata, vec, seq,
           sum_of(job.ids[i], given.text, given.metadata))
        .run();
    NewRow made;
    made.chunk = database_.last_insert_id();
    made.vector = as_searched(data, row.info.metric);
    made.words = job.words[i];
    made.has_text = given.text.has_value();
    made.metadata = given.metadata;
    made.id = job.ids[i];
    put_extra(made.chunk, given);
    changes.rows.push_back(std::move(made));
  }
  for (const std::int64_t chunk : leftover) tombstone(chunk, seq, changes);
  return take_status();
}

base::Status StoreDb::update(std::int64_t collection, Metric metric,
                             const std::vector<std::string>& ids,
                             const std::vector<std::string>& metadata, std::uint64_t seq,
                             Changes& changes) {
  for (std::size_t i = 0; i < ids.size() && !failed(); ++i) {
    std::int64_t old = 0;
    std::int64_t sum = 0;
    NewRow made;
    {
      Cursor found(*this,
                   "SELECT c.id, c.text, c.meta, v.data, c.sum, x.words FROM chunk c JOIN vec v "
                   "ON v.id = c.vec LEFT JOIN extra x ON x.chunk = c.id "
                   "WHERE c.collection = ? AND c.ext_id = ? AND c.del = 0",
                   collection, ids[i]);
      if (!found.next()) {
        if (failed()) break;
        return {base::Code::kNotFound, "there is no row '" + ids[i] + "': nothing was changed"};
      }
      old = found.integer(0);
      made.has_text = !found.is_null(1);
      std::optional<std::string_view> text;
      if (made.has_text) text = found.text(1);
      if (!found.is_null(4) && found.integer(4) != sum_of(ids[i], text, found.text(2))) {
        return damaged(path_, ids[i], "");
      }
      made.words = words_of(found, 1, 5);
      made.id = ids[i];
      auto merged = merge(found.text(2), metadata[i]);
      if (!merged) return merged.error();
      made.metadata = std::move(*merged);
      made.vector = as_searched(found.blob(3), metric);
      sum = sum_of(ids[i], text, made.metadata);
    }
    tombstone(old, seq, changes);
    Cursor(*this,
           "INSERT INTO chunk (collection, doc, ext_id, text, meta, vec, seq, sum) "
           "SELECT collection, doc, ext_id, text, ?, vec, ?, ? FROM chunk WHERE id = ?",
           made.metadata, seq, sum, old)
        .run();
    made.chunk = database_.last_insert_id();
    Cursor(*this,
           "INSERT INTO extra (chunk, embed, words, sum) SELECT ?, embed, words, sum FROM extra "
           "WHERE chunk = ?",
           made.chunk, old)
        .run();
    changes.rows.push_back(std::move(made));
  }
  return take_status();
}

std::size_t StoreDb::remove(std::int64_t collection, const std::vector<std::string>& ids,
                            std::uint64_t seq, Changes& changes) {
  std::vector<std::int64_t> chunks;
  for (const std::string& id : ids) {
    Cursor found(*this, "SELECT id FROM chunk WHERE collection = ? AND ext_id = ? AND del = 0",
                 collection, id);
    if (found.next()) chunks.push_back(found.integer(0));
  }
  return remove_chunks(chunks, seq, changes);
}

std::size_t StoreDb::remove_chunks(const std::vector<std::int64_t>& chunks, std::uint64_t seq,
                                   Changes& changes) {
  const std::unordered_set<std::int64_t> distinct(chunks.begin(), chunks.end());
  for (const std::int64_t chunk : distinct) tombstone(chunk, seq, changes);
  return distinct.size();
}

std::size_t StoreDb::remove_documents(std::int64_t collection, const std::vector<std::string>& ids,
                                      std::uint64_t seq, Changes& changes) {
  std::size_t removed = 0;
  for (const std::string& id : ids) {
    std::int64_t document = 0;
    {
      Cursor found(*this, "SELECT id FROM doc WHERE collection = ? AND ext_id = ?", collection, id);
      if (!found.next()) continue;
      document = found.integer(0);
    }
    std::vector<std::int64_t> chunks;
    {
      Cursor found(*this, "SELECT id FROM chunk WHERE doc = ? AND del = 0 AND doc IS NOT NULL",
                   document);
      while (found.next()) chunks.push_back(found.integer(0));
    }
    (void)remove_chunks(chunks, seq, changes);
    Cursor(*this, "DELETE FROM doc WHERE id = ?", document).run();
    ++removed;
  }
  return removed;
}

std::vector<std::string> StoreDb::purge(std::int64_t collection, std::uint64_t seq) {
  std::vector<std::string> stale;
  {
    Cursor old(*this, "DELETE FROM segment WHERE collection = ? RETURNING file", collection);
    while (old.next()) stale.push_back(old.string(0));
  }
  forget_tombstones(collection);
  Cursor(*this,
         "DELETE FROM vec WHERE collection = ?1 AND id NOT IN "
         "(SELECT vec FROM chunk WHERE collection = ?1) AND "
         "gen = (SELECT gen FROM collection WHERE id = ?1)",
         collection)
      .run();
  Cursor(*this, "UPDATE collection SET purged = ? WHERE id = ?", seq, collection).run();
  return stale;
}

void StoreDb::forget_tombstones(std::int64_t collection) {
  for (const char* sql :
       {"DELETE FROM extra WHERE chunk IN (SELECT id FROM chunk WHERE collection = ? AND del = 1)",
        "DELETE FROM next_vec WHERE chunk IN (SELECT id FROM chunk WHERE collection = ? AND del = "
        "1)",
        "DELETE FROM chunk WHERE collection = ? AND del = 1"}) {
    Cursor(*this, sql, collection).run();
  }
}

void StoreDb::put_extra(std::int64_t chunk, const RowIn& given) {
  if (!given.embed && !given.words) return;
  Cursor(*this, "INSERT INTO extra (chunk, embed, words, sum) VALUES (?, ?, ?, ?)", chunk,
         given.embed, given.words, sum_of_extra(view_of(given.embed), view_of(given.words)))
      .run();
}

// --- generations of vectors
// -----------------------------------------------------------------------

std::optional<NextGeneration> StoreDb::next_generation(std::int64_t collection) {
  Cursor found(*this, "SELECT model, fingerprint, dim FROM next_gen WHERE collection = ?",
               collection);
  if (!found.next()) return std::nullopt;
  return NextGeneration{{found.string(0), found.string(1)},
                        static_cast<std::size_t>(found.integer(2))};
}

void StoreDb::cancel_next(const CollectionRow& row) {
  Cursor(*this, "DELETE FROM next_vec WHERE collection = ?", row.id).run();
  Cursor(*this, "DELETE FROM vec WHERE collection = ? AND gen = ?", row.id, row.gen + 1).run();
  Cursor(*this, "DELETE FROM next_gen WHERE collection = ?", row.id).run();
}

void StoreDb::begin_next(const CollectionRow& row, const NextGeneration& next) {
  const auto there = next_generation(row.id);
  if (there && there->model.fingerprint == next.model.fingerprint && there->dim == next.dim) return;
  cancel_next(row);
  Cursor(*this, "INSERT INTO next_gen (collection, model, fingerprint, dim) VALUES (?, ?, ?, ?)",
         row.id, next.model.id, next.model.fingerprint, static_cast<std::int64_t>(next.dim))
      .run();
}

ReembedState StoreDb::reembed_state(std::int64_t collection) {
  ReembedState state;
  Cursor found(*this,
               "SELECT count(*), count(n.vec), count(*) - count(coalesce(x.embed, c.text)), "
               "min(CASE WHEN coalesce(x.embed, c.text) IS NULL THEN c.ext_id END) FROM chunk c "
               "LEFT JOIN extra x ON x.chunk = c.id LEFT JOIN next_vec n ON n.chunk = c.id "
               "WHERE c.collection = ? AND c.del = 0",
               collection);
  if (!found.next()) return state;
  state.rows = static_cast<std::size_t>(found.integer(0));
  state.ready = static_cast<std::size_t>(found.integer(1));
  state.textless = static_cast<std::size_t>(found.integer(2));
  state.first_textless = found.string(3);
  return state;
}

ReembedPage StoreDb::reembed_page(const CollectionRow& row, std::int64_t after, std::size_t limit,
                                  bool anew) {
  ReembedPage page;
  begin_read();
  {
    Cursor found(*this,
                 "SELECT c.id, coalesce(x.embed, c.text) FROM chunk c NOT INDEXED LEFT JOIN extra "
                 "x ON x.chunk = c.id WHERE c.id > ? AND c.collection = ? AND c.del = 0 AND (? OR "
                 "NOT EXISTS (SELECT 1 FROM next_vec n WHERE n.chunk = c.id)) ORDER BY c.id "
                 "LIMIT ?",
                 after, row.id, std::int64_t{anew}, static_cast<std::int64_t>(limit));
    while (found.next()) {
      ReembedRow one;
      one.chunk = found.integer(0);
      one.text = found.string(1);
      one.content = base::sha256(one.text);
      page.rows.push_back(std::move(one));
    }
  }
  CollectionRow next = row;
  ++next.gen;
  for (ReembedRow& one : page.rows) {
    one.known = !anew && has_vectors(next, {one.content}).front();
  }
  end_read();
  if (page.rows.size() == limit) page.next = page.rows.back().chunk;
  return page;
}

void StoreDb::put_next(const CollectionRow& row, const std::vector<Reembedded>& rows,
                       const std::vector<float>& vectors, std::size_t dim) {
  for (const Reembedded& one : rows) {
    if (one.vector >= 0) {
      const std::string_view data =
          as_bytes(vectors.data() + static_cast<std::size_t>(one.vector) * dim, dim);
      Cursor(*this,
             "INSERT OR IGNORE INTO vec (collection, gen, hash, data, sum) VALUES (?, ?, ?, ?, ?)",
             row.id, row.gen + 1, Blob{as_bytes(one.content)}, Blob{data}, base::hash64(data))
          .run();
    }
    Cursor(*this,
           "INSERT OR REPLACE INTO next_vec (chunk, collection, vec) SELECT c.id, c.collection, "
           "v.id FROM chunk c JOIN vec v ON v.collection = c.collection AND v.gen = ? AND "
           "v.hash = ? WHERE c.id = ? AND c.collection = ? AND c.del = 0",
           row.gen + 1, Blob{as_bytes(one.content)}, one.chunk, row.id)
        .run();
  }
}

void StoreDb::read_next(const CollectionRow& row, Part& out) {
  begin_read();
  {
    Cursor found(*this,
                 "SELECT c.id, v.data FROM chunk c JOIN next_vec n ON n.chunk = c.id JOIN vec v "
                 "ON v.id = n.vec WHERE c.collection = ? AND c.del = 0 ORDER BY c.id",
                 row.id);
    while (found.next()) {
      const auto vector = as_searched(found.blob(1), row.info.metric);
      if (vector.size() == out.dim()) out.append(found.integer(0), vector.data());
    }
  }
  end_read();
}

std::vector<std::string> StoreDb::flip(const CollectionRow& row, const NextGeneration& next,
                                       std::uint64_t seq) {
  Cursor(*this,
         "UPDATE chunk SET vec = (SELECT n.vec FROM next_vec n WHERE n.chunk = chunk.id) "
         "WHERE collection = ? AND del = 0",
         row.id)
      .run();
  Cursor(*this, "UPDATE collection SET gen = ?, model = ?, fingerprint = ?, dim = ? WHERE id = ?",
         row.gen + 1, next.model.id, next.model.fingerprint, static_cast<std::int64_t>(next.dim),
         row.id)
      .run();
  Cursor(*this, "DELETE FROM next_vec WHERE collection = ?", row.id).run();
  Cursor(*this, "DELETE FROM next_gen WHERE collection = ?", row.id).run();
  Cursor(*this, "DELETE FROM vec WHERE collection = ? AND gen <> ?", row.id, row.gen + 1).run();
  return purge(row.id, seq);
}

// --- damage
// ---------------------------------------------------------------------------------------

VerifyOut StoreDb::verify(base::Files& files, const std::string& folder) {
  VerifyOut out;
  const auto note = [&out](const CollectionRow& at, std::string row, std::string document,
                           std::string what) {
    out.damaged.push_back(
        {at.info.tenant, at.info.name, std::move(row), std::move(document), std::move(what)});
  };
  begin_read();
  {
    Cursor check(*this, "PRAGMA integrity_check(1)");
    if (check.next() && check.text(0) != "ok") note({}, "", "", check.string(0));
  }
  for (const CollectionRow& collection : collections(std::nullopt)) {
    Cursor found(*this,
                 "SELECT c.ext_id, d.ext_id, c.text, c.meta, c.sum, v.data, v.sum, x.embed, "
                 "x.words, x.sum FROM chunk c LEFT JOIN doc d ON d.id = c.doc LEFT JOIN vec v ON "
                 "v.id = c.vec LEFT JOIN extra x ON x.chunk = c.id WHERE c.collection = ? AND "
                 "c.del = 0 ORDER BY c.id",
                 collection.id);
    while (found.next()) {
      ++out.rows;
      if (!is_sound(found, false) || !is_sound_extra(found)) {
        note(collection, found.string(0), found.string(1), "row");
      } else if (found.blob(5).size() != collection.info.dim * sizeof(float) ||
                 !is_sound(found, true)) {
        note(collection, found.string(0), found.string(1), "vector");
      }
    }
    for (const std::string& name : segment_files(collection.id)) {
      if (!Part::load(files, folder, name, 0, collection.info.dim, collection.info.metric)) {
        note(collection, "", "", "segment");
      }
    }
  }
  if (const base::Status status = take_status(); !status.ok()) note({}, "", "", status.message());
  end_read();
  return out;
}

std::vector<std::string> StoreDb::add_segment(std::int64_t collection, const SegmentRow& segment) {
  std::vector<std::string> replaced;
  {
    Cursor old(*this,
               "DELETE FROM segment WHERE collection = ? AND least <= ? AND most >= ? "
               "RETURNING file",
               collection, segment.most, segment.least);
    while (old.next()) replaced.push_back(old.string(0));
  }
  Cursor(*this, "INSERT INTO segment (collection, file, least, most, rows) VALUES (?, ?, ?, ?, ?)",
         collection, segment.file, segment.least, segment.most, segment.rows)
      .run();
  return replaced;
}

}  // namespace dure::index
