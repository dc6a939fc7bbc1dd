#include "chunk/planner.h"

#include <algorithm>

#include "dure/base/cancel.h"
#include "dure/base/hash.h"
#include "dure/text/byte_set.h"
#include "dure/text/sentences.h"

namespace dure::chunk {
namespace {

constexpr double kWindow = 0.45;  // of the cap: a cut nearer to the start makes too small a chunk
constexpr double kWide = 0.33;  // the same for paragraphs: what belongs together is worth less text
constexpr double kNear = 0.8;   // paragraphs up to here come before those beyond
constexpr std::size_t kBeyond = 4096;              // bytes after a cut that may have a say in it
constexpr std::size_t kLongestSpace = 64U * 1024;  // bytes of space that are looked at as one
constexpr text::ByteSet kNoAsciiSpace = [] {
  text::ByteSet set;
  for (unsigned byte = 0; byte < 256; ++byte)
    if (byte != ' ' && (byte < '\t' || byte > '\r')) set.add(static_cast<unsigned char>(byte));
  return set;
}();
constexpr std::size_t kNone = static_cast<std::size_t>(-1);
constexpr std::size_t kMostUnitBytes = 256;  // no token of a vocabulary is longer
constexpr std::size_t kMostCounted = 4096;   // nor a word of a caller's tokenizer

// For each heading the one above it: the last before it of a higher rank.
std::vector<std::size_t> parents_of(const std::vector<Heading>& headings) {
  std::vector<std::size_t> parents;
  for (std::size_t i = 0; i < headings.size(); ++i) {
    std::size_t parent = i == 0 ? kNone : i - 1;
    while (parent != kNone && headings[parent].level >= headings[i].level) parent = parents[parent];
    parents.push_back(parent);
  }
  return parents;
}

// The headings of `prefix` as they are embedded.
std::string path_text(const Prefix& prefix) {
  constexpr std::string_view kBetween = " > ";
  constexpr std::string_view kShortened = "… > ";
  std::size_t bytes = kShortened.size() + 2;
  for (const std::string& title : prefix.heading_path) bytes += title.size() + kBetween.size();
  std::string text;
  text.reserve(bytes);
  if (prefix.shortened) text += kShortened;
  for (const std::string& title : prefix.heading_path) {
    if (&title != &prefix.heading_path.front()) text += kBetween;
    text += title;
  }
  return text += "\n\n";
}

}  // namespace

Planner::Planner(const Options& options, Mode mode, std::string_view text, const Outline& outline,
                 std::span<const std::size_t> page_starts, Before before)
    : options_(options),
      mode_(mode),
      text_(text),
      outline_(outline),
      page_starts_(page_starts),
      before_(before),
      offsets_(text),
      ruler_(make_ruler(options, text, offsets_)),
      boundaries_(text, outline, options) {
  out_.prefixes.emplace_back();
  parents_ = parents_of(outline.headings);
}

base::Result<Chunks> Planner::run(const Stretch& stretch) {
  std::size_t previous_body = stretch.previous;
  std::size_t body = stretch.start;
  base::CancelTick<16> tick;
  while (body < text_.size() && out_.size() < stretch.rows) {
    tick();
    if (options_.trim) body = trim_start(body, stretch.final);
    if (body == text_.size()) break;
    auto piece = next_piece(body, previous_body);
    if (!piece) return base::fail(std::move(piece.error()));
    if (!stretch.final &&
        (undecided_ || furthest_ >= stretch.settled || furthest_ + kBeyond >= text_.size()))
      break;
    if (piece->stop > body) append(*piece);  // else nothing but indentation
    previous_body = body;
    body = piece->end;
    ruler_->forget_before(previous_body);
  }
  next_ = body;
  previous_ = previous_body;
  return std::move(out_);
}

// Overlap and prefix are given up, in this order, when they leave no room for a grapheme.
base::Result<Planner::Piece> Planner::next_piece(std::size_t body, std::size_t previous_body) {
  const auto span = overlap_start(body, previous_body);
  if (!span) return base::fail(span.error());
  for (std::size_t start : {*span, body}) {
    const auto prefix = prefix_at(start);
    if (!prefix) return base::fail(prefix.error());
    auto piece = fill({start, body, body, body, 0, *prefix});
    if (!piece) return piece;
    if (piece->end > body && text::is_grapheme_boundary(text_, piece->end, body)) return piece;
    if (start == body) break;
  }
  auto piece = fill({body, body, body, body, 0, 0});
  if (piece && piece->end == body) return base::fail(too_large(body));
  return piece;
}

base::Status Planner::too_large(std::size_t body) {
  const std::size_t length = text::decode_at(text_, body).length;
  const auto size = ruler_->size(body, body + length);
  if (!size) return size.error();
  const auto position = static_cast<std::int64_t>(before_.chars + offsets_.to_char(body));
  return base::invalid_argument("text", "the character at offset " + std::to_string(position) +
                                            " counts " + std::to_string(*size) +
                                            ", more than the cap of " +
                                            std::to_string(options_.max) + ": raise the cap")
      .with("position", position)
      .with("count", static_cast<std::int64_t>(*size));
}

base::Result<Planner::Piece> Planner::fill(Piece piece) {
  const std::string_view prefix = out_.prefixes[piece.prefix].text;
  const auto extra = ruler_->cost(prefix, piece.span);
  if (!extra) return base::fail(extra.error());
  if (*extra >= options_.max) return piece;
  auto high = ruler_->reach(piece.span, options_.max - *extra);
  if (!high) return base::fail(high.error());
  if (*high <= piece.body) {  // perhaps one character still fits, by an exact count
    *high = std::min(text_.size(), piece.body + text::decode_at(text_, piece.body).length);
  }
  std::size_t limit = *high;
  if (options_.trim) limit = skip_space(limit);
  if (limit - *high > kLongestSpace) limit = text::char_start(text_, *high + kLongestSpace);
  limit = std::min(limit, next_page(piece.body));
  furthest_ = std::max(furthest_, limit);
  for (std::size_t tries = 0; limit > piece.body; ++tries) {
    const auto end = cut(piece, *high, limit);
    if (!end) return base::fail(end.error());
    const std::size_t stop = options_.trim ? trim_end(piece.body, *end) : *end;
    const auto size = ruler_->size_with(prefix, piece.span, stop);
    if (!size) return base::fail(size.error());
    if (*size <= options_.max) {
      piece.end = *end;
      piece.stop = stop;
      piece.size = *size;
      return finish_grapheme(piece);
    }
    // Counts of parts may exceed that of the whole: step back, ever faster.
    const std::size_t step = tries < 3 ? 1 : 1 + (stop - piece.body) / 8;
    limit = text::char_start(text_, stop > piece.body + step ? stop - step : piece.body);
  }
  return piece;
}

// Reaching from piece to piece of the encoding may stop inside a first grapheme that still fits.
base::Result<Planner::Piece> Planner::finish_grapheme(Piece piece) {
  const bool at_page = mode_ == Mode::kPage && piece.end == next_page(piece.body);
  if (at_page || text::is_grapheme_boundary(text_, piece.end, piece.body)) return piece;
  const std::size_t limit = std::min(text_.size(), piece.end + 8 * options_.max + 64);
  const std::string_view near = text_.substr(0, text::char_start(text_, limit));
  const std::size_t end = text::next_grapheme(near, piece.body);
  if (end <= piece.end || (end == near.size() && end < text_.size())) return piece;
  if (end > next_page(piece.body)) return piece;  // a page may begin inside a grapheme
  const auto size = ruler_->size_with(out_.prefixes[piece.prefix].text, piece.span, end);
  if (!size) return base::fail(size.error());
  if (*size <= options_.max) {
    piece.end = piece.stop = end;
    piece.size = *size;
  }
  return piece;
}

// `reach`: where the cap ends; `high`: past the space there.
base::Result<std::size_t> Planner::cut(const Piece& piece, std::size_t reach, std::size_t high) {
  if (high >= text_.size()) return text_.size();
  if (mode_ == Mode::kPage && high == next_page(piece.body)) return high;
  const auto length = static_cast<double>(std::min(reach, high) - piece.body);
  const auto at_share = [&](double share) {
    const auto at = piece.body + static_cast<std::size_t>(share * length);
    return std::min(text::char_start(text_, at), high - 1);
  };
  Window window{piece.body, at_share(kWide), at_share(kWindow), at_share(kNear), high};
  if (mode_ == Mode::kDelimiter) return boundaries_.pick_delimiter(window);
  const auto spared = spare_atom(piece.body, high);
  if (!spared || *spared == high) return spared ? boundaries_.pick(window) : spared;
  window.high = *spared;
  const std::size_t mark = boundaries_.pick_mark(window);
  return mark != 0 ? mark : *spared;
}

base::Result<std::size_t> Planner::spare_atom(std::size_t body, std::size_t high) {
  const auto& atoms = outline_.atoms;
  const auto after = [](std::size_t at, const Atom& atom) { return at <= atom.start; };
  auto atom = std::upper_bound(atoms.begin(), atoms.end(), high, after);
  if (atom == atoms.begin()) return high;
  --atom;  // the last that starts before high
  if (atom->end <= high || atom->start <= body) return high;
  const auto index = static_cast<std::size_t>(atom - atoms.begin());
  if (index != atom_) {
    const auto fits = atom_fits(*atom);
    if (!fits) return base::fail(fits.error());
    atom_ = index;
    atom_fits_ = *fits;
  }
  if (!atom_fits_) return high;
  return atom->lead > body ? atom->lead : atom->start;
}

// One whose end is not seen fits nowhere, or the planner is undecided.
base::Result<bool> Planner::atom_fits(const Atom& atom) {
  if (atom.end - atom.start > most_bytes()) return false;
  const auto size = ruler_->size(atom.start, trim_end(atom.start, atom.end));
  if (!size) return base::fail(size.error());
  undecided_ = atom.open && *size <= 2 * options_.max;  // by a caller's tokenizer
  if (atom.open && !options_.count) undecided_ = true;
  return *size <= options_.max;
}

// Bytes of a text beyond which it cannot fit.
std::size_t Planner::most_bytes() const {
  switch (options_.unit) {
    case Unit::kBytes:
      return options_.max + kLongestSpace;
    case Unit::kChars:
      return 4 * options_.max + kLongestSpace;
    case Unit::kTokens:
      break;
  }
  return options_.count ? text_.size() : options_.max * kMostUnitBytes + kLongestSpace;
}

base::Result<std::size_t> Planner::overlap_start(std::size_t body, std::size_t previous_body) {
  if (options_.overlap == 0 || body == 0) return body;
  auto low = ruler_->reach_back(body, options_.overlap);
  if (!low) return low;
  std::size_t from = std::max(*low, previous_body);
  const Heading* heading = heading_before(body + 1);
  if (heading != nullptr) from = std::max(from, heading->at);
  if (const Repeat* repeat = repeat_at(body)) from = std::max(from, repeat->header_end);
  if (mode_ == Mode::kPage) {
    const auto page = std::upper_bound(page_starts_.begin(), page_starts_.end(), body);
    if (page != page_starts_.begin()) from = std::max(from, *(page - 1));
  }
  while (from < body) {
    const bool at_start = from == 0 || from == previous_body;
    std::size_t start = at_start ? from : boundaries_.first_start(from, body);
    start = std::min(skip_space(start), body);
    if (start == body) return body;
    const auto size = ruler_->size(start, body);
    if (!size) return size;
    if (*size <= options_.overlap) return start;
    from = start + text::decode_at(text_, start).length;
  }
  return body;
}

base::Result<std::uint32_t> Planner::prefix_at(std::size_t position) {
  const Heading* heading = options_.heading_path ? heading_before(position + 1) : nullptr;
  const Repeat* repeat = repeat_at(position);
  if (heading == nullptr && repeat == nullptr) return 0U;
  // A heading at the start of the span stands in the text: only those above it are embedded.
  const bool own = heading != nullptr && heading->at == position;
  const std::size_t number =
      heading == nullptr
          ? kNone
          : 2 * static_cast<std::size_t>(heading - outline_.headings.data()) + (own ? 1 : 0);
  const std::size_t header = repeat == nullptr ? kNone : repeat->header_start;
  const auto [entry, is_new] = prefix_of_.try_emplace({number, header}, 0U);
  if (!is_new) return entry->second;
  auto prefix = make_prefix(number, repeat);
  if (!prefix) return base::fail(prefix.error());
  if (prefix->text.empty() && !prefix->shortened) return 0U;
  entry->second = static_cast<std::uint32_t>(out_.prefixes.size());
  out_.prefixes.push_back(std::move(*prefix));
  return entry->second;
}

// Path and header get a third of the cap each (a half, when alone); the path is shortened from the
// top, a header that does not fit is left out.
base::Result<Prefix> Planner::make_prefix(std::size_t number, const Repeat* repeat) {
  Prefix out;
  const std::size_t share = options_.max / (repeat != nullptr ? 3 : 2);
  if (number != kNone) {
    const auto& headings = outline_.headings;
    const std::size_t innermost = number / 2;
    // A title that no share can hold is not even copied: it would be, for each heading below it.
    const std::size_t most = share * (options_.count ? kMostCounted : kMostUnitBytes);
    std::size_t bytes = 0;
    out.heading_path.reserve(6);
    for (std::size_t at = number % 2 == 0 ? innermost : parents_[innermost]; at != kNone;
         at = parents_[at]) {
      if (headings[at].title.empty()) continue;
      bytes += headings[at].title.size();
      out.shortened = bytes > most;
      if (out.shortened) break;
      out.heading_path.push_back(headings[at].title);
    }
    std::reverse(out.heading_path.begin(), out.heading_path.end());
  }
  while (!out.heading_path.empty()) {
    out.text = path_text(out);
    const auto size = ruler_->prefix_size(out.text);
    if (!size) return base::fail(size.error());
    if (*size <= share) break;
    out.heading_path.erase(out.heading_path.begin());
    out.shortened = true;
    out.text.clear();
  }
  if (repeat != nullptr) {
    const auto size = ruler_->prefix_size(repeat->header);
    if (!size) return base::fail(size.error());
    if (*size <= options_.max / (out.text.empty() ? 2 : 3)) out.text += repeat->header;
  }
  return out;
}

void Planner::append(const Piece& piece) {
  const auto column = [](std::size_t value) { return static_cast<std::int64_t>(value); };
  out_.byte_start.push_back(column(piece.span));
  out_.byte_end.push_back(column(piece.stop));
  out_.char_start.push_back(column(offsets_.to_char(piece.span)));
  out_.char_end.push_back(column(offsets_.to_char(piece.stop)));
  out_.body_start.push_back(column(piece.body));
  if (options_.unit == Unit::kTokens) out_.token_count.push_back(column(piece.size));
  const auto page = std::upper_bound(page_starts_.begin(), page_starts_.end(), piece.body);
  out_.page.push_back(before_.pages + (page - page_starts_.begin()));
  out_.prefix.push_back(piece.prefix);
  const std::string_view span = text_.substr(piece.span, piece.stop - piece.span);
  const std::string& prefix = out_.prefixes[piece.prefix].text;
  if (!prefix.empty()) joined_.assign(prefix).append(span);
  out_.hash64.push_back(base::hash64(prefix.empty() ? span : joined_));
}

// Long runs are remembered, so that asking about one again and again stays linear.
std::size_t Planner::skip_space(std::size_t at) {
  if (at >= skipped_.start && at < skipped_.end) return skipped_.end;
  const std::size_t start = at;
  for (;;) {
    at = text::find_byte(kNoAsciiSpace, text_, at, text_.size());
    const std::size_t length = text::space_length(text_, at);
    if (length == 0) break;
    at += length;
  }
  if (at > start && !text::is_grapheme_boundary(text_, at, start))  // a mark on the last space
    at = text::char_start(text_, at - 1);
  if (at > start + 64) skipped_ = {start, at};
  return at;
}

std::size_t Planner::trim_end(std::size_t from, std::size_t at) {
  if (at > trimmed_.start && at <= trimmed_.end) return std::max(from, trimmed_.start);
  const std::size_t end = at;
  while (at > from) {
    const std::size_t length = text::space_length_before(text_, at);
    if (length == 0) break;
    at -= length;
  }
  while (at < end && !text::is_grapheme_boundary(text_, at, from))
    at += text::space_length(text_, at);
  if (end > at + 64) trimmed_ = {at, end};
  return at;
}

// Past space; where indentation matters, back to the start of the line. Not `final`: an indentation
// that the text may go on with is kept.
std::size_t Planner::trim_start(std::size_t at, bool final) {
  const std::size_t start = skip_space(at);
  if (!outline_.keeps_indentation || start == at) return start;
  if (start == text_.size() && final) return start;
  const std::size_t feed = text_.substr(at, start - at).rfind('\n');
  const std::size_t line = feed != std::string_view::npos     ? at + feed + 1
                           : at == 0 || text_[at - 1] == '\n' ? at
                                                              : start;
  return start - line > kLongestSpace ? start : line;
}

std::size_t Planner::next_page(std::size_t body) const {
  if (mode_ != Mode::kPage) return text_.size();
  const auto page = std::upper_bound(page_starts_.begin(), page_starts_.end(), body);
  return page == page_starts_.end() ? text_.size() : *page;
}

const Heading* Planner::heading_before(std::size_t position) const {
  const auto& headings = outline_.headings;
  const auto later = [](std::size_t at, const Heading& heading) { return at <= heading.at; };
  const auto heading = std::upper_bound(headings.begin(), headings.end(), position, later);
  return heading == headings.begin() ? nullptr : &*(heading - 1);
}

const Repeat* Planner::repeat_at(std::size_t position) const {
  const auto& repeats = outline_.repeats;
  const auto later = [](std::size_t at, const Repeat& repeat) { return at < repeat.header_end; };
  const auto repeat = std::upper_bound(repeats.begin(), repeats.end(), position, later);
  if (repeat == repeats.begin() || position >= (repeat - 1)->end) return nullptr;
  return &*(repeat - 1);
}

}  // namespace dure::chunk
