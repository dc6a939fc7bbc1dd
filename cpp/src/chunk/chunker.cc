#include "dure/chunk/chunker.h"

#include <algorithm>
#include <array>
#include <utility>

#include "chunk/lines.h"
#include "chunk/outline.h"
#include "chunk/planner.h"
#include "dure/text/utf8.h"

namespace dure::chunk {
namespace {

constexpr std::array<std::pair<std::string_view, Mode>, 8> kModes{
    {{"text", Mode::kText},
     {"markdown", Mode::kMarkdown},
     {"html", Mode::kHtml},
     {"code", Mode::kCode},
     {"csv", Mode::kCsv},
     {"jsonl", Mode::kJsonl},
     {"page", Mode::kPage},
     {"delimiter", Mode::kDelimiter}}};
constexpr std::size_t kProbe = 64 * 1024;

Outline outline_cuts(std::span<const Cut> cuts) {
  Outline out;
  out.has_sentences = out.has_paragraphs = false;
  out.keeps_indentation = true;
  for (const Cut& cut : cuts) out.marks.push_back({cut.at, cut.level});
  return out;
}

bool has_empty(const std::vector<std::string>& list) {
  return std::any_of(list.begin(), list.end(), [](const auto& one) { return one.empty(); });
}

// Form feeds part the pages of a text without a page map.
std::vector<std::size_t> pages_by_form_feed(std::string_view text) {
  std::vector<std::size_t> starts{0};
  for (std::size_t at = text.find('\f'); at != std::string_view::npos; at = text.find('\f', at + 1))
    if (at + 1 < text.size()) starts.push_back(at + 1);
  return starts;
}

bool looks_like_html(std::string_view text) {
  const std::string_view start = strip(text).substr(0, 15);
  std::string low(start);
  for (char& c : low)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return low.starts_with("<!doctype html") || low.starts_with("<html");
}

bool looks_like_jsonl(std::string_view text) {
  Lines lines(text);
  std::size_t records = 0;
  for (Line line; lines.next(line) && records < 3;) {
    if (line.blank) continue;
    const std::string_view body = strip(line.body);
    if (body.front() != '{' || (body.back() != '}' && line.next < text.size())) return false;
    ++records;
  }
  return records >= 2;
}

// A fence, a table, or a heading between blank lines (comments of code are followed by code).
bool looks_like_markdown(std::string_view text) {
  const auto scanner = scan_markdown(true, true);
  scanner->read(text, true);
  const Outline& outline = scanner->outline();
  if (!outline.repeats.empty() || !outline.atoms.empty()) return true;
  return std::any_of(outline.headings.begin(), outline.headings.end(), [text](const auto& one) {
    const std::size_t feed = text.find('\n', one.at);
    if (feed == std::string_view::npos) return false;
    const std::size_t next = text.find_first_not_of(" \t\r", feed + 1);
    const bool blank_after = next != std::string_view::npos && text[next] == '\n';
    const bool blank_before = one.at < 2 || text[one.at - 2] == '\n' || text[one.at - 2] == '\r';
    return blank_after && blank_before;
  });
}

}  // namespace

base::Result<Mode> mode_of(std::string_view name) {
  std::string known = "auto";
  for (const auto& [word, mode] : kModes) {
    if (word == name) return mode;
    known.append(", ").append(word);
  }
  return base::fail(base::invalid_argument(
      "mode", "mode=\"" + std::string(name) + "\" is unknown: use one of " + known));
}

std::unique_ptr<OutlineScanner> scanner_of(Mode mode, const Options& options) {
  switch (mode) {
    case Mode::kMarkdown:
      return scan_markdown(options.keep_tables, options.keep_fences);
    case Mode::kHtml:
      return scan_html(options.keep_tables, options.keep_fences);
    case Mode::kCode:
      return scan_code();
    case Mode::kCsv:
      return scan_csv();
    case Mode::kJsonl:
      return scan_jsonl();
    case Mode::kText:
    case Mode::kPage:
    case Mode::kDelimiter:
      break;
  }
  return scan_plain();
}

base::Status not_utf8(std::size_t position) {
  return base::invalid_argument("text", "the bytes are not UTF-8 at offset " +
                                            std::to_string(position) + ": decode them first")
      .with("position", static_cast<std::int64_t>(position));
}

Mode detect_mode(std::string_view text) {
  const std::string_view probe = text.substr(0, kProbe);
  if (looks_like_html(probe)) return Mode::kHtml;
  if (looks_like_jsonl(probe)) return Mode::kJsonl;
  return looks_like_markdown(probe) ? Mode::kMarkdown : Mode::kText;
}

base::Result<Chunker> Chunker::create(Options options) {
  const auto number = [](std::size_t value) { return std::to_string(value); };
  if (options.max == 0)
    return base::fail(base::invalid_argument("max", "the cap is 0: it has to be at least 1"));
  if (options.overlap >= options.max)
    return base::fail(base::invalid_argument("overlap", "overlap=" + number(options.overlap) +
                                                            " has to be below the cap of " +
                                                            number(options.max)));
  if (options.unit == Unit::kTokens && options.encoding == nullptr && !options.count)
    return base::fail(base::invalid_argument("tokenizer", "a cap in tokens needs a tokenizer"));
  if (has_empty(options.separators) || has_empty(options.delimiters))
    return base::fail(base::invalid_argument(
        "separators", "an empty separator or delimiter parts nothing: leave it out"));
  return Chunker(std::move(options));
}

base::Result<Chunks> Chunker::chunk(std::string_view text, std::span<const std::size_t> page_starts,
                                    std::span<const Cut> cuts) const {
  const std::size_t valid = text::valid_prefix(text);
  if (valid != text.size()) return base::fail(not_utf8(valid));
  const Mode mode = options_.mode ? *options_.mode : detect_mode(text);
  std::vector<std::size_t> pages;
  if (mode == Mode::kPage && page_starts.empty()) {
    pages = pages_by_form_feed(text);
    page_starts = pages;
  }
  if (mode == Mode::kCode && !cuts.empty())
    return Planner(options_, mode, text, outline_cuts(cuts), page_starts).run({});
  const auto scanner = scanner_of(mode, options_);
  scanner->read(text, true);
  return Planner(options_, mode, text, scanner->outline(), page_starts).run({});
}

}  // namespace dure::chunk
