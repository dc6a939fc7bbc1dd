// net/reply_parser.h - HTTP/1.1 replies from bytes, for engine B. Knows no sockets and no time:
// bytes go in, a head and parts of a body come out, however the bytes are cut.
//
// Bodies by length, in chunks (extensions are skipped, trailers checked and dropped), or up to the
// end of the connection; none after 204, 304 and HEAD; interim replies are skipped. What HeadCheck
// refuses is refused, and so are chunk lines that are not hexadecimal digits, perhaps an extension,
// and CRLF.
//
// Not thread-safe: one for each reply; begin() makes it ready for the next and keeps its room.
#ifndef DURE_SRC_NET_REPLY_PARSER_H_
#define DURE_SRC_NET_REPLY_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/status.h"
#include "net/head_check.h"

namespace dure::net {

class ReplyParser {
 public:
  class Sink {
   public:
    // The final head, once; then parts, never empty. A failure ends the reply.
    virtual base::Status take_head(const HeadCheck& head) = 0;
    virtual base::Status take_body(std::string_view part) = 0;

   protected:
    ~Sink() = default;
  };

  // For the reply to a request; `to_head`: its method was HEAD. `cap`: bytes of header lines.
  void begin(bool to_head, std::uint64_t cap) noexcept;
  // Takes bytes until the reply is whole; `bytes` is left with what follows it. Fails with
  // kUpstream, or as the sink did; nothing may be fed after a failure.
  base::Status feed(std::string_view& bytes, Sink& sink);
  // The connection has ended in good order: true if the reply is whole now.
  [[nodiscard]] bool end_of_stream() noexcept;

  [[nodiscard]] bool done() const noexcept { return state_ == State::kDone; }
  // Nothing of the reply has come, not even one byte.
  [[nodiscard]] bool untouched() const noexcept { return state_ == State::kHead && !any_; }
  [[nodiscard]] bool head_complete() const noexcept { return head_.complete(); }
  // REQUIRES: done(). Another reply may come on the same connection.
  [[nodiscard]] bool reusable() const noexcept { return reusable_ && head_.keeps_alive(); }

 private:
  enum class State : std::uint8_t {
    kHead,
    kLength,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailers,
    kUntilClose,
    kDone
  };

  base::Status step(std::string_view& bytes, Sink& sink);
  // A whole line with its end, or empty: more bytes are needed. Borrowed until the next call.
  base::Status next_line(std::string_view& bytes, std::size_t cap, std::string_view* line);
  base::Status take_head_line(std::string_view line, Sink& sink);
  base::Status take_chunk_size(std::string_view line);
  base::Status take_data(std::string_view& bytes, Sink& sink);
  void begin_body() noexcept;

  HeadCheck head_;
  std::string line_;         // the beginning of a line that was cut
  bool line_given_ = false;  // line_ was handed out whole: clear it before the next
  State state_ = State::kHead;
  std::uint64_t left_ = 0;  // bytes of the body or the chunk
  bool to_head_ = false;
  bool any_ = false;
  bool reusable_ = false;
};

}  // namespace dure::net

#endif  // DURE_SRC_NET_REPLY_PARSER_H_
