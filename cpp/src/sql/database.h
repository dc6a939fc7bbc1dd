// sql/database.h - SQLite behind RAII and Status: connections, statements, transactions.
//
//   auto statement = db.prepare("SELECT text FROM chunk WHERE id = ?");
//   statement->bind(1, id);
//   for (auto more = statement->step(); more && *more; more = statement->step()) {
//     use(statement->text(0));
//   }
//
// Errors: a full disk, a lock held too long, a broken disk: kIo. A damaged file: kCorrupt.
//
// Database and Statement: one thread at a time. A Statement does not outlive its Database.
#ifndef DURE_SQL_DATABASE_H_
#define DURE_SQL_DATABASE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace dure::sql {

class Statement {
 public:
  Statement() = default;
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;

  // Parameters count from 1. Text is copied; a blob is borrowed until reset() or the end.
  void bind(int parameter, std::int64_t value);
  void bind_text(int parameter, std::string_view text);
  void bind_blob(int parameter, std::string_view bytes);
  void bind_null(int parameter);

  // True: a row is there to read. False: done.
  [[nodiscard]] base::Result<bool> step();
  // Runs to the end and resets; for statements without rows.
  [[nodiscard]] base::Status run();
  // Ready to be bound and run again.
  void reset() noexcept;

  // Columns count from 0. Views live until the next step.
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string_view text(int column) const;
  [[nodiscard]] std::string_view blob(int column) const;
  [[nodiscard]] bool is_null(int column) const;

 private:
  friend class Database;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  sqlite3_stmt* statement_ = nullptr;
};

// kImmutable: read-only, of a file that nobody changes meanwhile, in a folder where none can be
// made.
enum class OpenMode : std::uint8_t { kReadWrite, kReadOnly, kImmutable };

class Database {
 public:
  // Creates the file only with kReadWrite. A lock held by others is waited for up to `patience_ms`.
  [[nodiscard]] static base::Result<Database> open(const std::string& path, OpenMode mode,
                                                   int patience_ms);
  Database() = default;
  ~Database();
  Database(Database&& other) noexcept;
  Database& operator=(Database&& other) noexcept;

  [[nodiscard]] base::Status execute(const char* sql);
  [[nodiscard]] base::Result<Statement> prepare(std::string_view sql);
  // The first column of the first row; 0 if there is none.
  [[nodiscard]] base::Result<std::int64_t> integer(std::string_view sql);
  [[nodiscard]] std::int64_t last_insert_id() const;
  [[nodiscard]] std::int64_t changes() const;
  [[nodiscard]] bool in_transaction() const;
  // Copies the whole database into the new file `path`, page by page, while others write.
  [[nodiscard]] base::Status backup_to(const std::string& path);

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}

  sqlite3* handle_ = nullptr;
};

// The write lock, from begin() on; rolled back unless committed. Does not outlive its Database.
class Transaction {
 public:
  [[nodiscard]] static base::Result<Transaction> begin(Database& database);
  ~Transaction();
  Transaction(Transaction&& other) noexcept : database_(other.database_) {
    other.database_ = nullptr;
  }
  Transaction& operator=(Transaction&&) = delete;
  [[nodiscard]] base::Status commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}

  Database* database_;
};

}  // namespace dure::sql

#endif  // DURE_SQL_DATABASE_H_
