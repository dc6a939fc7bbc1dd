#include "sql/database.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace dure::sql {
namespace {

// A fork while another thread is inside SQLite leaves its mutexes locked for ever in the child,
// where the next call would hang. So a fork waits until every thread of ours is outside of it. Who
// waits for another process's lock is outside (be_patient).
class Gate {
 public:
  class Inside {
   public:
    Inside() noexcept {
      if (depth++ == 0) pthread_rwlock_rdlock(&lock());
    }
    ~Inside() {
      if (--depth == 0) pthread_rwlock_unlock(&lock());
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
  };
  class Outside {
   public:
    Outside() noexcept { pthread_rwlock_unlock(&lock()); }
    ~Outside() { pthread_rwlock_rdlock(&lock()); }
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;
  };

 private:
  static pthread_rwlock_t& lock() noexcept {
    static pthread_rwlock_t& one = begin();
    return one;
  }
  static pthread_rwlock_t& begin() noexcept {
    static pthread_rwlock_t one;
    init(one);
    ::pthread_atfork([] { pthread_rwlock_wrlock(&lock()); }, [] { pthread_rwlock_unlock(&lock()); },
                     [] { init(lock()); });  // the child's only thread has another id
    return one;
  }
  // A fork is not put off for ever by threads that come and go.
  static void init(pthread_rwlock_t& one) noexcept {
    pthread_rwlockattr_t writers_first;
    pthread_rwlockattr_init(&writers_first);
    pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&one, &writers_first);
    pthread_rwlockattr_destroy(&writers_first);
  }

  static thread_local int depth;
};
thread_local int Gate::depth = 0;

// SQLite's own patience, with the same waits, outside of the gate. `patience` in milliseconds.
int be_patient(void* patience, int tries) noexcept {
  constexpr std::int64_t kWaits[] = {1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100};
  constexpr int kMany = static_cast<int>(sizeof kWaits / sizeof kWaits[0]);
  std::int64_t waited = 0;
  for (int i = 0; i < tries; ++i) waited += kWaits[i < kMany ? i : kMany - 1];
  const std::int64_t left = reinterpret_cast<std::intptr_t>(patience) - waited;
  if (left <= 0) return 0;
  const std::int64_t wait = kWaits[tries < kMany ? tries : kMany - 1];
  const Gate::Outside outside;
  ::usleep(static_cast<unsigned>((wait < left ? wait : left) * 1000));
  return 1;
}

constexpr int kBackupPages = 256;  // a step of a backup: others may write in between
constexpr int kBackupPauseMs = 5;

base::Status failure(sqlite3* handle, int code) {
  const std::string said = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return {base::Code::kIo, "the disk is full: free some space and call again (" + said + ")"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return base::Status(base::Code::kIo,
                          "another process holds the database's lock: call again (" + said + ")")
          .with_retry_after(1.0);
    case SQLITE_READONLY:
      return {base::Code::kIo,
              "the database is read-only: check the rights of its folder (" + said + ")"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {base::Code::kCorrupt,
              "the database file is damaged: restore a backup (" + said + ")"};
    case SQLITE_NOMEM:
      return {base::Code::kOutOfMemory, "no memory for the database"};
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {base::Code::kIo, "the disk refused: " + said};
    default:
      return {base::Code::kInternal, "database: " + said};
  }
}

std::string immutable_uri(const std::string& path) {
  std::string uri = path.starts_with('/') ? "file://" : "file:";
  for (const char c : path) {
    switch (c) {
      case '%':
        uri += "%25";
        break;
      case '?':
        uri += "%3f";
        break;
      case '#':
        uri += "%23";
        break;
      default:
        uri += c;
    }
  }
  return uri + "?immutable=1";
}

const char* not_null(std::string_view bytes) noexcept {
  return bytes.data() != nullptr ? bytes.data() : "";
}

// Makes a new database file the user's own before SQLite opens it; the files beside it (-wal, -shm)
// take its rights. A file that is there is left alone: closing any descriptor of it would drop the
// locks that this process holds.
void make_private(const std::string& path) {
  const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (file >= 0) ::close(file);
}

}  // namespace

Statement::~Statement() {
  if (statement_ == nullptr) return;
  const Gate::Inside inside;
  sqlite3_finalize(statement_);
}
Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)) {}
Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(statement_, other.statement_);
  return *this;
}

void Statement::bind(int parameter, std::int64_t value) {
  sqlite3_bind_int64(statement_, parameter, value);
}
void Statement::bind_text(int parameter, std::string_view text) {
  const Gate::Inside inside;
  sqlite3_bind_text64(statement_, parameter, not_null(text), text.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
}
void Statement::bind_blob(int parameter, std::string_view bytes) {
  sqlite3_bind_blob64(statement_, parameter, not_null(bytes), bytes.size(), SQLITE_STATIC);
}
void Statement::bind_null(int parameter) { sqlite3_bind_null(statement_, parameter); }

base::Result<bool> Statement::step() {
  const Gate::Inside inside;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  base::Status status = failure(sqlite3_db_handle(statement_), code);
  sqlite3_reset(statement_);
  return base::fail(std::move(status));
}

base::Status Statement::run() {
  for (;;) {
    const auto more = step();
    if (!more) return more.error();
    if (!*more) break;
  }
  reset();
  return {};
}

void Statement::reset() noexcept {
  const Gate::Inside inside;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}
std::string_view Statement::text(int column) const {
  const Gate::Inside inside;
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}
std::string_view Statement::blob(int column) const {
  const Gate::Inside inside;
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}
bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

base::Result<Database> Database::open(const std::string& path, OpenMode mode, int patience_ms) {
  if (mode == OpenMode::kReadWrite && path != ":memory:") make_private(path);
  const int flags = (mode == OpenMode::kReadWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                                  : SQLITE_OPEN_READONLY) |
                    (mode == OpenMode::kImmutable ? SQLITE_OPEN_URI : 0) | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_EXRESCODE;
  const Gate::Inside inside;
  sqlite3* handle = nullptr;
  const std::string name = mode == OpenMode::kImmutable ? immutable_uri(path) : path;
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  Database database(handle);
  if (code != SQLITE_OK) return base::fail(failure(handle, code));
  sqlite3_busy_handler(handle, &be_patient,
                       reinterpret_cast<void*>(static_cast<std::intptr_t>(patience_ms)));
  return database;
}

Database::~Database() {
  if (handle_ == nullptr) return;
  const Gate::Inside inside;
  sqlite3_close_v2(handle_);
}
Database::Database(Database&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
Database& Database::operator=(Database&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

base::Status Database::execute(const char* sql) {
  const Gate::Inside inside;
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? base::Status() : failure(handle_, code);
}

base::Result<Statement> Database::prepare(std::string_view sql) {
  const Gate::Inside inside;
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return base::fail(failure(handle_, code));
  return Statement(statement);
}

base::Result<std::int64_t> Database::integer(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return base::fail(std::move(statement.error()));
  const auto more = statement->step();
  if (!more) return base::fail(more.error());
  return *more ? statement->integer(0) : 0;
}

std::int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(handle_); }
std::int64_t Database::changes() const { return sqlite3_changes64(handle_); }
bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

base::Status Database::backup_to(const std::string& path) {
  auto target = open(path, OpenMode::kReadWrite, 0);
  if (!target) return target.error();
  const Gate::Inside inside;
  sqlite3_backup* backup = sqlite3_backup_init(target->handle_, "main", handle_, "main");
  if (backup == nullptr) return failure(target->handle_, sqlite3_errcode(target->handle_));
  int code = SQLITE_OK;
  do {
    code = sqlite3_backup_step(backup, kBackupPages);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
      const Gate::Outside outside;
      ::usleep(kBackupPauseMs * 1000);
    }
  } while (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED);
  sqlite3_backup_finish(backup);
  return code == SQLITE_DONE ? base::Status() : failure(target->handle_, code);
}

base::Result<Transaction> Transaction::begin(Database& database) {
  DURE_RETURN_IF_ERROR(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr && database_->in_transaction()) (void)database_->execute("ROLLBACK");
}

base::Status Transaction::commit() {
  base::Status status = database_->execute("COMMIT");
  if (status.ok()) database_ = nullptr;
  return status;
}

}  // namespace dure::sql
