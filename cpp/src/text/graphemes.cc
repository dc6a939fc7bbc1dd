#include "dure/text/sentences.h"
#include "text/break_classes.h"

namespace dure::text {
namespace internal {
#include "text/break_tables.inc"
}  // namespace internal

namespace {

bool is_control(Grapheme kind) noexcept {
  return kind == Grapheme::kControl || kind == Grapheme::kCr || kind == Grapheme::kLf;
}

// Rules GB6 to GB8: Hangul syllables out of jamo.
bool joins_hangul(Grapheme left, Grapheme right) noexcept {
  switch (left) {
    case Grapheme::kL:
      return right == Grapheme::kL || right == Grapheme::kV || right == Grapheme::kLv ||
             right == Grapheme::kLvt;
    case Grapheme::kLv:
    case Grapheme::kV:
      return right == Grapheme::kV || right == Grapheme::kT;
    case Grapheme::kLvt:
    case Grapheme::kT:
      return right == Grapheme::kT;
    default:
      return false;
  }
}

// GB11: a pictograph, Extend*, and the ZWJ that ends at `position`.
bool follows_pictograph(std::string_view text, std::size_t position, std::size_t known) noexcept {
  std::size_t at = before(text, position);  // the ZWJ
  while (at > known) {
    at = before(text, at);
    const Grapheme kind = grapheme_class(decode_at(text, at).value);
    if (kind != Grapheme::kExtend) return kind == Grapheme::kPictographic;
  }
  return false;
}

// GB12, GB13: an odd number of regional indicators before `position`.
bool completes_flag(std::string_view text, std::size_t position, std::size_t known) noexcept {
  bool odd = false;
  for (std::size_t at = position; at > known; odd = !odd) {
    at = before(text, at);
    if (grapheme_class(decode_at(text, at).value) != Grapheme::kRegional) break;
  }
  return odd;
}

}  // namespace

bool is_grapheme_boundary(std::string_view text, std::size_t position, std::size_t known) noexcept {
  if (position == 0 || position >= text.size()) return true;
  const auto last = static_cast<unsigned char>(text[position - 1]);
  const auto first = static_cast<unsigned char>(text[position]);
  if (last < 0x80 && first < 0x80) return !(last == '\r' && first == '\n');
  const Grapheme left = grapheme_class(decode_at(text, before(text, position)).value);
  const Grapheme right = grapheme_class(decode_at(text, position).value);
  if (is_control(left) || is_control(right)) return true;
  if (right == Grapheme::kExtend || right == Grapheme::kZwj || right == Grapheme::kSpacingMark)
    return false;
  if (left == Grapheme::kPrepend || joins_hangul(left, right)) return false;
  if (left == Grapheme::kZwj && right == Grapheme::kPictographic)
    return !follows_pictograph(text, position, known);
  if (left == Grapheme::kRegional && right == Grapheme::kRegional)
    return !completes_flag(text, position, known);
  return true;
}

std::size_t grapheme_floor(std::string_view text, std::size_t position,
                           std::size_t known) noexcept {
  if (position >= text.size()) return text.size();
  while (position > known && is_continuation(text[position])) --position;
  while (position > known && !is_grapheme_boundary(text, position, known))
    position = before(text, position);
  return position > known ? position : known;
}

std::size_t next_grapheme(std::string_view text, std::size_t start) noexcept {
  std::size_t at = start + decode_at(text, start).length;
  while (at < text.size() && !is_grapheme_boundary(text, at, start))
    at += decode_at(text, at).length;
  return at;
}

std::size_t space_length(std::string_view text, std::size_t position) noexcept {
  if (position >= text.size()) return 0;
  const auto lead = static_cast<unsigned char>(text[position]);
  if (lead < 0x80) return lead == ' ' || (lead >= '\t' && lead <= '\r') ? 1 : 0;
  if (lead != 0xC2 && (lead < 0xE1 || lead > 0xE3)) return 0;
  const CodePoint point = decode_at(text, position);
  const char32_t c = point.value;
  const bool space = c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
                     c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
  return space ? point.length : 0;
}

std::size_t space_length_before(std::string_view text, std::size_t position) noexcept {
  if (position == 0) return 0;
  return space_length(text, before(text, position));
}

}  // namespace dure::text
