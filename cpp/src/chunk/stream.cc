#include "dure/chunk/stream.h"

#include <algorithm>
#include <utility>

#include "chunk/outline.h"
#include "chunk/planner.h"
#include "dure/text/utf8.h"

namespace dure::chunk {
namespace {

constexpr std::size_t kPlainWindow = 8U << 20U;     // bytes of text without an outline
constexpr std::size_t kOutlinedWindow = 2U << 20U;  // the outline may take some times as much
constexpr std::size_t kBefore = 8192;               // bytes before a body that its cuts may look at
constexpr std::size_t kMostRows = 65536;            // of one window

bool is_plain(Mode mode) {
  return mode == Mode::kText || mode == Mode::kPage || mode == Mode::kDelimiter;
}

}  // namespace

Stream::Stream(const Chunker& chunker, Mode mode, std::size_t size, std::size_t window)
    : chunker_(chunker),
      mode_(chunker.options().mode.value_or(mode)),
      size_(size),
      least_(window != 0       ? window
             : is_plain(mode_) ? kPlainWindow
                               : kOutlinedWindow),
      window_(least_),
      scanner_(scanner_of(mode_, chunker.options())) {
  if (mode_ == Mode::kPage) pages_before_ = 1;
}

Stream::~Stream() = default;

Stream::Window Stream::wants() const noexcept {
  const std::size_t end = std::min(size_, body_ + window_);
  return {begin_, end - begin_};
}

base::Status Stream::feed(std::string_view bytes) {
  const bool final = begin_ + bytes.size() == size_;
  if (!final) bytes = bytes.substr(0, text::complete_prefix(bytes));
  const std::size_t valid = text::valid_prefix(bytes);
  if (valid != bytes.size()) return not_utf8(begin_ + valid);
  scanner_->read(bytes, final);
  if (mode_ == Mode::kPage) find_pages(bytes);
  Planner planner(chunker_.options(), mode_, bytes, scanner_->outline(), pages_,
                  {chars_, pages_before_});
  const std::size_t start = body_ - begin_;
  const std::size_t previous = std::max(previous_, begin_) - begin_;
  auto rows = planner.run({start, previous, final, scanner_->settled(), kMostRows});
  if (!rows) return std::move(rows.error());
  // One chunk, or what is to be seen whole, is longer than the window.
  window_ = !final && planner.next() == start ? 2 * window_ : least_;
  if (taken_ > 0) {
    rows_ = chunk::rows(rows_, taken_, rows_.size());
    taken_ = 0;
  }
  append(rows_, std::move(*rows), static_cast<std::int64_t>(begin_),
         static_cast<std::int64_t>(chars_));
  move_on(bytes, planner.next(), planner.previous());
  return {};
}

Chunks Stream::take(std::size_t most) {
  const std::size_t first = taken_;
  taken_ += std::min(most, ready());
  return chunk::rows(rows_, first, taken_);
}

// Form feeds part the pages.
void Stream::find_pages(std::string_view text) {
  for (std::size_t at = text.find('\f', searched_); at != std::string_view::npos;
       at = text.find('\f', at + 1))
    pages_.push_back(at + 1);
  searched_ = text.size();
}

void Stream::move_on(std::string_view text, std::size_t next, std::size_t previous) {
  body_ = begin_ + next;
  previous_ = begin_ + previous;
  const std::size_t bytes = start_of_window(text) - begin_;
  if (bytes == 0) return;
  chars_ += text::count_code_points(text.substr(0, bytes));
  begin_ += bytes;
  scanner_->move(bytes);
  searched_ -= std::min(searched_, bytes);
  const auto kept = std::upper_bound(pages_.begin(), pages_.end(), bytes);
  pages_before_ += kept - pages_.begin();
  pages_.erase(pages_.begin(), kept);
  for (std::size_t& page : pages_) page -= bytes;
}

// On a line, so that counting starts where a piece of text does; else on a character. `text` is the
// window before.
std::size_t Stream::start_of_window(std::string_view text) const {
  // Overlap reaches back to where the body before began; what begins a window is not asked for.
  const std::size_t needed = chunker_.options().overlap > 0 ? std::min(previous_, body_) : body_;
  const std::size_t latest =
      std::min({needed - std::min(needed, std::size_t{1}), body_ - std::min(body_, kBefore),
                begin_ + scanner_->settled()});
  if (latest <= begin_) return begin_;
  const std::size_t feed = text.substr(0, latest - begin_).rfind('\n');
  if (feed != std::string_view::npos && feed > 0 && latest - begin_ - feed < kBefore)
    return begin_ + feed + 1;
  return begin_ + text::char_start(text, latest - begin_);
}

}  // namespace dure::chunk
