// net/transfer.h - one request on its way through engine A: its stages, deadlines and libcurl
// handle.
//
// Belongs to the I/O thread.
#ifndef DURE_SRC_NET_TRANSFER_H_
#define DURE_SRC_NET_TRANSFER_H_

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "dure/net/curl_transport.h"
#include "dure/net/transport.h"
#include "net/head_check.h"
#include "net/resolver.h"
#include "net/timer_heap.h"
#include "net/url.h"

namespace dure::net {

class CurlEngine;
struct CurlShard;

enum class Stage : std::uint8_t { kQueued, kConnecting, kSent, kBody };

class Transfer final : public Timer {
 public:
  Transfer(CurlEngine& engine, RequestId id, Request request, std::shared_ptr<Handler> handler,
           base::Instant submitted)
      : engine_(engine),
        id_(id),
        request_(std::move(request)),
        handler_(std::move(handler)),
        head_(request_.caps.headers) {
    timing_.submitted = submitted;
  }
  ~Transfer() override;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  [[nodiscard]] RequestId id() const noexcept { return id_; }
  [[nodiscard]] const Request& request() const noexcept { return request_; }
  [[nodiscard]] const Url& url() const noexcept { return url_; }
  [[nodiscard]] const std::string& proxy() const noexcept { return proxy_; }
  [[nodiscard]] CURL* easy() const noexcept { return easy_; }
  [[nodiscard]] Stage stage() const noexcept { return stage_; }

  // Looks at everything that can be wrong with the request before a byte of it leaves.
  base::Status check(const TransportOptions& options);
  // The name that must be resolved first, or "" (a literal address, or the proxy resolves it).
  [[nodiscard]] std::string name_to_resolve(int* port) const;
  void begin_connecting(base::Instant now) noexcept;
  void set_addresses(const Addresses& addresses);

  // Sets the options that are the same for all requests of an engine. False: no memory.
  static bool configure(CURL* easy, CurlEngine& engine, const TransportOptions& options);
  // Sets all others, on a handle that was configured.
  base::Status prepare(CURL* easy, const std::string& ca_file, bool pass_addresses);
  // Takes what belongs to a request out of its handle.
  static void release(CURL* easy);
  // What libcurl's result means to the caller.
  [[nodiscard]] base::Status outcome(CURLcode code) const;
  // The failure if a deadline has passed at `now`; ok otherwise.
  [[nodiscard]] base::Status expired(base::Instant now) const;
  // When the next deadline of this stage ends; false if there is none.
  [[nodiscard]] bool next_deadline(base::Instant* at) const noexcept;
  void resume(base::Instant now);
  void end(base::Status status, base::Instant now) noexcept;

  void fire() noexcept override;

  CurlShard* shard = nullptr;  // where the handle is, if it has been added
  std::string name;            // "host:port" of the addresses passed to it, or ""
  std::uint64_t generation = 0;

 private:
  static std::size_t on_header(char* data, std::size_t size, std::size_t count,
                               void* self) noexcept;
  static std::size_t on_write(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static int on_prerequest(void* self, char*, char*, int, int) noexcept;
  static curl_socket_t on_open_socket(void* self, curlsocktype, curl_sockaddr* address) noexcept;

  base::Status check_headers() const;
  base::Status choose_proxy(const TransportOptions& options);
  base::Status set_headers();
  bool set_method();
  std::size_t take_header(std::string_view line);
  std::size_t take_body(std::span<const std::byte> part);
  [[nodiscard]] base::Status unavailable(std::string_view stage, std::string_view why) const;
  [[nodiscard]] std::string host_text() const;

  CurlEngine& engine_;
  const RequestId id_;
  Request request_;
  std::shared_ptr<Handler> handler_;
  Url url_;
  std::string proxy_;  // "" for a direct connection
  std::string proxy_host_;
  int proxy_port_ = 0;
  bool proxy_resolves_ = false;
  Stage stage_ = Stage::kQueued;
  Timing timing_;
  base::Instant connecting_since_;
  base::Instant last_part_;
  std::string tried_;
  std::string connect_to_;  // the CURLOPT_RESOLVE line
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  curl_slist* resolve_ = nullptr;
  char error_[CURL_ERROR_SIZE] = {};
  HeadCheck head_;
  base::Status failure_;  // set in a callback that then makes libcurl stop
  bool head_given_ = false;
  bool hold_ = false;    // the handler asked for a pause
  bool paused_ = false;  // libcurl has been told so
  bool no_memory_ = false;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_TRANSFER_H_
