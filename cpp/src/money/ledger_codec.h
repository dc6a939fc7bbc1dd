// src/money/ledger_codec.h - bytes of the ledger file; the format is told in money/ledger.h.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_MONEY_LEDGER_CODEC_H_
#define DURE_SRC_MONEY_LEDGER_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "dure/base/result.h"
#include "dure/money/ledger.h"

namespace dure::money {

inline constexpr std::size_t kHeaderBytes = 40;
// Whether a file was given its space and nothing else yet: its process begins it, or died there.
[[nodiscard]] inline bool is_blank(std::string_view bytes) noexcept {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}
inline constexpr std::uint32_t kFormatVersion = 1;

struct FileHeader {
  std::uint64_t epoch = 0;
  std::int64_t begun_us = 0;
  std::uint64_t process = 0;
};

[[nodiscard]] std::string encode_header(const FileHeader& header);
// Fails with kCorrupt, or kIo leaf StoreVersionError for a newer format.
// REQUIRES: at least kHeaderBytes.
[[nodiscard]] base::Result<FileHeader> decode_header(std::string_view bytes,
                                                     const std::string& path);

// Appends the record's bytes. Its epoch is not written: the file's header has it.
void encode(const Record& record, std::string& out);

// Reads the record at `offset` and moves `offset` behind it; reuses the memory of `record`. False:
// the bytes from there on form no record with this seq (end, torn or damaged); `offset` stays.
[[nodiscard]] bool decode_next(std::string_view bytes, std::size_t& offset, std::uint64_t epoch,
                               std::uint64_t seq, Record& record);

// The type of the record at `offset`, unchecked, and moves `offset` behind it; 0: there is none.
[[nodiscard]] std::uint8_t skip_record(std::string_view bytes, std::size_t& offset) noexcept;

// True if a sound record with a higher seq lies anywhere behind `offset`: what is there is damage,
// not a torn tail.
[[nodiscard]] bool has_record_after(std::string_view bytes, std::size_t offset, std::uint64_t seq);

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_LEDGER_CODEC_H_
