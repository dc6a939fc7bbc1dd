// Sizes of spans of one text, in the unit of the cap.
//
// One thread at a time.
#ifndef DURE_SRC_CHUNK_RULER_H_
#define DURE_SRC_CHUNK_RULER_H_

#include <cstddef>
#include <memory>
#include <string_view>

#include "dure/base/result.h"
#include "dure/chunk/chunker.h"
#include "dure/text/utf8.h"

namespace dure::chunk {

class Ruler {
 public:
  virtual ~Ruler() = default;
  // Exact size of text[start, end).
  virtual base::Result<std::size_t> size(std::size_t start, std::size_t end) = 0;
  // Exact size of `prefix` followed by text[start, end), as one string.
  virtual base::Result<std::size_t> size_with(std::string_view prefix, std::size_t start,
                                              std::size_t end) = 0;
  // Size of `prefix`, where a word follows it.
  virtual base::Result<std::size_t> prefix_size(std::string_view prefix) = 0;
  // What `prefix` adds to a span that starts at `start`, by its first character.
  virtual base::Result<std::size_t> cost(std::string_view prefix, std::size_t start) = 0;
  // A code point boundary e >= start, about as far as `budget` reaches: size(start, e) <= budget.
  virtual base::Result<std::size_t> reach(std::size_t start, std::size_t budget) = 0;
  // A code point boundary b <= end: size(b, end) is about `budget`, or less; not before what was
  // forgotten.
  virtual base::Result<std::size_t> reach_back(std::size_t end, std::size_t budget) = 0;
  // Nothing before `position` will be asked for.
  virtual void forget_before(std::size_t /*position*/) {}
};

// All borrowed arguments outlive the ruler.
[[nodiscard]] std::unique_ptr<Ruler> make_ruler(const Options& options, std::string_view text,
                                                const text::CharOffsets& offsets);

}  // namespace dure::chunk

#endif  // DURE_SRC_CHUNK_RULER_H_
