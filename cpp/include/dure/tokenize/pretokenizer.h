// dure/tokenize/pretokenizer.h - cuts text into the pieces that are encoded each alone.
//
// Hand-written matchers of the three patterns of OpenAI's encodings (tiktoken 0.14,
// openai_public.py), on the classes of Unicode 16. Linear in the text, no recursion.
// Bytes that are not UTF-8 count as one symbol each.
//
// Thread-safe: pure functions.
#ifndef DURE_TOKENIZE_PRETOKENIZER_H_
#define DURE_TOKENIZE_PRETOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace dure::tokenize {

enum class Grammar : std::uint8_t {
  kGpt2,    // gpt2, r50k_base, p50k_base, p50k_edit
  kCl100k,  // cl100k_base
  kO200k,   // o200k_base, o200k_harmony
};

// The pattern as tiktoken writes it (`pat_str`).
[[nodiscard]] std::string_view pattern_of(Grammar grammar) noexcept;
// The grammar of exactly this pattern, or of one of its older spellings that match alike.
[[nodiscard]] std::optional<Grammar> grammar_of(std::string_view pattern) noexcept;

// End of the piece that starts at `start`. What it answers depends on text[start:] alone.
// REQUIRES: start < text.size().
[[nodiscard]] std::size_t piece_end(Grammar grammar, std::string_view text,
                                    std::size_t start) noexcept;

// Writes the ends of the pieces from `start` on into `ends` and returns how many: fewer than
// ends.size() only if the text ends. REQUIRES: start <= text.size().
std::size_t split(Grammar grammar, std::string_view text, std::size_t start,
                  std::span<std::size_t> ends) noexcept;

// An offset in the piece at `start` from which piece_end() will answer the same as from `start`,
// whatever text follows: what lies before it need not be read again. `start` itself if none is
// found. REQUIRES: the piece ends with the text.
[[nodiscard]] std::size_t resume_point(Grammar grammar, std::string_view text,
                                       std::size_t start) noexcept;

// The last offset in (0, limit] where text may be cut so that both sides, encoded apart, give the
// ids of the whole; 0 if there is none in the `most` bytes before `limit`.
// REQUIRES: limit < text.size().
[[nodiscard]] std::size_t safe_cut(Grammar grammar, std::string_view text, std::size_t limit,
                                   std::size_t most) noexcept;

}  // namespace dure::tokenize

#endif  // DURE_TOKENIZE_PRETOKENIZER_H_
