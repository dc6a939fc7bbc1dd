#include "client/disk_cache.h"

#include <unistd.h>

#include <string_view>
#include <utility>

#include "dure/base/files.h"

namespace dure::client {
namespace {

constexpr int kPatienceMs = 0;  // a cache waits for nobody
constexpr const char* kSchema =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
    "CREATE TABLE IF NOT EXISTS answer ("
    " key BLOB PRIMARY KEY, expires INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS answer_expires ON answer (expires);";

std::string_view bytes_of(const flow::CacheKey& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

}  // namespace

std::unique_ptr<DiskCache> DiskCache::open(const std::string& path, std::size_t bytes) {
  std::unique_ptr<DiskCache> cache(new DiskCache(path, bytes));
  const std::lock_guard lock(cache->mutex_);
  return cache->connect() ? std::move(cache) : nullptr;
}

// A connection of this process; SQLite forbids a parent's.
bool DiskCache::connect() {
  if (database_ != nullptr && owner_ == getpid()) return true;
  if (database_ != nullptr) {  // the parent's: neither used nor closed here
    (void)new sql::Statement(std::move(find_));
    (void)new sql::Statement(std::move(store_));
    (void)database_.release();
  }
  if (!base::system_files().open_append(path_, false)) return false;  // with mode 0600
  auto opened = sql::Database::open(path_, sql::OpenMode::kReadWrite, kPatienceMs);
  if (!opened || !opened->execute(kSchema).ok()) return false;
  auto find = opened->prepare("SELECT value FROM answer WHERE key = ? AND expires > ?");
  auto store =
      opened->prepare("INSERT OR REPLACE INTO answer (key, expires, value) VALUES (?, ?, ?)");
  if (!find || !store) return false;
  database_ = std::make_unique<sql::Database>(std::move(*opened));
  find_ = std::move(*find);
  store_ = std::move(*store);
  owner_ = getpid();
  return true;
}

flow::CacheValue DiskCache::get(const flow::CacheKey& key, base::WallTime now) {
  const std::lock_guard lock(mutex_);
  if (!connect()) return nullptr;
  find_.bind_blob(1, bytes_of(key));
  find_.bind(2, now.us);
  const auto row = find_.step();
  flow::CacheValue value;
  if (row && *row) value = std::make_shared<const std::string>(find_.blob(0));
  find_.reset();
  return value;
}

void DiskCache::put(const flow::CacheKey& key, flow::CacheValue value, base::WallTime expires) {
  const std::lock_guard lock(mutex_);
  if (!connect()) return;
  store_.bind_blob(1, bytes_of(key));
  store_.bind(2, expires.us);
  store_.bind_blob(3, *value);
  (void)store_.run();
  if (++puts_ % kPutsBetweenSweeps == 0) sweep();
}

void DiskCache::clear() {
  const std::lock_guard lock(mutex_);
  if (connect()) (void)database_->execute("DELETE FROM answer");
}

// What expires first goes first, until the rest fits.
void DiskCache::sweep() {
  const auto bytes = database_->integer("SELECT total(length(value)) FROM answer");
  if (!bytes || *bytes <= static_cast<std::int64_t>(most_)) return;
  (void)database_->execute(
      "DELETE FROM answer WHERE key IN (SELECT key FROM answer ORDER BY expires LIMIT "
      "(SELECT count(*) / 4 FROM answer))");
}

}  // namespace dure::client
