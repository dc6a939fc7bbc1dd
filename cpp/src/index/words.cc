#include "dure/index/words.h"

#include <algorithm>
#include <array>

#include "dure/base/hash.h"
#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"

namespace dure::index {
namespace {

enum class Script : std::uint8_t { kNone, kAlphabet, kHangul, kHan };

constexpr std::size_t kSyllableBytes = 3;  // Hangul, Kana and the common Han characters in UTF-8

// Particles of one to three syllables, longest first.
constexpr std::array<std::string_view, 46> kParticles{
    "으로서", "으로써", "에서는", "에게서", "이라는", "이라고", "까지는", "부터는", "으로", "에서",
    "에게",   "까지",   "부터",   "한테",   "처럼",   "보다",   "이나",   "라도",   "조차", "마저",
    "이란",   "에는",   "에도",   "와는",   "과는",   "로서",   "로써",   "들은",   "들이", "들을",
    "은",     "는",     "이",     "가",     "을",     "를",     "의",     "에",     "와",   "과",
    "도",     "로",     "만",     "께",     "란",     "야"};

Script script_of(char32_t point) noexcept {
  if (point >= 0xAC00 && point <= 0xD7A3) return Script::kHangul;
  if ((point >= 0x3041 && point <= 0x30FF && point != 0x30FB) ||
      (point >= 0x3400 && point <= 0x4DBF) || (point >= 0x4E00 && point <= 0x9FFF)) {
    return Script::kHan;
  }
  const text::CharClass kind = text::class_of(point);
  if (text::is_letter(kind) || kind == text::CharClass::kNumber || kind == text::CharClass::kMark ||
      point == U'_') {
    return Script::kAlphabet;
  }
  return Script::kNone;
}

char32_t lower(char32_t point) noexcept {
  if ((point >= 0xC0 && point <= 0xDE && point != 0xD7) || (point >= 0x391 && point <= 0x3A9) ||
      (point >= 0x410 && point <= 0x42F) || (point >= 0xFF21 && point <= 0xFF3A)) {
    return point + 32;
  }
  if (point >= 0x400 && point <= 0x40F) return point + 80;
  const bool even_is_upper =
      (point >= 0x100 && point <= 0x137) || (point >= 0x14A && point <= 0x177) ||
      (point >= 0x460 && point <= 0x4FF) || (point >= 0x1E00 && point <= 0x1EFF);
  if (even_is_upper && text::class_of(point) == text::CharClass::kUpper) return point + 1;
  const bool odd_is_upper =
      (point >= 0x139 && point <= 0x148) || (point >= 0x179 && point <= 0x17E);
  if (odd_is_upper && text::class_of(point) == text::CharClass::kUpper) return point + 1;
  return point;
}

// `run`: syllables of three bytes each.
std::string_view without_particle(std::string_view run) noexcept {
  for (const std::string_view particle : kParticles) {
    if (run.size() >= particle.size() + 2 * kSyllableBytes && run.ends_with(particle)) {
      return run.substr(0, run.size() - particle.size());
    }
  }
  return run;
}

template <typename Take>
void take_pairs(std::string_view run, Take& take) {
  if (run.size() <= 2 * kSyllableBytes) return take(run);
  for (std::size_t at = 0; at + 2 * kSyllableBytes <= run.size(); at += kSyllableBytes) {
    take(run.substr(at, 2 * kSyllableBytes));
  }
}

constexpr std::array<char, 128> kAsciiWord = [] {
  std::array<char, 128> table{};
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = c;
  for (char c = 'A'; c <= 'Z'; ++c) {
    table[static_cast<std::size_t>(c)] = static_cast<char>(c - 'A' + 'a');
  }
  for (char c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = c;
  table['_'] = '_';
  return table;
}();

// Calls `take(word)` for each word; the view lives until the next call.
template <typename Take>
void each_word(std::string_view text, Take take) {
  std::string word;
  std::size_t at = 0;
  const auto flush_alphabet = [&] {
    if (!word.empty()) take(std::string_view(word));
    word.clear();
  };
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      const char folded = kAsciiWord[byte];
      if (folded != 0) {
        word.push_back(folded);
      } else {
        flush_alphabet();
      }
      ++at;
      continue;
    }
    const text::CodePoint point = text::decode_at(text, at);
    const Script script = point.value == text::kInvalid ? Script::kNone : script_of(point.value);
    if (script == Script::kAlphabet) {
      text::append_utf8(lower(point.value), word);
      at += point.length;
      continue;
    }
    flush_alphabet();
    if (script == Script::kNone) {
      at += point.length;
      continue;
    }
    std::size_t end = at;
    while (end < text.size()) {
      const text::CodePoint next = text::decode_at(text, end);
      if (next.value == text::kInvalid || script_of(next.value) != script) break;
      end += next.length;
    }
    const std::string_view run = text.substr(at, end - at);
    take_pairs(script == Script::kHangul ? without_particle(run) : run, take);
    at = end;
  }
  flush_alphabet();
}

}  // namespace

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found;
  each_word(text, [&found](std::string_view word) { found.emplace_back(word); });
  return found;
}

void append_word_hashes(std::string_view text, std::vector<std::uint64_t>& out) {
  each_word(text, [&out](std::string_view word) { out.push_back(base::hash64(word)); });
}

void append_given_hashes(std::string_view joined, std::vector<std::uint64_t>& out) {
  while (!joined.empty()) {
    const std::size_t end = std::min(joined.find(kWordBreak), joined.size());
    if (end > 0) out.push_back(base::hash64(joined.substr(0, end)));
    joined.remove_prefix(std::min(end + 1, joined.size()));
  }
}

WordCounts count_words(std::string_view text) {
  std::vector<std::uint64_t> all;
  all.reserve(text.size() / 6);
  append_word_hashes(text, all);
  std::sort(all.begin(), all.end());
  WordCounts counts;
  counts.length = static_cast<std::uint32_t>(all.size());
  for (std::size_t at = 0; at < all.size();) {
    std::size_t end = at + 1;
    while (end < all.size() && all[end] == all[at]) ++end;
    counts.words.push_back({all[at], static_cast<std::uint32_t>(end - at)});
    at = end;
  }
  return counts;
}

}  // namespace dure::index
