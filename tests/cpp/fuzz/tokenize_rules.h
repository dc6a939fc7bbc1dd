// tests/cpp/fuzz/tokenize_rules.h - what must hold for any bytes given to the tokenizer.
//
// Shared by the fuzz target (clang's libFuzzer, scripts/fuzz) and by the replay of its corpus in
// the ordinary tests.
#ifndef DURE_TESTS_FUZZ_TOKENIZE_RULES_H_
#define DURE_TESTS_FUZZ_TOKENIZE_RULES_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dure/text/transcode.h"
#include "dure/text/utf8.h"
#include "dure/tokenize/bpe.h"
#include "dure/tokenize/counter.h"
#include "dure/tokenize/encoding.h"
#include "dure/tokenize/units.h"
#include "dure/tokenize/unstable.h"

namespace dure::tokenize::rules {

using Ids = std::vector<Rank>;

// Chance that follows from the input alone, so that a failure comes back.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) noexcept : state_(seed * 2 + 1) {}
  // In 0..most.
  std::size_t roll(std::size_t most) noexcept {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state_ >> 33) % (most + 1);
  }

 private:
  std::uint64_t state_;
};

// The ids piece by piece, each merged by the quadratic definition.
inline Ids slow_ids(const Encoding& encoding, std::string_view text) {
  Ids ids;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = piece_end(encoding.grammar(), text, at);
    merge_piece_slowly(encoding.vocab(), text.substr(at, end - at), ids);
    at = end;
  }
  return ids;
}

inline std::string broken_encoding(const Encoding& encoding, std::string_view bytes) {
  Ids ids;
  encoding.encode_ordinary(bytes, ids);
  if (ids != slow_ids(encoding, bytes)) return "encode_ordinary is not the slow merge of pieces";
  if (encoding.count(bytes) != ids.size()) return "count is not the number of ids";
  if (encoding.decode(ids).value_or("") != bytes) return "decode does not give the text back";
  if (encoding.decode(encode_bytes(encoding, bytes)).value_or("") != bytes) {
    return "encode_bytes does not come back";
  }
  Ids special;
  encoding.encode(bytes, [](std::string_view) { return true; }, special);
  if (encoding.decode(special).value_or("") != bytes) return "special tokens do not come back";
  Ids plain;
  encoding.encode(bytes, [](std::string_view) { return false; }, plain);
  if (plain != ids) return "encode without special tokens is not encode_ordinary";
  return {};
}

inline std::string broken_limits(const Encoding& encoding, std::string_view bytes, Dice& dice) {
  const std::size_t total = encoding.count(bytes);
  const std::size_t limit = dice.roll(total);
  const auto found = encoding.count_up_to(bytes, limit);
  if (found.has_value() != (total <= limit) || found.value_or(total) != total) {
    return "count_up_to is not the count below the limit";
  }
  if (!encoding.fits(bytes, total)) return "a text does not fit its own count";
  return {};
}

// Whole against fed in parts.
inline std::string broken_feeds(const Encoding& encoding, std::string_view bytes, Dice& dice) {
  Counter counter(encoding);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t part = 1 + dice.roll(std::min<std::size_t>(bytes.size() - at - 1, 12));
    counter.append(bytes.substr(at, part));
    at += part;
    if (counter.count() != encoding.count(bytes.substr(0, at))) {
      return "a counter fed in parts counts otherwise";
    }
  }
  Ids ids;
  encoding.encode_ordinary(bytes, ids);
  StreamDecoder decoder(encoding);
  std::string text;
  for (std::size_t at = 0; at < ids.size();) {
    const std::size_t part = 1 + dice.roll(std::min<std::size_t>(ids.size() - at - 1, 3));
    text += decoder.feed(std::span(ids).subspan(at, part)).value_or("unknown id");
    at += part;
  }
  text += decoder.finish();
  if (text != text::replace_invalid(bytes)) return "a stream decoded in parts is another text";
  return {};
}

// What needs well-formed text.
inline std::string broken_spans(const Encoding& encoding, std::string_view text, Dice& dice) {
  const PrefixCounts spans(encoding, text);
  for (int i = 0; i < 8; ++i) {
    const std::size_t start = text::char_start(text, dice.roll(text.size()));
    const std::size_t end = text::char_start(text, start + dice.roll(text.size() - start));
    if (end < start) continue;
    if (spans.count(start, end) != encoding.count(text.substr(start, end - start))) {
      return "a span's count is not that of its text";
    }
  }
  const std::size_t limit = dice.roll(encoding.count(text) + 1);
  const std::size_t end = encoding.truncate(text, limit);
  if (end > text.size() || text::char_start(text, end) != end) return "truncate cut a character";
  if (encoding.count(text.substr(0, end)) > limit) return "truncate keeps too many tokens";
  const auto parts = split_at(encoding, text, limit + 8, 0);
  if (!parts) return "split_at failed";
  std::size_t at = 0;
  for (const auto& [from, to] : *parts) {
    if (from != at || encoding.count(text.substr(from, to - from)) > limit + 8) {
      return "split_at leaves a gap or a part above the limit";
    }
    at = to;
  }
  return at == text.size() ? "" : "split_at loses the end";
}

// The same text as an array of code points.
inline std::string broken_units(const Encoding& encoding, std::string_view text, Dice& dice) {
  std::vector<std::uint32_t> points;
  for (std::size_t at = 0; at < text.size();) {
    const text::CodePoint one = text::decode_at(text, at);
    points.push_back(one.value);
    at += one.length;
  }
  const text::CodeUnits units{points.data(), points.size(), 4, false};
  Ids ids;
  Ids wanted;
  encoding.encode_ordinary(text, wanted);
  const std::size_t window = 1 + dice.roll(40);
  if (!encode_units(encoding, units, ids, window) || ids != wanted) {
    return "an array of code points gives other ids than its UTF-8";
  }
  if (count_units(encoding, units, window) != wanted.size()) return "count_units is not the count";
  return {};
}

// The rule that does not hold for these bytes, or an empty string. The first byte chooses the
// encoding, the second the chance.
inline std::string broken(std::string_view input) {
  if (input.size() < 2) return {};
  const auto choice = static_cast<unsigned char>(input[0]);
  Dice dice(static_cast<unsigned char>(input[1]));
  const auto names = Encoding::names();
  const Encoding& encoding = *Encoding::get(names[choice % names.size()]).value();
  // A buffer of exactly this size: a sanitizer sees one byte more.
  const std::vector<char> exact(input.begin() + 2, input.end());
  const std::string_view bytes(exact.data(), exact.size());
  std::string rule = broken_encoding(encoding, bytes);
  if (rule.empty()) rule = broken_limits(encoding, bytes, dice);
  if (rule.empty()) rule = broken_feeds(encoding, bytes, dice);
  if (rule.empty() && text::is_valid(bytes)) rule = broken_spans(encoding, bytes, dice);
  if (rule.empty() && text::is_valid(bytes)) rule = broken_units(encoding, bytes, dice);
  return rule.empty() ? rule : encoding.name() + ": " + rule;
}

}  // namespace dure::tokenize::rules

#endif  // DURE_TESTS_FUZZ_TOKENIZE_RULES_H_
