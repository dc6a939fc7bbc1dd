// client/disk_cache.h - answers that outlive the process, shared by all of one data folder: SQLite.
//
// A cache, no record: a write that meets another one is left out, a damaged file is no cache, and
// what power loss takes was not promised. Mode 0600: answers are as private as what was asked.
//
// Thread-safe. A look-up reads the disk's cache (tens of microseconds), a write waits for nobody.
// After fork a child opens the file anew.
#ifndef DURE_SRC_CLIENT_DISK_CACHE_H_
#define DURE_SRC_CLIENT_DISK_CACHE_H_

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <string>

#include "dure/base/annotations.h"
#include "dure/flow/cache.h"
#include "sql/database.h"

namespace dure::client {

class DiskCache final : public flow::CacheStore {
 public:
  // Null: it cannot be opened. `bytes`: of values, at most.
  [[nodiscard]] static std::unique_ptr<DiskCache> open(const std::string& path, std::size_t bytes);

  [[nodiscard]] flow::CacheValue get(const flow::CacheKey& key, base::WallTime now) override;
  void put(const flow::CacheKey& key, flow::CacheValue value, base::WallTime expires) override;
  void clear() override;

 private:
  static constexpr int kPutsBetweenSweeps = 256;
  DiskCache(std::string path, std::size_t bytes) : path_(std::move(path)), most_(bytes) {}
  [[nodiscard]] bool connect() DURE_REQUIRES(mutex_);
  void sweep() DURE_REQUIRES(mutex_);

  const std::string path_;
  const std::size_t most_;
  std::mutex mutex_;
  std::unique_ptr<sql::Database> database_ DURE_GUARDED_BY(mutex_);
  sql::Statement find_ DURE_GUARDED_BY(mutex_);
  sql::Statement store_ DURE_GUARDED_BY(mutex_);
  pid_t owner_ DURE_GUARDED_BY(mutex_) = 0;
  int puts_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_DISK_CACHE_H_
