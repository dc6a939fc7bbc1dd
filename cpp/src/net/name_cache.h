// net/name_cache.h - hosts to addresses for one engine: one look-up for all who ask at once, its
// result kept for a minute, failures not kept.
//
// Belongs to the I/O thread.
#ifndef DURE_SRC_NET_NAME_CACHE_H_
#define DURE_SRC_NET_NAME_CACHE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dure/base/clock.h"
#include "dure/net/transport.h"
#include "net/resolver.h"

namespace dure::net {

class NameCache {
 public:
  struct Found {
    Addresses addresses;
    std::uint64_t generation = 0;  // of this result, never zero
  };
  // A look-up has ended, on a resolver thread: bring `result` to settle() on the I/O thread.
  using Bring = std::function<void(const std::string& host, const Resolver::Answer& answer)>;

  NameCache(LookUp look_up, Bring bring) : bring_(std::move(bring)), resolver_(look_up) {}

  // What is known at `now`, or null: then `id` is among those that settle() returns. The pointer is
  // good until the next call.
  const Found* find(const std::string& host, RequestId id, base::Instant now);
  // Keeps a good result; returns who waited for it.
  std::vector<RequestId> settle(const std::string& host, const base::Result<Addresses>& result,
                                base::Instant now);
  // Of the last good result.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generations_; }
  // The failure as the waiting requests report it.
  static base::Status failure(const base::Status& error, const std::string& host);

 private:
  struct Name {
    Found found;
    base::Instant expires;
    bool pending = false;
    std::vector<RequestId> waiting;
  };
  const Bring bring_;
  std::unordered_map<std::string, Name> names_;
  std::uint64_t generations_ = 0;
  Resolver resolver_;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_NAME_CACHE_H_
