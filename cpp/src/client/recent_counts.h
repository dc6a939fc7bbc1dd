// client/recent_counts.h - token counts of texts that were counted just before.
//
// System prompts, and all earlier turns of a conversation, come with every call: their counts are
// remembered by the text itself, so a hit is exact. A small text is counted faster than looked for,
// a large one is not kept.
//
// Not thread-safe: one for each thread, at most a megabyte.
#ifndef DURE_SRC_CLIENT_RECENT_COUNTS_H_
#define DURE_SRC_CLIENT_RECENT_COUNTS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/hash.h"
#include "dure/tokenize/encoding.h"

namespace dure::client {

class RecentCounts {
 public:
  static constexpr std::size_t kLeast = 128;       // bytes
  static constexpr std::size_t kMost = 32U << 10;  // likewise
  static constexpr std::size_t kPlaces = 32;

  static std::int64_t count(const tokenize::Encoding& encoding, std::string_view text) {
    if (text.size() < kLeast || text.size() > kMost) return fresh(encoding, text);
    thread_local RecentCounts recent;
    return recent.find(encoding, text);
  }

 private:
  struct Entry {
    const tokenize::Encoding* encoding = nullptr;
    std::string text;
    std::int64_t tokens = 0;
  };

  static std::int64_t fresh(const tokenize::Encoding& encoding, std::string_view text) {
    return static_cast<std::int64_t>(encoding.count(text));
  }

  std::int64_t find(const tokenize::Encoding& encoding, std::string_view text) {
    Entry& entry = entries_[base::hash64(text) % kPlaces];
    if (entry.encoding == &encoding && entry.text == text) return entry.tokens;
    entry.encoding = nullptr;  // if memory runs out, the place is empty
    entry.text = text;
    entry.tokens = fresh(encoding, text);
    entry.encoding = &encoding;
    return entry.tokens;
  }

  std::array<Entry, kPlaces> entries_;
};

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_RECENT_COUNTS_H_
