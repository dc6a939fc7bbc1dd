#include "tokenize/embedded.h"

#include <zlib.h>

#include <array>
#include <cstring>
#include <mutex>
#include <string_view>

// data/vocab.bin, made by scripts/provenance.py: magic, number of sections, sections. A section:
// four little-endian words (first rank, ranks, raw size, packed size), then raw deflate of one
// length byte for each rank and the bytes of all.
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

constexpr std::string_view kMagic = "DUREVOC1";

// Ranks of one section, appended to what was read before.
struct Tokens {
  std::vector<std::uint16_t> lengths;
  std::string bytes;
};

base::Status damaged() {
  return base::Status(base::Code::kInternal, "the embedded vocabulary is damaged: reinstall dure");
}

std::uint32_t word_at(std::string_view blob, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, blob.data() + at, sizeof(word));
  return word;
}

bool inflate_raw(std::string_view packed, std::string& raw) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(raw.data());
  stream.avail_out = static_cast<uInt>(raw.size());
  const int result = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return result == Z_STREAM_END && stream.avail_out == 0;
}

// The header of section `index` and its packed bytes.
struct Section {
  std::uint32_t first;
  std::uint32_t ranks;
  std::uint32_t raw_size;
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

base::Status read_section(std::size_t index, Tokens& tokens) {
  const base::Result<Section> section = section_at(index);
  if (!section) return section.error();
  std::string raw(section->raw_size, '\0');
  if (section->first != tokens.lengths.size() || section->ranks > raw.size() ||
      !inflate_raw(section->packed, raw)) {
    return damaged();
  }
  for (std::size_t i = 0; i < section->ranks; ++i) {
    tokens.lengths.push_back(static_cast<unsigned char>(raw[i]));
  }
  if (tokens.bytes.empty()) {
    raw.erase(0, section->ranks);
    tokens.bytes = std::move(raw);
  } else {
    tokens.bytes.append(raw, section->ranks);
  }
  return {};
}

base::Result<std::shared_ptr<const Vocab>> load(Embedded which) {
  // p50k_base is r50k_base and a few ranks more, which are section 1.
  static constexpr std::array<std::size_t, 4> kFirstSection{0, 0, 2, 3};
  Tokens tokens;
  DURE_RETURN_IF_ERROR(read_section(kFirstSection[static_cast<std::size_t>(which)], tokens));
  if (which == Embedded::kP50k) DURE_RETURN_IF_ERROR(read_section(1, tokens));
  base::Result<std::unique_ptr<Vocab>> vocab =
      Vocab::create(std::move(tokens.lengths), std::move(tokens.bytes), /*canonical=*/true);
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
