#include "dure/net/http_transport.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "net/engine_transport.h"
#include "net/http_engine.h"
#include "net/url.h"

namespace dure::net {
namespace {

// Sends each request to its engine. The last bit of an id says which.
class RoutingTransport final : public Transport {
 public:
  RoutingTransport(TransportOptions options, const base::Clock& clock)
      : proxy_(options.proxy),
        by_socket_(!options.unix_socket.empty()),
        http_(make_http_transport(options, clock)),
        curl_(make_curl_transport(std::move(options), clock)) {}

  RequestId submit(Request request, std::shared_ptr<Handler> handler) override {
    const bool plain = is_plain(request);
    last_plain_.store(plain, std::memory_order_relaxed);
    Transport& engine = plain ? *http_ : *curl_;
    return (engine.submit(std::move(request), std::move(handler)) << 1U) | (plain ? 1U : 0U);
  }
  void cancel(RequestId id) override { engine_of_id(id).cancel(id >> 1U); }
  void resume(RequestId id) override { engine_of_id(id).resume(id >> 1U); }
  void keep_idle(bool keep) override {
    http_->keep_idle(keep);
    curl_->keep_idle(keep);
  }
  // On the engine of the last request: the other may have no thread.
  void run_at(base::Instant at, std::shared_ptr<Work> work) override {
    (last_plain_.load(std::memory_order_relaxed) ? http_ : curl_)->run_at(at, std::move(work));
  }
  bool stop(base::Duration limit) override {
    const base::Instant end = base::system_clock().now() + limit;
    const bool first = http_->stop(limit);
    const base::Duration left = end - base::system_clock().now();
    return curl_->stop(std::max(left, base::Duration(0))) && first;
  }

 private:
  // A URL that cannot be read is refused alike by both.
  [[nodiscard]] bool is_plain(const Request& request) const {
    constexpr std::string_view kScheme = "http://";
    if (!equal_no_case(std::string_view(request.url).substr(0, kScheme.size()), kScheme)) {
      return false;
    }
    if (!request.proxy.empty()) return false;
    if (proxy_.http.empty() || by_socket_) return true;
    const auto url = parse_url(request.url);
    return url && proxy_.choose(url->scheme, url->host, url->port).empty();
  }
  [[nodiscard]] Transport& engine_of_id(RequestId id) const {
    return (id & 1U) != 0 ? *http_ : *curl_;
  }

  const ProxyRules proxy_;
  const bool by_socket_;
  const std::shared_ptr<Transport> http_;
  const std::shared_ptr<Transport> curl_;
  std::atomic<bool> last_plain_{true};
};

}  // namespace

std::optional<Engine> engine_of(std::string_view name) noexcept {
  if (name.empty()) return Engine::kAuto;
  if (name == "a") return Engine::kA;
  if (name == "b") return Engine::kB;
  return std::nullopt;
}

std::shared_ptr<Transport> make_http_transport(TransportOptions options, const base::Clock& clock) {
  return make_engine_transport(
      [options = std::move(options), &clock]() -> std::shared_ptr<IoThread> {
        return std::make_shared<HttpEngine>(options, clock);
      },
      clock);
}

std::shared_ptr<Transport> make_transport(TransportOptions options, const base::Clock& clock,
                                          Engine engine) {
  if (engine == Engine::kA) return make_curl_transport(std::move(options), clock);
  if (engine == Engine::kB) return make_http_transport(std::move(options), clock);
  return std::make_shared<RoutingTransport>(std::move(options), clock);
}

}  // namespace dure::net
