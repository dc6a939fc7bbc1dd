// dure/base/secret.h - a credential: never printed, compared or copied by accident, wiped at the
// end.
//
// Immutable.
#ifndef DURE_BASE_SECRET_H_
#define DURE_BASE_SECRET_H_

#include <string>
#include <string_view>
#include <utility>

namespace dure::base {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  ~Secret() { wipe(); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  Secret(Secret&& other) noexcept : text_(other.text_) { other.wipe(); }
  Secret& operator=(Secret&& other) noexcept;

  [[nodiscard]] bool empty() const noexcept { return text_.empty(); }
  // The only way to the text: the places that call it are the places to review.
  [[nodiscard]] std::string_view reveal() const noexcept { return text_; }
  // Eight hexadecimal digits that tell keys apart and say nothing about them; "none" if empty.
  [[nodiscard]] std::string id() const;
  // `text` with each occurrence of the secret replaced by "[key]".
  [[nodiscard]] std::string redact(std::string_view text) const;

 private:
  void wipe() noexcept;
  std::string text_;
};

}  // namespace dure::base

#endif  // DURE_BASE_SECRET_H_
