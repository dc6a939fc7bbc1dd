#include "dure/tokenize/unstable.h"

#include <algorithm>
#include <string>

#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"
#include "dure/tokenize/bpe.h"

namespace dure::tokenize {
namespace {

// Ids of a text, and how many of them come from its last piece: 0 after a special token.
struct Encoded {
  std::vector<Rank> ids;
  std::size_t last_piece = 0;
};

Encoded encode_text(const Encoding& encoding, std::string_view text, const SpecialFilter& allowed) {
  Encoded result;
  std::size_t from = 0;
  while (const auto match = encoding.find_special(text, from, allowed)) {
    from = match->position + match->text.size();
  }
  std::size_t last = from;
  for (std::size_t at = from; at < text.size();) {
    last = at;
    at = piece_end(encoding.grammar(), text, at);
  }
  encoding.encode(text, allowed, result.ids);
  result.last_piece = encoding.count_piece(text.substr(last));
  return result;
}

// Blank tokens before the last piece may join it: "\n" and " " become "\n \n".
void widen_over_blanks(const Encoding& encoding, Encoded& encoded) {
  const auto blank = [&](std::size_t back) {
    const std::string_view bytes = encoding.vocab().token(encoded.ids[encoded.ids.size() - back]);
    return !bytes.empty() && bytes.find_first_not_of(" \n\t") == bytes.npos;
  };
  if (encoded.last_piece == 0 || !blank(encoded.last_piece)) return;
  while (encoded.last_piece < encoded.ids.size() && blank(encoded.last_piece + 1)) {
    ++encoded.last_piece;
  }
}

// Takes the last piece's ids off and returns their bytes.
std::string take_last_piece(const Encoding& encoding, Encoded& encoded) {
  std::string bytes;
  const std::size_t stable = encoded.ids.size() - encoded.last_piece;
  for (std::size_t i = stable; i < encoded.ids.size(); ++i) {
    bytes += encoding.token_bytes(encoded.ids[i]).value_or(std::string_view());
  }
  encoded.ids.resize(stable);
  return bytes;
}

// Calls `found(token)` for each token of the vocabulary that starts with `prefix`.
template <typename Found>
void tokens_from(const Encoding& encoding, std::string_view prefix, Found found) {
  const std::span<const Rank> sorted = encoding.sorted_tokens();
  const Vocab& vocab = encoding.vocab();
  auto at =
      std::lower_bound(sorted.begin(), sorted.end(), prefix,
                       [&](Rank rank, std::string_view key) { return vocab.token(rank) < key; });
  for (; at != sorted.end() && vocab.token(*at).starts_with(prefix); ++at) found(*at);
}

// Tokens that start inside `bytes` and go on beyond them.
void straddling(const Encoding& encoding, std::string_view bytes,
                std::set<std::vector<Rank>>& completions) {
  const Vocab& vocab = encoding.vocab();
  for (std::size_t i = 1; i < bytes.size(); ++i) {
    tokens_from(encoding, bytes.substr(i), [&](Rank rank) {
      const std::string whole = std::string(bytes.substr(0, i)).append(vocab.token(rank));
      std::vector<Rank> ids;
      if (text::is_valid(whole)) {
        encoding.encode_ordinary(whole, ids);
      } else {
        encoding.encode_piece(whole, ids);
      }
      std::size_t covered = 0;
      std::size_t needed = 0;
      while (needed < ids.size() && covered < bytes.size()) {
        covered += vocab.token(ids[needed++]).size();
      }
      ids.resize(needed);
      completions.insert(std::move(ids));
    });
  }
}

// A white-space run may be cut before its last character once a word follows it.
void cut_before_last_blank(const Encoding& encoding, std::string_view bytes,
                           std::set<std::vector<Rank>>& completions) {
  if (bytes.size() < 2) return;
  std::size_t last = bytes.size() - 1;
  while (last > 0 && bytes.size() - last < 4 && text::is_continuation(bytes[last])) --last;
  const text::CodePoint point = text::decode_at(bytes, last);
  if (last == 0 || last + point.length != bytes.size() || !text::is_space(point.value)) return;
  std::vector<Rank> ids;
  encoding.encode_piece(bytes.substr(0, last), ids);
  encoding.encode_piece(bytes.substr(last), ids);
  completions.insert(std::move(ids));
}

bool none(std::string_view /*special*/) { return false; }

}  // namespace

Unstable encode_with_unstable(const Encoding& encoding, std::string_view text,
                              const SpecialFilter& allowed) {
  Encoded encoded = encode_text(encoding, text, allowed);
  if (encoded.last_piece == 0) return {std::move(encoded.ids), {}};
  widen_over_blanks(encoding, encoded);
  const std::string bytes = take_last_piece(encoding, encoded);
  Unstable result{std::move(encoded.ids), {}};
  if (bytes.empty()) return result;
  tokens_from(encoding, bytes, [&](Rank rank) { result.completions.insert({rank}); });
  straddling(encoding, bytes, result.completions);
  cut_before_last_blank(encoding, bytes, result.completions);
  return result;
}

std::vector<Rank> encode_bytes(const Encoding& encoding, std::string_view bytes) {
  const std::size_t valid = text::valid_prefix(bytes);
  std::vector<Rank> ids;
  if (valid == bytes.size()) {
    encoding.encode_ordinary(bytes, ids);
    return ids;
  }
  Encoded encoded = encode_text(encoding, bytes.substr(0, valid), none);
  widen_over_blanks(encoding, encoded);
  std::string rest = take_last_piece(encoding, encoded);
  rest += bytes.substr(valid);
  ids = std::move(encoded.ids);
  encoding.encode_piece(rest, ids);
  return ids;
}

}  // namespace dure::tokenize
