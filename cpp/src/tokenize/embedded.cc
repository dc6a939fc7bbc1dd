#include "tokenize/embedded.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>

// data/vocab.bin, made by scripts/provenance.py: magic, number of sections, sections. A section:
// four little-endian words (first rank, ranks, bytes of its tokens, packed size), then, where the
// first rank is 0, the bytes that ranks 0 to 255 are, and for each further rank the two tokens that
// merge to it, in as many bits each as the rank has. A rank that does not exist names itself twice.
// Eight bytes of zeros end a section.
//
// So tokens are joined of others: nothing is inflated, and what merges to what is known too.
asm(R"(
  .pushsection .rodata
  .balign 16
  .global dure_vocab_blob
  .hidden dure_vocab_blob
dure_vocab_blob:
  .incbin ")" DURE_VOCAB_BLOB R"("
  .global dure_vocab_blob_end
  .hidden dure_vocab_blob_end
dure_vocab_blob_end:
  .byte 0
  .popsection
)");

extern "C" {
extern const char dure_vocab_blob[];
extern const char dure_vocab_blob_end[];
}

namespace dure::tokenize {
namespace {

constexpr std::string_view kMagic = "DUREVOC2";

constexpr std::size_t kSingles = 256;
constexpr std::size_t kPad = 8;    // zeros behind the bits
constexpr std::size_t kCopy = 16;  // most tokens are shorter: one load and one store

// Ranks of one section, appended to what was read before.
struct Tokens {
  std::vector<std::uint32_t> offsets{0};
  std::string bytes;
  TokenPairs pairs;
};

base::Status damaged() {
  return base::Status(base::Code::kInternal, "the embedded vocabulary is damaged: reinstall dure");
}

std::uint32_t word_at(std::string_view blob, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, blob.data() + at, sizeof(word));
  return word;
}

// The header of section `index` and its packed bytes.
struct Section {
  std::uint32_t first;
  std::uint32_t ranks;
  std::uint32_t size;  // of its tokens
  std::string_view packed;
};

base::Result<Section> section_at(std::size_t index) {
  const std::string_view blob(dure_vocab_blob,
                              static_cast<std::size_t>(dure_vocab_blob_end - dure_vocab_blob));
  if (!blob.starts_with(kMagic)) return base::fail(damaged());
  std::size_t at = kMagic.size() + 4;
  for (std::size_t i = 0;; ++i) {
    if (at + 16 > blob.size()) return base::fail(damaged());
    const std::uint32_t packed_size = word_at(blob, at + 12);
    if (at + 16 + packed_size > blob.size()) return base::fail(damaged());
    if (i == index) {
      return Section{word_at(blob, at), word_at(blob, at + 4), word_at(blob, at + 8),
                     blob.substr(at + 16, packed_size)};
    }
    at += 16 + packed_size;
  }
}

// Copies `count` bytes, and up to kCopy - 1 more.
inline void copy_token(char* to, const char* from, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; i += kCopy) {
    std::array<char, kCopy> part;
    std::memcpy(part.data(), from + i, kCopy);
    std::memcpy(to + i, part.data(), kCopy);
  }
}

// Reads the pairs of the ranks from `begin` on; false if there are too few bits.
bool read_pairs(std::string_view bits, std::size_t begin, TokenPairs& pairs) {
  if (bits.size() < kPad) return false;
  const std::size_t bit_count = 8 * (bits.size() - kPad);
  std::size_t bit = 0;
  for (std::size_t rank = begin; rank < pairs.size(); ++rank) {
    const auto width = static_cast<unsigned>(std::bit_width(rank));
    if (bit + 2 * std::size_t{width} > bit_count) return false;
    std::uint64_t word = 0;  // 2 * width + 7 bits: ranks have 28 bits at most
    std::memcpy(&word, bits.data() + bit / 8, sizeof(word));
    word >>= bit % 8;
    const Rank mask = (Rank{1} << width) - 1;
    pairs.data()[rank] = {static_cast<Rank>(word) & mask, static_cast<Rank>(word >> width) & mask};
    bit += 2 * std::size_t{width};
  }
  return true;
}

// Joins the tokens of the ranks from `begin` on, whose pairs are there; false if these are damaged.
// `tokens` has room for them: its bytes for `room` and kCopy more.
bool join_tokens(std::size_t begin, std::size_t room, Tokens& tokens) {
  const std::size_t end = tokens.pairs.size();
  const TokenPair* const pairs = tokens.pairs.data();
  std::uint32_t* const offsets = tokens.offsets.data();
  char* const bytes = tokens.bytes.data();
  std::size_t at = offsets[begin];
  // The parts lie anywhere: first their places are fetched, then what stands there.
  constexpr std::size_t kPlaces = 32;
  constexpr std::size_t kParts = 16;
  const auto fetch = [&](std::size_t rank) {
    if (rank + kPlaces < end) {
      __builtin_prefetch(offsets + std::min<std::size_t>(pairs[rank + kPlaces].left, rank));
      __builtin_prefetch(offsets + std::min<std::size_t>(pairs[rank + kPlaces].right, rank));
    }
    if (rank + kParts < end) {
      const TokenPair pair = pairs[rank + kParts];
      __builtin_prefetch(bytes + offsets[std::min<std::size_t>(pair.left, rank)]);
      __builtin_prefetch(bytes + offsets[std::min<std::size_t>(pair.right, rank)]);
    }
  };
  for (std::size_t rank = begin; rank < end; ++rank) {
    fetch(rank);
    const TokenPair pair = pairs[rank];
    if (pair.left < rank && pair.right < rank) {
      const std::size_t left = offsets[pair.left + 1] - offsets[pair.left];
      const std::size_t right = offsets[pair.right + 1] - offsets[pair.right];
      if (at + left + right > room) return false;
      copy_token(bytes + at, bytes + offsets[pair.left], left);
      copy_token(bytes + at + left, bytes + offsets[pair.right], right);
      at += left + right;
    } else if (pair.left != rank || pair.right != rank) {
      return false;
    }
    offsets[rank + 1] = static_cast<std::uint32_t>(at);
  }
  return at == room;
}

base::Status read_section(std::size_t index, Tokens& tokens) {
  const base::Result<Section> section = section_at(index);
  if (!section) return section.error();
  std::size_t begin = section->first;
  const std::size_t end = begin + section->ranks;
  if (begin != tokens.pairs.size() || end >= std::size_t{1} << 28U) return damaged();
  std::string_view bits = section->packed;
  const std::size_t room = tokens.offsets.back() + std::size_t{section->size};
  tokens.bytes.resize(room + 2 * kCopy);
  tokens.pairs.resize(end);
  tokens.offsets.resize(end + 1);
  if (begin == 0) {
    if (bits.size() < kSingles || end < kSingles || room < kSingles) return damaged();
    std::memcpy(tokens.bytes.data(), bits.data(), kSingles);
    bits.remove_prefix(kSingles);
    for (Rank rank = 0; rank < kSingles; ++rank) {
      tokens.pairs[rank] = {rank, rank};
      tokens.offsets[rank + 1] = rank + 1;
    }
    begin = kSingles;
  }
  if (!read_pairs(bits, begin, tokens.pairs) || !join_tokens(begin, room, tokens)) return damaged();
  tokens.bytes.resize(room);
  return {};
}

// The pages of the blob are not needed again: the process need not hold them.
void forget_blob() noexcept {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin =
      (reinterpret_cast<std::uintptr_t>(dure_vocab_blob) + page - 1) / page * page;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(dure_vocab_blob_end) / page * page;
  // They are backed by the file: whoever reads them again gets them from there.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

base::Result<std::shared_ptr<const Vocab>> load(Embedded which) {
  // p50k_base is r50k_base and a few ranks more, which are section 1.
  static constexpr std::array<std::size_t, 4> kFirstSection{0, 0, 2, 3};
  Tokens tokens;
  DURE_RETURN_IF_ERROR(read_section(kFirstSection[static_cast<std::size_t>(which)], tokens));
  if (which == Embedded::kP50k) DURE_RETURN_IF_ERROR(read_section(1, tokens));
  base::Result<std::unique_ptr<Vocab>> vocab =
      Vocab::create(std::move(tokens.offsets), std::move(tokens.bytes), std::move(tokens.pairs));
  forget_blob();
  if (!vocab) return base::fail(damaged());
  return std::shared_ptr<const Vocab>(std::move(*vocab));
}

}  // namespace

base::Result<std::shared_ptr<const Vocab>> embedded_vocab(Embedded which) {
  struct Entry {
    std::once_flag once;
    base::Result<std::shared_ptr<const Vocab>> vocab;
  };
  static auto& entries = *new std::array<Entry, 4>;  // for ever, also at interpreter exit
  Entry& entry = entries[static_cast<std::size_t>(which)];
  std::call_once(entry.once, [&] { entry.vocab = load(which); });
  return entry.vocab;
}

}  // namespace dure::tokenize
