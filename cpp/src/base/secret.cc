#include "dure/base/secret.h"

#include "dure/base/hash.h"

namespace dure::base {

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    wipe();
    text_ = other.text_;
    other.wipe();
  }
  return *this;
}

std::string Secret::id() const {
  if (text_.empty()) return "none";
  return hex(sha256("dure key id\n" + text_), 4);
}

std::string Secret::redact(std::string_view text) const {
  if (text_.empty()) return std::string(text);
  std::string out;
  std::size_t from = 0;
  // What stands in its place is not looked at again: a key may be "key".
  for (std::size_t at = text.find(text_); at != text.npos; at = text.find(text_, from)) {
    out.append(text.substr(from, at - from)).append("[key]");
    from = at + text_.size();
  }
  return out.append(text.substr(from));
}

void Secret::wipe() noexcept {
  volatile char* bytes = text_.data();
  for (std::size_t i = 0; i < text_.capacity(); ++i) bytes[i] = 0;
  text_.clear();
}

}  // namespace dure::base
