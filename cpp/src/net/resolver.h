// net/resolver.h - names to addresses by the system's resolver, on threads of its own.
//
// getaddrinfo blocks for as long as it likes, so it never runs on the I/O thread, and nobody waits
// for it at the end: threads hold only shared state and leave when they find it closed. At most
// four; each leaves after five idle seconds. Coalescing and caching are the caller's.
//
// Thread-safe.
#ifndef DURE_SRC_NET_RESOLVER_H_
#define DURE_SRC_NET_RESOLVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dure/base/result.h"
#include "dure/net/curl_transport.h"

namespace dure::net {

using Addresses = std::vector<std::string>;  // literal, in the order to try; no duplicates

class Resolver {
 public:
  // Shared and not copied: the copy of a Result must not fail, and that of a list may.
  using Answer = std::shared_ptr<const base::Result<Addresses>>;
  using OnDone = std::function<void(const Answer&)>;
  explicit Resolver(LookUp look_up);  // null: system_look_up
  ~Resolver();  // does not wait for look-ups under way; their on_done is not called
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Fails with kUnavailable. Calls `on_done` on a resolver thread, once, unless the resolver dies
  // first. If no thread can be started it is called here, with kUnavailable.
  void look_up(std::string host, OnDone on_done);

  [[nodiscard]] static base::Result<Addresses> system_look_up(const std::string& host);

 private:
  struct Shared;
  static base::Result<Addresses> ask(LookUp look_up, const std::string& host) noexcept;
  static void tell(const OnDone& on_done, base::Result<Addresses>& result) noexcept;
  static void work(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_RESOLVER_H_
