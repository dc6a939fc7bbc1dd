// json/writer.h - writes compact JSON (RFC 8259) into one string.
//
//   json::Writer out;
//   out.begin_object(); out.key("model"); out.string("gpt-4o"); out.end_object();
//   send(std::move(out).take());
//
// The caller keeps the grammar (a key before each member's value); commas are written here.
//
// One thread at a time.
#ifndef DURE_JSON_WRITER_H_
#define DURE_JSON_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace dure::json {

class Writer {
 public:
  Writer() = default;
  explicit Writer(std::size_t reserve) { text_.reserve(reserve); }

  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);

  // `text` is valid UTF-8.
  void string(std::string_view text);
  void integer(std::int64_t value);
  // REQUIRES: `value` is finite. Written with the fewest digits that read back the same.
  void real(double value);
  void boolean(bool value) { raw(value ? "true" : "false"); }
  void null() { raw("null"); }
  // `json` is one JSON value already, or the digits of a number.
  void raw(std::string_view json);

  [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] std::string take() && { return std::move(text_); }

 private:
  void open(char bracket);
  void close(char bracket);
  void separate();

  std::string text_;
  bool needs_comma_ = false;
};

// Appends `text` with its quotes and escapes.
void append_quoted(std::string& out, std::string_view text);

}  // namespace dure::json

#endif  // DURE_JSON_WRITER_H_
