#include "net/reply_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "net/request_check.h"

namespace dure::net {
namespace {

constexpr std::size_t kMostChunkLine = 16 * 1024;
constexpr std::size_t kKeptLine = 4096;
constexpr auto kMostChunk = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

base::Status malformed(std::string_view what) {
  return {base::Code::kUpstream,
          "the reply's body is malformed (" + std::string(what) +
              "); the connection was closed, look at the server or proxy in between"};
}

}  // namespace

void ReplyParser::begin(bool to_head, std::uint64_t cap) noexcept {
  head_.reset(cap);
  line_.clear();
  if (line_.capacity() > kKeptLine) line_.shrink_to_fit();
  line_given_ = any_ = reusable_ = false;
  state_ = State::kHead;
  left_ = 0;
  to_head_ = to_head;
}

base::Status ReplyParser::feed(std::string_view& bytes, Sink& sink) {
  any_ = any_ || !bytes.empty();
  while (!bytes.empty() && state_ != State::kDone) {
    if (base::Status status = step(bytes, sink); !status.ok()) return status;
  }
  return {};
}

bool ReplyParser::end_of_stream() noexcept {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  return state_ == State::kDone;
}

base::Status ReplyParser::step(std::string_view& bytes, Sink& sink) {
  if (state_ == State::kLength || state_ == State::kChunkData || state_ == State::kUntilClose) {
    return take_data(bytes, sink);
  }
  const bool of_chunk = state_ == State::kChunkSize || state_ == State::kChunkEnd;
  std::string_view line;
  base::Status status = next_line(bytes, of_chunk ? kMostChunkLine : HeadCheck::kMostLine, &line);
  if (!status.ok() || line.empty()) return status;
  switch (state_) {
    case State::kHead:
      return take_head_line(line, sink);
    case State::kChunkSize:
      return take_chunk_size(line);
    case State::kChunkEnd:
      if (line != "\r\n") return malformed("a chunk that does not end where it says");
      state_ = State::kChunkSize;
      return {};
    default:  // trailers
      if (base::Status status = head_.take(line); !status.ok()) return status;
      if (line == "\r\n") state_ = State::kDone;
      return {};
  }
}

base::Status ReplyParser::next_line(std::string_view& bytes, std::size_t cap,
                                    std::string_view* line) {
  if (line_given_) {
    line_.clear();
    line_given_ = false;
  }
  const void* const end = std::memchr(bytes.data(), '\n', bytes.size());
  const std::size_t length =
      end == nullptr ? bytes.size()
                     : static_cast<std::size_t>(static_cast<const char*>(end) - bytes.data()) + 1;
  if (line_.size() + length > cap) {
    return cap == kMostChunkLine ? malformed("a chunk line without end") : head_.over_cap();
  }
  if (end != nullptr && line_.empty()) {
    *line = bytes.substr(0, length);
  } else {
    line_.append(bytes.data(), length);
    line_given_ = end != nullptr;
    if (line_given_) *line = line_;
  }
  bytes.remove_prefix(length);
  return {};
}

base::Status ReplyParser::take_head_line(std::string_view line, Sink& sink) {
  if (base::Status status = head_.take(line); !status.ok()) return status;
  if (!head_.complete()) return {};
  begin_body();
  return sink.take_head(head_);
}

void ReplyParser::begin_body() noexcept {
  const bool none = to_head_ || head_.status() == 204 || head_.status() == 304;
  reusable_ = none || head_.chunked() || head_.length();
  left_ = head_.length().value_or(0);
  if (none) {
    state_ = State::kDone;
  } else if (head_.chunked()) {
    state_ = State::kChunkSize;
  } else if (head_.length()) {
    state_ = left_ == 0 ? State::kDone : State::kLength;
  } else {
    state_ = State::kUntilClose;
  }
}

base::Status ReplyParser::take_chunk_size(std::string_view line) {
  if (!line.ends_with("\r\n")) return malformed("a chunk line that does not end in CRLF");
  line.remove_suffix(2);
  if (!is_field_text(line)) return malformed("a control character in a chunk line");
  const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
  const auto digits = static_cast<std::size_t>(stop - line.data());
  if (error != std::errc() || digits > 16 || left_ > kMostChunk) {
    return malformed("a chunk length that is no number");
  }
  line.remove_prefix(digits);
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  if (!line.empty() && line.front() != ';') return malformed("text after a chunk length");
  state_ = left_ == 0 ? State::kTrailers : State::kChunkData;
  return {};
}

base::Status ReplyParser::take_data(std::string_view& bytes, Sink& sink) {
  std::size_t size = bytes.size();
  if (state_ != State::kUntilClose) {
    size = static_cast<std::size_t>(std::min<std::uint64_t>(size, left_));
    left_ -= size;
    if (left_ == 0) state_ = state_ == State::kLength ? State::kDone : State::kChunkEnd;
  }
  const std::string_view part = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return sink.take_body(part);
}

}  // namespace dure::net
