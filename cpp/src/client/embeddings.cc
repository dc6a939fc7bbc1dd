#include "dure/client/embeddings.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "json/reader.h"

namespace dure::client {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::array<std::uint8_t, 256> decode_table() {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<std::uint8_t, 256> table{};
  table.fill(0xff);
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    table[static_cast<unsigned char>(kDigits[i])] = static_cast<std::uint8_t>(i);
  }
  return table;
}

// RFC 4648 base64, padded or not, without line breaks. False if it is none.
bool decode_base64(std::string_view text, std::string& out) {
  static constexpr auto kTable = decode_table();
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  if (text.size() % 4 == 1) return false;
  out.clear();
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::uint8_t digit = kTable[static_cast<unsigned char>(c)];
    if (digit == 0xff) return false;
    bits = (bits << 6U) | digit;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>((bits >> static_cast<unsigned>(held)) & 0xffU);
  }
  return true;
}

bool read_row(const json::Value& value, std::vector<float>& row) {
  row.clear();
  if (const auto text = value.string()) {
    std::string bytes;
    if (!decode_base64(*text, bytes) || bytes.size() % sizeof(float) != 0) return false;
    row.resize(bytes.size() / sizeof(float));
    if (!row.empty()) std::memcpy(row.data(), bytes.data(), bytes.size());
  } else {
    for (const json::Value& item : value.items()) {
      const auto number = item.number();
      if (!number) return false;
      row.push_back(static_cast<float>(*number));
    }
  }
  for (const float number : row) {
    if (!std::isfinite(number)) return false;
  }
  return !row.empty();
}

tl::unexpected<base::Status> wrong(const std::string& what) {
  return base::fail(base::Code::kUpstream, "the embeddings reply " + what + ": nothing was stored");
}

}  // namespace

base::Result<Vectors> read_vectors(std::string_view body, std::size_t inputs) {
  json::Parser parser;
  const auto root = parser.parse(body);
  if (!root) return wrong("is " + root.error().message());
  const std::vector<json::Value> data = (*root)["data"].items();
  if (data.size() != inputs) {
    return wrong("has " + std::to_string(data.size()) + " vectors for " + std::to_string(inputs) +
                 " inputs");
  }
  Vectors out;
  std::vector<bool> seen(inputs);
  std::vector<float> row;
  for (const json::Value& item : data) {
    const auto index = item["index"].integer();
    if (!index || *index < 0 || static_cast<std::size_t>(*index) >= inputs ||
        seen[static_cast<std::size_t>(*index)]) {
      return wrong("names an index twice or out of range");
    }
    const auto at = static_cast<std::size_t>(*index);
    seen[at] = true;
    if (!read_row(item["embedding"], row)) {
      return wrong("has a vector that is no list of finite numbers, at index " +
                   std::to_string(at));
    }
    if (out.dimensions == 0) {
      out.dimensions = row.size();
      out.values.resize(inputs * row.size());
    }
    if (row.size() != out.dimensions) return wrong("has vectors of different lengths");
    std::copy(row.begin(), row.end(),
              out.values.begin() + static_cast<std::ptrdiff_t>(at * out.dimensions));
  }
  return out;
}

}  // namespace dure::client
