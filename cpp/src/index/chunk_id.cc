#include "dure/index/chunk_id.h"

#include <array>

namespace dure::index {
namespace {

std::array<char, 8> u64(std::uint64_t value) noexcept {
  std::array<char, 8> bytes{};
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xFFU);
    value >>= 8U;
  }
  return bytes;
}

std::string_view view(const std::array<char, 8>& bytes) noexcept {
  return {bytes.data(), bytes.size()};
}

}  // namespace

std::string chunk_id(std::string_view document, const ContentHash& content,
                     std::uint64_t occurrence) {
  base::Sha256 hash;
  hash.update(view(u64(document.size())));
  hash.update(document);
  hash.update({reinterpret_cast<const char*>(content.data()), content.size()});
  hash.update(view(u64(occurrence)));
  return base::hex(hash.finish(), 16);
}

std::string document_id(std::string_view text) { return base::hex(base::sha256(text), 16); }

}  // namespace dure::index
