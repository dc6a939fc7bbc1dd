// dure/index/words.h - the words of a text, as search by words and the hash embedder see them.
//
// A word is a run of letters, digits and marks, in lower case (simple mapping of Latin, Greek,
// Cyrillic and full-width letters). A run of Hangul syllables loses one particle at its end (josa:
// 은 는 이 가 을 를 에서 ...) if at least two syllables remain, and is then cut into overlapping
// pairs of syllables; so are runs of Han and Kana, which are written without spaces. A single
// syllable stays as it is. Documents and questions go through the same door.
//
// Thread-safe: pure functions.
#ifndef DURE_INDEX_WORDS_H_
#define DURE_INDEX_WORDS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dure::index {

// The words of `text` in their order. Bytes that are no UTF-8 separate words.
[[nodiscard]] std::vector<std::string> words(std::string_view text);

// Appends base::hash64 of each word of `text`, in their order.
void append_word_hashes(std::string_view text, std::vector<std::uint64_t>& out);

// The same of words that were cut elsewhere, joined by kWordBreak; they are taken as they are.
inline constexpr char kWordBreak = '\x1f';
void append_given_hashes(std::string_view joined, std::vector<std::uint64_t>& out);

// A distinct word of one text and how often it stands there.
struct WordCount {
  std::uint64_t word;
  std::uint32_t count;
};

// The distinct words of one text, ordered by hash, and the number of all.
struct WordCounts {
  std::vector<WordCount> words;
  std::uint32_t length = 0;
};
[[nodiscard]] WordCounts count_words(std::string_view text);

}  // namespace dure::index

#endif  // DURE_INDEX_WORDS_H_
