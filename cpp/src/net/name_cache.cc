#include "net/name_cache.h"

#include <utility>

namespace dure::net {
namespace {

constexpr base::Duration kLife = std::chrono::seconds(60);
constexpr std::size_t kMost = 1024;

}  // namespace

const NameCache::Found* NameCache::find(const std::string& host, RequestId id, base::Instant now) {
  if (names_.size() > kMost) {
    std::erase_if(names_, [now](const auto& entry) {
      return !entry.second.pending && entry.second.expires <= now;
    });
  }
  Name& name = names_[host];
  if (!name.pending && now < name.expires) return &name.found;
  name.waiting.push_back(id);
  if (name.pending) return nullptr;
  try {
    resolver_.look_up(
        host, [bring = bring_, host](const Resolver::Answer& answer) { bring(host, answer); });
  } catch (...) {  // the next one asks again
    name.waiting.clear();
    throw;
  }
  name.pending = true;
  return nullptr;
}

std::vector<RequestId> NameCache::settle(const std::string& host,
                                         const base::Result<Addresses>& result, base::Instant now) {
  Name& name = names_[host];
  name.pending = false;
  std::vector<RequestId> waiting = std::exchange(name.waiting, {});
  if (result) {
    try {
      name.found = {*result, ++generations_};
      name.expires = now + kLife;
    } catch (const std::bad_alloc&) {  // those who wait have the answer; others ask again
      name.expires = {};
    }
  } else {
    names_.erase(host);
  }
  return waiting;
}

base::Status NameCache::failure(const base::Status& error, const std::string& host) {
  return base::Status(error)
      .with("host", host)
      .with("stage", std::string("resolve"))
      .with("tried", std::string());
}

}  // namespace dure::net
