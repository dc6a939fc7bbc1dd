// net/transfer.h - one request on its way through engine A: its libcurl handle and proxy.
//
// Belongs to the I/O thread.
#ifndef DURE_SRC_NET_TRANSFER_H_
#define DURE_SRC_NET_TRANSFER_H_

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "dure/net/curl_transport.h"
#include "dure/net/transport.h"
#include "net/exchange.h"
#include "net/head_check.h"
#include "net/resolver.h"

namespace dure::net {

class CurlEngine;
struct CurlShard;

class Transfer final : public Exchange {
 public:
  explicit Transfer(CurlEngine& engine) : engine_(engine) {}
  ~Transfer() override;

  void start(Submission submission) {
    take(std::move(submission));
    head_.reset(request_.caps.headers);
  }
  [[nodiscard]] const std::string& proxy() const noexcept { return proxy_; }
  [[nodiscard]] CURL* easy() const noexcept { return easy_; }
  // Lets go of the handle and of what was made for it.
  CURL* take_easy() noexcept;
  // True once: the connection that libcurl chose holds what is no answer to this request. Nothing
  // was sent, the connection is closed.
  bool take_spoiled() noexcept { return std::exchange(spoiled_, false); }

  // As check_request, and which proxy it goes through.
  base::Status check(const TransportOptions& options);
  // For messages, once it connects: the proxy or the Unix socket in the place of the host.
  void note_place(const TransportOptions& options);
  // The name that must be resolved first, or "" (a literal address, or the proxy resolves it).
  [[nodiscard]] std::string name_to_resolve(int* port) const;
  void set_addresses(const Addresses& addresses);

  // Sets the options that are the same for all requests of an engine. False: no memory.
  static bool configure(CURL* easy, CurlEngine& engine, const TransportOptions& options);
  // Sets all others, on a handle that was configured.
  base::Status prepare(CURL* easy, const std::string& ca_file, bool pass_addresses);
  // Takes what belongs to a request out of its handle.
  static void release(CURL* easy);
  // What libcurl's result means to the caller.
  [[nodiscard]] base::Status outcome(CURLcode code) const;
  void resume(base::Instant now);
  void end(base::Status status, base::Instant now) noexcept;

  void fire() noexcept override;

  CurlShard* shard = nullptr;  // where the handle is, if it has been added
  std::string name;            // "host:port" of the addresses passed to it, or ""
  std::uint64_t generation = 0;
  std::uint64_t origin = 0;  // where its connection goes: see CurlEngine::origin_of
  bool named = false;        // libcurl has named the socket it goes over
  bool blind = false;        // paused, and libcurl has not; counted by the shard

 private:
  static std::size_t on_header(char* data, std::size_t size, std::size_t count,
                               void* self) noexcept;
  static std::size_t on_write(char* data, std::size_t size, std::size_t count, void* self) noexcept;
  static std::size_t on_read(char* room, std::size_t size, std::size_t count, void* self) noexcept;
  static int on_prerequest(void* self, char* connected, char*, int, int) noexcept;
  static curl_socket_t on_open_socket(void* self, curlsocktype, curl_sockaddr* address) noexcept;

  base::Status choose_proxy(const TransportOptions& options);
  base::Status set_headers();
  bool set_method();
  std::size_t take_header(std::string_view line);
  std::size_t take_body(std::span<const std::byte> part);
  [[nodiscard]] bool meets_stray_bytes() const;
  // Of a guarded request; false, and why is noted, if `address` is none that it may reach.
  bool may_reach(std::string_view address) noexcept;
  [[nodiscard]] bool passes_ratio(std::size_t more) const;

  CurlEngine& engine_;
  std::string proxy_;        // "" for a direct connection
  std::string proxy_host_;   // "" if it is a literal address
  std::string proxy_place_;  // host and port, for messages
  int proxy_port_ = 0;
  bool proxy_resolves_ = false;
  std::string connect_to_;  // the CURLOPT_RESOLVE line
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  curl_slist* resolve_ = nullptr;
  char error_[CURL_ERROR_SIZE] = {};
  HeadCheck head_;
  base::Status failure_;        // set in a callback that then makes libcurl stop
  bool paused_ = false;         // libcurl has been told so
  bool starved_ = false;        // likewise, of the body that it sends
  std::uint64_t given_ = 0;     // bytes of a source
  bool asks_identity_ = false;  // a coded reply is refused
  bool no_memory_ = false;
  bool spoiled_ = false;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_TRANSFER_H_
