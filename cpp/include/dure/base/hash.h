// dure/base/hash.h - the three hashes the rooms need.
//
// sha256 names contents (chunk ids, cache keys); crc32c guards records and segments against
// damage; hash64 answers "changed?" and spreads keys. Sources: FIPS 180-4, RFC 3720 appendix
// B.4, XXH3 64-bit (Yann Collet's specification, seed 0).
//
// Thread-safe: pure functions.
#ifndef DURE_BASE_HASH_H_
#define DURE_BASE_HASH_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace dure::base {

using Sha256Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256() noexcept;
  void update(std::string_view bytes) noexcept;
  // Call once.
  [[nodiscard]] Sha256Digest finish() noexcept;

 private:
  void block(const std::uint8_t* data) noexcept;

  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> buffer_{};
  std::uint64_t length_ = 0;
};

[[nodiscard]] Sha256Digest sha256(std::string_view bytes) noexcept;

// CRC-32C of `bytes`, continuing from `crc` (0 to start).
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc = 0) noexcept;

// Evenly spread 64-bit hash, stable across platforms and releases.
[[nodiscard]] std::uint64_t hash64(std::string_view bytes) noexcept;

// Lower-case hexadecimal of the first `count` bytes of `digest`.
[[nodiscard]] std::string hex(const Sha256Digest& digest, std::size_t count = 32);

}  // namespace dure::base

#endif  // DURE_BASE_HASH_H_
