#include "index/postings.h"

namespace dure::index {

void append_varint(std::uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80U));
  out.push_back(static_cast<char>(value));
}

bool VarintReader::read(std::uint64_t& value, std::uint64_t most) noexcept {
  value = 0;
  for (unsigned shift = 0; shift < 63 && at_ < bytes_.size(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(bytes_[at_++]);
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value <= most;
  }
  return false;
}

bool VarintReader::read_bytes(std::size_t count, std::string_view& out) noexcept {
  if (count > left()) return false;
  out = bytes_.substr(at_, count);
  at_ += count;
  return true;
}

}  // namespace dure::index
