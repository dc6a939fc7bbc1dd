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
  std::string out(text);
  if (text_.empty()) return out;
  for (std::size_t at = out.find(text_); at != std::string::npos; at = out.find(text_, at)) {
    out.replace(at, text_.size(), "[key]");
  }
  return out;
}

void Secret::wipe() noexcept {
  volatile char* bytes = text_.data();
  for (std::size_t i = 0; i < text_.capacity(); ++i) bytes[i] = 0;
  text_.clear();
}

}  // namespace dure::base
