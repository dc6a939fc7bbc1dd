// dure/chunk/stream.h - cuts a text of which a window at a time is in memory.
//
// The rows are those that Chunker::chunk gives for the whole text, whatever the windows. Memory
// follows the window: it grows only where one piece, or one line that its format has to see whole,
// is longer than it.
//
// One thread at a time.
#ifndef DURE_CHUNK_STREAM_H_
#define DURE_CHUNK_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/chunk/chunker.h"
#include "dure/chunk/chunks.h"

namespace dure::chunk {

class OutlineScanner;

class Stream {
 public:
  struct Window {
    std::size_t begin;  // byte of the text
    std::size_t size;
  };

  // Of `size` bytes, of which `window` are read at a time (0: by the mode). `mode`: where the
  // options name none. `chunker` outlives the stream.
  Stream(const Chunker& chunker, Mode mode, std::size_t size, std::size_t window = 0);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  [[nodiscard]] bool done() const noexcept { return body_ >= size_; }
  // What feed() takes next. REQUIRES: !done().
  [[nodiscard]] Window wants() const noexcept;
  // Cuts on. Fails as Chunker::chunk does, with places in the whole text; the stream is dead then.
  // REQUIRES: `bytes` are those that wants() says.
  [[nodiscard]] base::Status feed(std::string_view bytes);

  // Rows that wait for take().
  [[nodiscard]] std::size_t ready() const noexcept { return rows_.size() - taken_; }
  // At most `most` of them, in order; offsets are those of the whole text.
  [[nodiscard]] Chunks take(std::size_t most);

 private:
  void find_pages(std::string_view text);
  void move_on(std::string_view text, std::size_t next, std::size_t previous);
  [[nodiscard]] std::size_t start_of_window(std::string_view text) const;

  const Chunker& chunker_;
  const Mode mode_;
  const std::size_t size_;
  const std::size_t least_;  // bytes of a window
  std::size_t window_;       // of the next one
  const std::unique_ptr<OutlineScanner> scanner_;
  Chunks rows_;
  std::size_t taken_ = 0;
  // Of the whole text:
  std::size_t begin_ = 0;     // of the window
  std::size_t body_ = 0;      // where the next body begins
  std::size_t previous_ = 0;  // where the body before it began
  std::size_t chars_ = 0;     // code points before the window
  // Of the window:
  std::vector<std::size_t> pages_;  // where pages begin
  std::int64_t pages_before_ = 0;   // pages that began before it
  std::size_t searched_ = 0;        // up to here for pages
};

}  // namespace dure::chunk

#endif  // DURE_CHUNK_STREAM_H_
