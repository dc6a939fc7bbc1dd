#include "dure/net/sse.h"

#include <charconv>
#include <cstring>
#include <utility>

#include "net/utf8_repair.h"

namespace dure::net {
namespace {

constexpr std::string_view kBom = "\xEF\xBB\xBF";
constexpr std::uint8_t kPastBom = 4;

}  // namespace

SseParser::SseParser(OnEvent on_event, SseCaps caps)
    : on_event_(std::move(on_event)), caps_(caps) {}

base::Status SseParser::fail(std::string_view cap, std::uint64_t limit) {
  failed_ = base::Status(base::Code::kUpstream,
                         "the event stream passed its cap: " + std::string(cap) + " > " +
                             std::to_string(limit) + " bytes; the connection was closed")
                .with("cap", std::string(cap));
  return failed_;
}

// Drops one leading byte order mark, also when it comes in pieces.
std::string_view SseParser::skip_bom(std::string_view text) {
  while (bom_ < kBom.size() && !text.empty()) {
    if (text.front() != kBom[bom_]) {
      line_.assign(kBom.substr(0, bom_));
      bom_ = kPastBom;
      return text;
    }
    text.remove_prefix(1);
    ++bom_;
  }
  if (bom_ == kBom.size()) bom_ = kPastBom;
  return text;
}

base::Status SseParser::feed(std::span<const std::byte> part) {
  if (!failed_.ok()) return failed_;
  total_ += part.size();
  if (caps_.total != 0 && total_ > caps_.total) return fail("total", caps_.total);
  std::string_view text(reinterpret_cast<const char*>(part.data()), part.size());
  if (bom_ != kPastBom) text = skip_bom(text);

  // A stream seldom holds a CR, so where the next one is is looked up once and remembered.
  const auto find = [&text](char what) {
    const std::size_t at = text.find(what);
    return at == std::string_view::npos ? text.size() : at;
  };
  std::size_t next_cr = find('\r');
  while (!text.empty()) {
    if (std::exchange(swallow_lf_, false) && text.front() == '\n') {
      text.remove_prefix(1);
      next_cr = next_cr == 0 ? find('\r') : next_cr - 1;
      continue;
    }
    const std::string_view before_cr = text.substr(0, next_cr);
    std::size_t end = before_cr.find('\n');
    if (end == std::string_view::npos) end = next_cr;
    if (line_.size() + end > caps_.line) return fail("line", caps_.line);
    if (end == text.size()) {
      line_.append(text);
      break;
    }
    swallow_lf_ = text[end] == '\r';
    if (line_.empty()) {
      take_line(text.substr(0, end));
    } else {
      line_.append(text, 0, end);
      take_line(line_);
      line_.clear();
    }
    if (event_too_long_) return fail("event", caps_.event);
    text.remove_prefix(end + 1);
    next_cr = swallow_lf_ ? find('\r') : next_cr - end - 1;
  }
  return {};
}

void SseParser::finish(AtEnd at_end) {
  if (failed_.ok() && at_end == AtEnd::kDeliver) {
    if (!line_.empty()) take_line(line_);
    dispatch();
  }
  line_.clear();
  data_.clear();
  has_data_ = false;
}

void SseParser::take_line(std::string_view line) {
  if (line.empty()) return dispatch();
  const std::size_t colon = line.find(':');
  if (colon == 0) return;  // a comment
  if (colon == std::string_view::npos) return take_field(line, {});
  std::string_view value = line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  take_field(line.substr(0, colon), value);
}

void SseParser::take_field(std::string_view name, std::string_view value) {
  if (name == "data") {
    if (has_data_) data_.push_back('\n');
    data_.append(value);
    has_data_ = true;
    event_too_long_ = data_.size() > caps_.event;
  } else if (name == "event") {
    type_.assign(value);
  } else if (name == "id") {
    if (value.find('\0') == std::string_view::npos) take_id(value);
  } else if (name == "retry") {
    std::uint64_t number = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, number);
    if (error == std::errc() && stop == end) retry_ms_ = number;
  }
}

void SseParser::take_id(std::string_view value) {
  std::string repaired;
  id_.assign(repair_utf8(value, repaired));
}

void SseParser::dispatch() {
  if (std::exchange(has_data_, false)) {
    const std::string_view type = repair_utf8(type_, repaired_type_);
    on_event_({.type = type.empty() ? "message" : type,
               .data = repair_utf8(data_, repaired_data_),
               .id = id_});
  }
  data_.clear();
  type_.clear();
}

}  // namespace dure::net
