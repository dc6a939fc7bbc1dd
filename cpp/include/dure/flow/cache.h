// dure/flow/cache.h - answers by the digest of everything that decided them.
//
// Knows neither questions nor answers: the key is a SHA-256 that the caller made over all that
// matters (whose it is, too), the value is bytes. A value is given out as often as wanted until it
// expires; when the room is full, what was not used for longest goes first.
//
// A RemoteCache is asked without waiting; its answer comes later, perhaps never.
//
// Thread-safe. MemoryCache never blocks on anything but its own short lock.
#ifndef DURE_FLOW_CACHE_H_
#define DURE_FLOW_CACHE_H_

#include <cstddef>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/hash.h"

namespace dure::flow {

using CacheKey = base::Sha256Digest;
using CacheValue = std::shared_ptr<const std::string>;

class CacheStore {
 public:
  virtual ~CacheStore() = default;
  // Null: it is not there, or has expired.
  [[nodiscard]] virtual CacheValue get(const CacheKey& key, base::WallTime now) = 0;
  // Best effort: what does not fit, or cannot be written, is not there later.
  virtual void put(const CacheKey& key, CacheValue value, base::WallTime expires) = 0;
  virtual void clear() = 0;
};

class RemoteCache {
 public:
  virtual ~RemoteCache() = default;
  using Found = std::function<void(CacheValue)>;
  // `found` is called at most once, in any thread, perhaps before this returns; null: it is not
  // there. Does not throw.
  virtual void get(const CacheKey& key, Found found) = 0;
  // Best effort, kept for `keep`.
  virtual void put(const CacheKey& key, CacheValue value, base::Duration keep) = 0;
};

class MemoryCache final : public CacheStore {
 public:
  // `bytes`: of values and what is kept beside them.
  explicit MemoryCache(std::size_t bytes) : most_(bytes) {}

  [[nodiscard]] CacheValue get(const CacheKey& key, base::WallTime now) override;
  void put(const CacheKey& key, CacheValue value, base::WallTime expires) override;
  void clear() override;

  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::size_t bytes() const;

 private:
  static constexpr std::size_t kBeside = 192;  // bytes of list, table and counts for one value
  struct Hash {
    std::size_t operator()(const CacheKey& key) const noexcept {
      std::size_t out = 0;
      std::memcpy(&out, key.data(), sizeof(out));  // a digest is evenly spread already
      return out;
    }
  };
  struct Entry {
    CacheKey key;
    CacheValue value;
    base::WallTime expires;
  };
  using Entries = std::list<Entry>;
  void drop(Entries::iterator entry) DURE_REQUIRES(mutex_);

  const std::size_t most_;
  mutable std::mutex mutex_;
  Entries entries_ DURE_GUARDED_BY(mutex_);  // used last stands first
  std::unordered_map<CacheKey, Entries::iterator, Hash> by_key_ DURE_GUARDED_BY(mutex_);
  std::size_t bytes_ DURE_GUARDED_BY(mutex_) = 0;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_CACHE_H_
