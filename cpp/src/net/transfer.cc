#include "net/transfer.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "net/curl_engine.h"
#include "net/curl_library.h"

namespace dure::net {
namespace {

// Decompressed bytes for each byte of the wire (reliability: bombs), beyond a first megabyte.
constexpr std::uint64_t kMostRatio = 100;
constexpr std::uint64_t kRatioSlack = 1U << 20U;

// A proxy's own name and port; userinfo stays in the URL that libcurl gets and nowhere else.
base::Status parse_proxy(std::string_view text, std::string* host, std::string* place, int* port,
                         bool* resolves) {
  const auto bad = [] {
    return base::invalid_argument(
        "proxy",
        "the proxy must be a URL like http://host:3128 (http, https, socks4, socks4a, "
        "socks5 or socks5h)");
  };
  const std::size_t colon = text.find("://");
  const std::string scheme =
      colon == std::string_view::npos ? "http" : lower(text.substr(0, colon));
  if (colon != std::string_view::npos) text.remove_prefix(colon + 3);
  constexpr std::string_view kSchemes[] = {"http",    "https",  "socks4",
                                           "socks4a", "socks5", "socks5h"};
  if (std::ranges::find(kSchemes, scheme) == std::end(kSchemes)) return bad();
  if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) {
    text.remove_prefix(at + 1);
  }
  const bool has_port =
      text.find(':', text.starts_with('[') ? text.find(']') : 0) != std::string_view::npos;
  std::string as_url = "http://" + std::string(text.substr(0, text.find('/')));
  if (!has_port) as_url += scheme == "https" ? ":443" : scheme == "http" ? ":1080" : ":1080";
  const auto url = parse_url(as_url);
  if (!url) return bad();
  *host = url->literal ? std::string() : url->host;
  *place = url->host + ":" + std::to_string(url->port);
  *port = url->port;
  *resolves = scheme != "socks4" && scheme != "socks5";
  return {};
}

// libcurl says it in words only: a chunk length that is no number is the server's fault, while a
// connection that ends between chunks is a cut.
bool is_malformed(CURLcode code, std::string_view text) noexcept {
  switch (code) {
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR:
      return true;
    default:
      return text.find("chunk") != std::string_view::npos &&
             text.find("encoding") != std::string_view::npos;
  }
}

bool is_tls(CURLcode code) noexcept {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_CLIENTCERT:
      return true;
    default:
      return false;
  }
}

}  // namespace

Transfer::~Transfer() { take_easy(); }

CURL* Transfer::take_easy() noexcept {
  curl_slist_free_all(std::exchange(headers_, nullptr));
  curl_slist_free_all(std::exchange(resolve_, nullptr));
  return std::exchange(easy_, nullptr);
}

base::Status Transfer::check(const TransportOptions& options) {
  if (base::Status status = check_request(); !status.ok()) return status;
  return choose_proxy(options);
}

base::Status Transfer::choose_proxy(const TransportOptions& options) {
  if (!options.unix_socket.empty()) return {};
  proxy_ = !request_.proxy.empty()
               ? request_.proxy
               : std::string(options.proxy.choose(url_.scheme, url_.host, url_.port));
  if (proxy_.empty()) return {};
  return parse_proxy(proxy_, &proxy_host_, &proxy_place_, &proxy_port_, &proxy_resolves_);
}

void Transfer::note_place(const TransportOptions& options) {
  if (!options.unix_socket.empty()) set_tried(options.unix_socket);
  if (!proxy_.empty()) set_tried(proxy_place_);
}

std::string Transfer::name_to_resolve(int* port) const {
  if (!proxy_.empty()) {
    *port = proxy_port_;
    return proxy_host_;
  }
  *port = url_.port;
  return url_.literal ? std::string() : url_.host;
}

void Transfer::set_addresses(const Addresses& addresses) {
  int port = 0;
  const std::string host = name_to_resolve(&port);
  connect_to_ = host + ":" + std::to_string(port) + ":";
  tried_.clear();
  for (const std::string& address : addresses) {
    if (!tried_.empty()) {
      tried_ += ", ";
      connect_to_ += ",";
    }
    tried_ += address;
    connect_to_ += address.find(':') != std::string::npos ? "[" + address + "]" : address;
  }
  // Guarded hosts are many and strange: their entries leave libcurl's cache by themselves.
  if (request_.guarded) connect_to_.insert(0, "+");
}

namespace {

// Never grows, so that no copy stays behind; erased at its end.
struct WipedText {
  explicit WipedText(std::size_t most) { text.reserve(most + 4); }
  ~WipedText() { ::explicit_bzero(text.data(), text.size()); }
  WipedText(const WipedText&) = delete;
  WipedText& operator=(const WipedText&) = delete;
  std::string text;
};

// libcurl looks for some headers among those it is given (it would add or drop its own), and it
// pays for each line of its list: a print, a copy, a dozen comparisons. The headers named here it
// never looks for, so they travel behind the content type, in the same line of the list. Their
// values hold no line end: check_headers() refuses it.
bool is_unseen(std::string_view name) noexcept {
  constexpr std::string_view kUnseen[] = {"user-agent",          "authorization",
                                          "x-client-request-id", "openai-organization",
                                          "openai-project",      "traceparent"};
  return std::ranges::any_of(kUnseen, [name](auto one) { return equal_no_case(name, one); });
}

}  // namespace

base::Status Transfer::set_headers() {
  std::size_t size = 0;
  for (const auto& [name, value] : request_.headers) size += name.size() + value.size() + 4;
  WipedText line(size);
  WipedText behind(size);  // the content type
  WipedText type(size);
  const auto add = [this](const std::string& text) {
    curl_slist* const longer = curl_slist_append(headers_, text.c_str());
    if (longer != nullptr) headers_ = longer;
    return longer != nullptr;
  };
  bool has_type = false;
  bool has_encoding = false;
  bool room = add("Expect:");
  for (const auto& [name, value] : request_.headers) {
    has_encoding = has_encoding || equal_no_case(name, "accept-encoding");
    const bool is_type = equal_no_case(name, "content-type");
    has_type = has_type || is_type;
    if (is_type && !value.empty() && type.text.empty()) {
      type.text.append(name).append(": ").append(value);
    } else if (!value.empty() && is_unseen(name)) {
      if (!behind.text.empty()) behind.text.append("\r\n");
      behind.text.append(name).append(": ").append(value);
    } else {
      line.text.assign(name).append(value.empty() ? ";" : ": ").append(value);
      room = room && add(line.text);
    }
  }
  if (!has_type) room = room && add("Content-Type:");
  if (!type.text.empty() && !behind.text.empty()) type.text.append("\r\n");
  type.text.append(behind.text);
  if (!type.text.empty()) room = room && add(type.text);
  asks_identity_ = request_.stream && !has_encoding;
  if (asks_identity_) room = room && add("Accept-Encoding: identity");
  if (!room) return base::Status(base::Code::kOutOfMemory, "no memory for the headers");
  const bool compressed = !request_.stream && !has_encoding;
  curl_easy_setopt(easy_, CURLOPT_ACCEPT_ENCODING, compressed ? "" : nullptr);
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers_);
  return {};
}

namespace {

template <typename Value>
bool set(CURL* easy, CURLoption option, Value value) {
  return curl_easy_setopt(easy, option, value) == CURLE_OK;
}

constexpr char* kNoText = nullptr;

}  // namespace

bool Transfer::configure(CURL* easy, CurlEngine& engine, const TransportOptions& options) {
  using std::chrono::duration_cast;
  const auto max_idle = duration_cast<std::chrono::seconds>(options.max_idle).count();
  bool ok = set(easy, CURLOPT_NOSIGNAL, 1L) && set(easy, CURLOPT_PROTOCOLS_STR, "http,https") &&
            set(easy, CURLOPT_FOLLOWLOCATION, 0L) &&
            set(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) && set(easy, CURLOPT_PATH_AS_IS, 1L) &&
            set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1)) &&
            set(easy, CURLOPT_TCP_KEEPALIVE, 1L) &&
            set(easy, CURLOPT_CONNECTTIMEOUT_MS, 86'400'000L) &&  // deadlines are ours
            set(easy, CURLOPT_MAXAGE_CONN, static_cast<long>(max_idle)) &&
            set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
            set(easy, CURLOPT_READFUNCTION, &Transfer::on_read) &&
            set(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_write) &&
            set(easy, CURLOPT_HEADERFUNCTION, &Transfer::on_header) &&
            set(easy, CURLOPT_PREREQFUNCTION, &Transfer::on_prerequest) &&
            set(easy, CURLOPT_OPENSOCKETFUNCTION, &Transfer::on_open_socket) &&
            set(easy, CURLOPT_CLOSESOCKETFUNCTION, &CurlEngine::on_close_socket) &&
            set(easy, CURLOPT_CLOSESOCKETDATA, &engine) &&
            set(easy, CURLOPT_NOPROXY, "");  // empty: libcurl does not read the environment
  // No directory: it would switch the store cache off (D7).
  set(easy, CURLOPT_CAPATH, kNoText);
  set(easy, CURLOPT_PROXY_CAPATH, kNoText);
  if (!options.client_certificate.empty()) {
    const std::string& key =
        options.client_key.empty() ? options.client_certificate : options.client_key;
    ok = ok && set(easy, CURLOPT_SSLCERT, options.client_certificate.c_str()) &&
         set(easy, CURLOPT_SSLKEY, key.c_str());
  }
  if (!options.unix_socket.empty()) {
    ok = ok && set(easy, CURLOPT_UNIX_SOCKET_PATH, options.unix_socket.c_str());
  }
  return ok;
}

// Every option that differs between requests is set for each of them, so that nothing of the last
// one is left in a handle that is used again.
base::Status Transfer::prepare(CURL* easy, const std::string& ca_file, bool pass_addresses) {
  easy_ = easy;
  set(easy, CURLOPT_PRIVATE, this);
  set(easy, CURLOPT_ERRORBUFFER, error_);
  set(easy, CURLOPT_READDATA, this);
  set(easy, CURLOPT_WRITEDATA, this);
  set(easy, CURLOPT_HEADERDATA, this);
  set(easy, CURLOPT_PREREQDATA, this);
  set(easy, CURLOPT_OPENSOCKETDATA, this);
  bool ok = set(easy, CURLOPT_URL, request_.url.c_str()) &&
            set(easy, CURLOPT_PROXY, proxy_.c_str());  // empty: none, whatever the environment says
  const char* const authorities = ca_file.empty() ? nullptr : ca_file.c_str();
  ok = ok && set(easy, CURLOPT_CAINFO, authorities) && set(easy, CURLOPT_PROXY_CAINFO, authorities);
  if (pass_addresses) {
    resolve_ = curl_slist_append(nullptr, connect_to_.c_str());
    ok = ok && resolve_ != nullptr;
  }
  ok = ok && set(easy, CURLOPT_RESOLVE, resolve_) && set_method();
  if (!ok) return base::Status(base::Code::kOutOfMemory, "no memory for the request");
  return set_headers();
}

bool Transfer::set_method() {
  const bool head = request_.method == "HEAD";
  const bool source = request_.source != nullptr;
  const bool sends = !head && (request_.method == "POST" || source || !request_.body.empty());
  const std::uint64_t size = source ? request_.source->size() : request_.body.size();
  set(easy_, CURLOPT_FRESH_CONNECT, source ? 1L : 0L);  // it is read once
  set(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(size));
  set(easy_, CURLOPT_POSTFIELDS,
      sends && !source ? request_.body.data() : nullptr);  // means POST even if null
  set(easy_, CURLOPT_NOBODY, head ? 1L : 0L);
  if (!head) set(easy_, sends ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
  const bool usual = head || request_.method == (sends ? "POST" : "GET");
  return set(easy_, CURLOPT_CUSTOMREQUEST, usual ? nullptr : request_.method.c_str());
}

void Transfer::release(CURL* easy) {
  set(easy, CURLOPT_HTTPHEADER, static_cast<curl_slist*>(nullptr));
  set(easy, CURLOPT_RESOLVE, static_cast<curl_slist*>(nullptr));
  set(easy, CURLOPT_POSTFIELDS, kNoText);
  set(easy, CURLOPT_ERRORBUFFER, kNoText);
}

// --- libcurl's callbacks: no throw leaves them ---

std::size_t Transfer::on_header(char* data, std::size_t size, std::size_t count,
                                void* self) noexcept {
  try {
    return static_cast<Transfer*>(self)->take_header({data, size * count});
  } catch (...) {
    static_cast<Transfer*>(self)->no_memory_ = true;
    return CURL_WRITEFUNC_ERROR;
  }
}

std::size_t Transfer::take_header(std::string_view line) {
  failure_ = head_.take(line);
  if (!failure_.ok()) return 0;
  if (timing_.first_byte.ns == 0 && !line.empty()) timing_.first_byte = engine_.now();
  if (head_.complete() && !head_given_) {
    if (head_.encoded() && asks_identity_) {
      failure_ = unasked_coding();
      return 0;
    }
    head_given_ = true;
    handler_->on_head(head_.status(), HeaderView(head_.headers()));
  }
  return line.size();
}

std::size_t Transfer::on_write(char* data, std::size_t size, std::size_t count,
                               void* self) noexcept {
  try {
    return static_cast<Transfer*>(self)->take_body(
        std::as_bytes(std::span<const char>(data, size * count)));
  } catch (...) {
    static_cast<Transfer*>(self)->no_memory_ = true;
    return CURL_WRITEFUNC_ERROR;
  }
}

std::size_t Transfer::take_body(std::span<const std::byte> part) {
  if (hold_) {
    paused_ = true;
    CurlEngine::paused(*this);
    return CURL_WRITEFUNC_PAUSE;
  }
  if (part.empty()) return 0;
  if (passes_ratio(part.size())) {
    failure_ = base::Status(base::Code::kUpstream,
                            "the reply grows more than " + std::to_string(kMostRatio) +
                                "-fold by decompression, which no honest text does")
                   .with("cap", std::string("ratio"));
    return 0;
  }
  const bool first = stage_ != Stage::kBody;
  failure_ = give_body(part, engine_.now());
  if (!failure_.ok()) return 0;
  if (first) engine_.rearm(*this);
  return part.size();
}

// libcurl counts the bytes of the wire up to one buffer late.
bool Transfer::passes_ratio(std::size_t more) const {
  const std::uint64_t size = timing_.bytes_in + more;
  if (size <= kRatioSlack) return false;
  curl_off_t wire = 0;
  curl_easy_getinfo(easy_, CURLINFO_SIZE_DOWNLOAD_T, &wire);
  const auto seen = static_cast<std::uint64_t>(wire) + CURL_MAX_WRITE_SIZE;
  return size > seen * kMostRatio;
}

std::size_t Transfer::on_read(char* room, std::size_t size, std::size_t count,
                              void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  BodySource* const source = transfer.request_.source.get();
  if (source == nullptr || transfer.given_ == source->size()) return 0;
  const std::size_t most = static_cast<std::size_t>(
      std::min<std::uint64_t>(size * count, source->size() - transfer.given_));
  const std::size_t got = source->read(std::as_writable_bytes(std::span(room, most)));
  transfer.given_ += got;
  transfer.note_sending(transfer.engine_.now());
  transfer.starved_ = got == 0;
  return got == 0 ? CURL_READFUNC_PAUSE : got;
}

// Of plain connections the engine knows by itself; what TLS has read, the socket does not show.
bool Transfer::meets_stray_bytes() const {
  const bool tls = url_.scheme == "https" || proxy_.starts_with("https");
  if (!tls) return false;
  long connects = 1;
  curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &connects);
  return connects == 0 && tls_holds_more(easy_);
}

bool Transfer::may_reach(std::string_view address) noexcept {
  try {
    const auto parsed = IpAddress::parse(address);
    if (parsed && engine_.egress().allows(*parsed)) return true;
    failure_ = base::invalid_argument(
        "url", "the host is not on the public internet, and only that is fetched");
  } catch (...) {
    no_memory_ = true;
  }
  return false;
}

// The last look before bytes leave: also at the address of a connection that is used again, for
// which no socket is opened.
int Transfer::on_prerequest(void* self, char* connected, char*, int, int) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  if (transfer.request_.guarded && !transfer.may_reach(connected)) return CURL_PREREQFUNC_ABORT;
  if (transfer.meets_stray_bytes()) {
    transfer.spoiled_ = transfer.timing_.sent.ns == 0;
    return CURL_PREREQFUNC_ABORT;
  }
  if (!transfer.mark_sent(transfer.engine_.now())) {
    // libcurl found a stale connection and sends again, by itself up to five times: once is enough.
    const bool again =
        transfer.request_.resend && transfer.request_.source == nullptr && !transfer.timing_.resent;
    transfer.timing_.resent = transfer.timing_.resent || again;
    transfer.named = false;
    return again ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
  }
  try {
    transfer.engine_.addresses_in_use(transfer);
    transfer.engine_.rearm(transfer);
  } catch (...) {
    transfer.no_memory_ = true;
    return CURL_PREREQFUNC_ABORT;
  }
  return CURL_PREREQFUNC_OK;
}

curl_socket_t Transfer::on_open_socket(void* self, curlsocktype, curl_sockaddr* address) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  if (transfer.request_.guarded) {
    char text[64] = {};
    const void* where = address->family == AF_INET
                            ? static_cast<const void*>(
                                  &reinterpret_cast<const sockaddr_in&>(address->addr).sin_addr)
                            : &reinterpret_cast<const sockaddr_in6&>(address->addr).sin6_addr;
    const bool readable = ::inet_ntop(address->family, where, text, sizeof text) != nullptr;
    if (!transfer.may_reach(readable ? text : "")) return CURL_SOCKET_BAD;
  }
  const int fd = ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd < 0) return CURL_SOCKET_BAD;
  try {
    transfer.engine_.opened(fd, &transfer);
  } catch (...) {
    ::close(fd);
    return CURL_SOCKET_BAD;
  }
  return fd;
}

// --- outcomes ---

base::Status Transfer::outcome(CURLcode code) const {
  if (!failure_.ok()) return failure_;
  if (no_memory_) return {base::Code::kOutOfMemory, "no memory"};
  if (code == CURLE_OK && head_given_) return {};
  const std::string why =
      error_[0] != '\0' ? std::string(error_) : std::string(curl_easy_strerror(code));
  if (timing_.sent.ns == 0) {
    if (code == CURLE_OUT_OF_MEMORY) return {base::Code::kOutOfMemory, "no memory to connect"};
    if (is_tls(code)) return unavailable("tls", why);
    if (!proxy_.empty()) {
      const bool refused = code == CURLE_COULDNT_CONNECT;
      return unavailable("proxy", "the proxy " + proxy_place_ +
                                      (refused ? " took no connection" : " did not connect us"));
    }
    if (code == CURLE_COULDNT_RESOLVE_HOST) return unavailable("resolve", why);
    return unavailable("connect", why);
  }
  const std::string host = host_text();
  if (is_malformed(code, why)) {
    return base::Status(base::Code::kUpstream, "the reply of " + host + " is malformed: " + why)
        .with("host", url_.host);
  }
  if (code == CURLE_OUT_OF_MEMORY && !head_given_) {  // 7.88.1 says so of a line above 100 kB
    return base::Status(base::Code::kUpstream,
                        "a header line of " + host + " passes the cap of 100 kB")
        .with("cap", std::string("headers"));
  }
  if (code == CURLE_OUT_OF_MEMORY) return {base::Code::kOutOfMemory, "no memory"};
  return cut();
}

void Transfer::resume(base::Instant now) {
  const bool held = std::exchange(hold_, false);
  if (held) {
    last_part_ = now;
    engine_.rearm(*this);
  }
  const bool receives = held && std::exchange(paused_, false);
  const bool sends = std::exchange(starved_, false);
  if (easy_ != nullptr && (receives || sends)) curl_easy_pause(easy_, CURLPAUSE_CONT);
}

void Transfer::fire() noexcept { engine_.fire(*this); }

void Transfer::end(base::Status status, base::Instant now) noexcept {
  timing_.ended = now;
  if (easy_ != nullptr && timing_.sent.ns != 0) {
    long connects = 1;
    curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &connects);
    timing_.reused_connection = connects == 0;
  }
  handler_->on_end(std::move(status), timing_);
}

}  // namespace dure::net
