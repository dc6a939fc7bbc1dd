// json/reader.h - reads JSON at simdjson's speed behind a small, light interface.
//
//   json::Parser parser;
//   base::Result<json::Value> reply = parser.parse(body);
//   if (!reply) return base::fail(reply.error());
//   std::string_view model = (*reply)["model"].string_or("");
//
// A Value is a position in the parsed text: two words, cheap to copy. What is missing or of
// another kind answers `missing`, so chains need no checks: v["choices"][0]["delta"]["content"].
//
// Parser: one thread at a time. A Value lives until its Parser parses again or dies; it may be read
// from several threads meanwhile.
#ifndef DURE_JSON_READER_H_
#define DURE_JSON_READER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/base/result.h"

namespace dure::json {

enum class Kind : std::uint8_t {
  kMissing,
  kNull,
  kBool,
  kInteger,
  kReal,
  kString,
  kArray,
  kObject
};

class Value {
 public:
  Value() = default;  // missing

  [[nodiscard]] Kind kind() const noexcept;
  [[nodiscard]] bool missing() const noexcept { return !present_; }
  // Missing or null: what an optional field says when it says nothing.
  [[nodiscard]] bool absent() const noexcept;
  [[nodiscard]] bool is_object() const noexcept { return kind() == Kind::kObject; }
  [[nodiscard]] bool is_array() const noexcept { return kind() == Kind::kArray; }

  [[nodiscard]] std::optional<bool> boolean() const noexcept;
  // Also a real without fraction within the range.
  [[nodiscard]] std::optional<std::int64_t> integer() const noexcept;
  [[nodiscard]] std::optional<double> number() const noexcept;
  [[nodiscard]] std::optional<std::string_view> string() const noexcept;
  [[nodiscard]] std::string_view string_or(std::string_view fallback) const noexcept;

  // The member `key` (the first, if it is written twice) or missing.
  [[nodiscard]] Value operator[](std::string_view key) const noexcept;
  // The element `index` or missing. Linear in `index`.
  [[nodiscard]] Value operator[](std::size_t index) const noexcept;
  // Elements of an array, else nothing; members of an object in their order, else nothing.
  [[nodiscard]] std::vector<Value> items() const;
  [[nodiscard]] std::vector<std::pair<std::string_view, Value>> members() const;
  [[nodiscard]] std::size_t size() const noexcept;

  // The value as JSON text without spaces. Empty if missing.
  [[nodiscard]] std::string text() const;

 private:
  friend class Parser;
  friend struct Access;
  std::array<std::uintptr_t, 2> at_{};  // a simdjson::dom::element
  bool present_ = false;
};

class Parser {
 public:
  static constexpr std::size_t kMaxDepth = 256;

  // `max_bytes`: longer texts are refused.
  explicit Parser(std::size_t max_bytes = std::size_t{1} << 30U);
  ~Parser();
  Parser(Parser&&) noexcept;
  Parser& operator=(Parser&&) noexcept;

  // Fails with kInvalidArgument unless `text` is one JSON value (RFC 8259) in valid UTF-8 of at
  // most kMaxDepth levels. Copies what it needs. An integer beyond 64 bits is read as the nearest
  // real, a number beyond every real as the largest: neither makes the rest unreadable.
  [[nodiscard]] base::Result<Value> parse(std::string_view text);

 private:
  struct Impl;
  static std::unique_ptr<Impl>& spare() noexcept;
  std::unique_ptr<Impl> impl_;
};

// The path of a member whose name its object holds already, as in "messages[0].role"; names are
// compared as they read, not as they are written. None: every object names each member once.
// Readers differ in which of two they obey, so what is to be agreed on must not have any.
[[nodiscard]] std::optional<std::string> find_duplicate(const Value& root);

}  // namespace dure::json

#endif  // DURE_JSON_READER_H_
