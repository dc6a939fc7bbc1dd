// dure/net/sse.h - server-sent events out of bytes, by the rules of WHATWG HTML 9.2.6.
//
// Bytes go in as they come, cut anywhere; events come out whole. Any cut gives the same events.
// Knows no JSON and no "[DONE]": that is the dialect's business (client).
//
// Not thread-safe: one parser belongs to one stream.
#ifndef DURE_NET_SSE_H_
#define DURE_NET_SSE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dure/base/status.h"

namespace dure::net {

// Borrowed for the call. Valid UTF-8: bytes that are not become U+FFFD, as a browser does it.
struct SseEvent {
  std::string_view type;  // "message" unless the stream named one
  std::string_view data;  // lines joined by LF
  std::string_view id;    // the last id seen; it persists
};

struct SseCaps {
  std::size_t line = 1U << 20U;    // bytes; raise to 16 MiB where base64 media arrives
  std::size_t event = 16U << 20U;  // bytes of all data lines of one event
  std::uint64_t total = 0;         // bytes of the whole stream; zero: no cap of its own
};

class SseParser {
 public:
  using OnEvent = std::function<void(const SseEvent&)>;  // does not throw
  // What becomes of an event that the end of the stream leaves without its empty line. The
  // standard discards it; kDeliver serves providers that close right after the last data line.
  enum class AtEnd : std::uint8_t { kDiscard, kDeliver };

  explicit SseParser(OnEvent on_event, SseCaps caps = {});

  // Parses `part` and calls on_event for each event completed by it. Fails with kUpstream, detail
  // "cap", once a cap is passed; then every later call fails alike and no more event comes.
  base::Status feed(std::span<const std::byte> part);
  base::Status feed(std::string_view part) { return feed(std::as_bytes(std::span(part))); }
  // The stream is over. Call it once.
  void finish(AtEnd at_end = AtEnd::kDiscard);

  // An event was begun and its empty line has not come: cut here, the stream is truncated.
  [[nodiscard]] bool pending() const noexcept { return has_data_ || !line_.empty(); }
  [[nodiscard]] std::optional<std::uint64_t> retry_ms() const noexcept { return retry_ms_; }

 private:
  std::string_view skip_bom(std::string_view text);
  void take_line(std::string_view line);
  void take_field(std::string_view name, std::string_view value);
  void take_id(std::string_view value);
  void dispatch();
  base::Status fail(std::string_view cap, std::uint64_t limit);

  const OnEvent on_event_;
  const SseCaps caps_;
  std::string line_;  // the start of a line whose end has not come
  std::string data_;
  std::string type_;
  std::string id_;
  std::string repaired_data_, repaired_type_;  // reused
  std::optional<std::uint64_t> retry_ms_;
  std::uint64_t total_ = 0;
  std::uint8_t bom_ = 0;  // bytes of a leading byte order mark seen so far; 4: past it
  bool has_data_ = false;
  bool swallow_lf_ = false;  // the last line ended in CR: an LF right after belongs to it
  bool event_too_long_ = false;
  base::Status failed_;
};

}  // namespace dure::net

#endif  // DURE_NET_SSE_H_
