// dure/tokenize/encoding.h - text to the token ids of one model family, and back.
//
//   auto encoding = Encoding::get("o200k_base");
//   std::size_t tokens = (*encoding)->count(text);
//
// Exact: the ids of tiktoken 0.14 for every text. Linear in the text's length, bounded stack,
// never fails on any bytes. Each thread that encodes keeps a cache of at most 5 MB.
//
// Immutable; so thread-safe. Text is UTF-8; bytes that are not count as a symbol each.
#ifndef DURE_TOKENIZE_ENCODING_H_
#define DURE_TOKENIZE_ENCODING_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dure/base/result.h"
#include "dure/tokenize/pretokenizer.h"
#include "dure/tokenize/vocab.h"

namespace dure::tokenize {

// A special token found in a text.
struct SpecialMatch {
  std::size_t position;
  std::string_view text;  // borrowed from the encoding
  Rank id;
};

// Which special tokens count; asked by name.
using SpecialFilter = std::function<bool(std::string_view)>;

struct EncodingSpec {
  std::string name;
  Grammar grammar = Grammar::kO200k;
  std::shared_ptr<const Vocab> vocab;
  std::vector<std::pair<std::string, Rank>> special_tokens;
};

class Encoding {
 public:
  Encoding(const Encoding&) = delete;
  Encoding& operator=(const Encoding&) = delete;
  // One of names(); loaded on first use (some 10 ms), then alive for ever. Fails with
  // kInvalidArgument, naming near matches.
  [[nodiscard]] static base::Result<const Encoding*> get(std::string_view name);
  // In tiktoken's order.
  [[nodiscard]] static std::span<const std::string_view> names() noexcept;
  // An encoding of the caller's. Fails with kInvalidArgument if a special token is empty.
  [[nodiscard]] static base::Result<std::unique_ptr<Encoding>> create(EncodingSpec spec);

  [[nodiscard]] const std::string& name() const noexcept { return spec_.name; }
  [[nodiscard]] Grammar grammar() const noexcept { return spec_.grammar; }
  [[nodiscard]] const Vocab& vocab() const noexcept { return *spec_.vocab; }
  // Highest id of all, special tokens included.
  [[nodiscard]] Rank max_token_value() const noexcept { return max_token_value_; }
  [[nodiscard]] const std::vector<std::pair<std::string, Rank>>& special_tokens() const noexcept {
    return spec_.special_tokens;
  }

  // Appends the ids of `text`; special tokens in it are plain text.
  void encode_ordinary(std::string_view text, std::vector<Rank>& out) const;
  // Appends the ids of `text`; special tokens that `allowed` accepts become their id.
  void encode(std::string_view text, const SpecialFilter& allowed, std::vector<Rank>& out) const;
  // Number of ids of encode_ordinary(text), without making them.
  [[nodiscard]] std::size_t count(std::string_view text) const;
  // count(text) if it is at most `limit`; else nothing. Stops early.
  [[nodiscard]] std::optional<std::size_t> count_up_to(std::string_view text,
                                                       std::size_t limit) const;
  [[nodiscard]] bool fits(std::string_view text, std::size_t limit) const {
    return count_up_to(text, limit).has_value();
  }
  // Length in bytes of the longest start of `text` of at most `limit` tokens that ends between
  // characters. REQUIRES: well-formed UTF-8.
  [[nodiscard]] std::size_t truncate(std::string_view text, std::size_t limit) const;
  // For measurements: every thread forgets which words it has merged.
  static void forget_merges() noexcept;
  // Appends the ids of one piece, not split further. Empty: nothing.
  void encode_piece(std::string_view piece, std::vector<Rank>& out) const;
  [[nodiscard]] std::size_t count_piece(std::string_view piece) const;

  // The id whose bytes are exactly these, special tokens included.
  [[nodiscard]] std::optional<Rank> single_token(std::string_view bytes) const;
  // The bytes of an id, special tokens included; nothing for an unknown id. A token of no bytes
  // does not exist.
  [[nodiscard]] std::optional<std::string_view> token_bytes(Rank id) const noexcept;
  // Fails with kNotFound, detail "token", at the first unknown id.
  [[nodiscard]] base::Result<std::string> decode(std::span<const Rank> ids) const;

  // Ranks of all ordinary tokens in the order of their bytes; sorted on first use.
  [[nodiscard]] std::span<const Rank> sorted_tokens() const;

  // The first special token at or after `from` that `wanted` accepts.
  [[nodiscard]] std::optional<SpecialMatch> find_special(std::string_view text, std::size_t from,
                                                         const SpecialFilter& wanted) const;

 private:
  explicit Encoding(EncodingSpec spec);

  EncodingSpec spec_;
  // Of special_tokens, whose strings do not move.
  std::unordered_map<std::string_view, Rank> special_ids_;
  std::unordered_map<Rank, std::string_view> special_texts_;
  std::vector<std::size_t> special_lengths_;  // distinct, longest first
  bool special_first_[256] = {};              // bytes that begin one
  std::optional<char> special_start_;         // if it is the same byte for all
  Rank max_token_value_ = 0;
  mutable std::once_flag sort_once_;  // guards the filling of sorted_
  mutable std::vector<Rank> sorted_;
};

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_ENCODING_H_
