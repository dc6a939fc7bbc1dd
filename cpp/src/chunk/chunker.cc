#include "dure/chunk/chunker.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <utility>

#include "chunk/lines.h"
#include "chunk/outline.h"
#include "chunk/planner.h"
#include "dure/base/cancel.h"
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

Outline outline_of(Mode mode, std::string_view text, const Options& options) {
  switch (mode) {
    case Mode::kMarkdown:
      return outline_markdown(text, options.keep_tables, options.keep_fences);
    case Mode::kHtml:
      return outline_html(text);
    case Mode::kCode:
      return outline_code(text);
    case Mode::kCsv:
      return outline_csv(text);
    case Mode::kJsonl:
      return outline_jsonl(text);
    case Mode::kText:
    case Mode::kPage:
    case Mode::kDelimiter:
      break;
  }
  return outline_text();
}

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
  const Outline outline = outline_markdown(text, true, true);
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

base::Status no_utf8(std::size_t position) {
  return base::invalid_argument("text", "the bytes are not UTF-8 at offset " +
                                            std::to_string(position) + ": decode them first")
      .with("position", static_cast<std::int64_t>(position));
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

base::Result<Chunker::Part> Chunker::chunk_part(const Window& window, Mode mode) const {
  const std::size_t valid = text::valid_prefix(window.text);
  if (valid != window.text.size()) return base::fail(no_utf8(window.byte_offset + valid));
  const Outline outline = outline_of(mode, window.text, options_);
  Planner planner(options_, mode, window.text, outline, {}, window.char_offset);
  auto chunks = planner.run(window.start, window.previous, window.final);
  if (!chunks) return base::fail(std::move(chunks.error()));
  return Part{std::move(*chunks), planner.next(), planner.previous()};
}

base::Result<Chunks> Chunker::chunk(std::string_view text, std::span<const std::size_t> page_starts,
                                    std::span<const Cut> cuts) const {
  const std::size_t valid = text::valid_prefix(text);
  if (valid != text.size()) return base::fail(no_utf8(valid));
  const Mode mode = options_.mode ? *options_.mode : detect_mode(text);
  std::vector<std::size_t> pages;
  if (mode == Mode::kPage && page_starts.empty()) {
    pages = pages_by_form_feed(text);
    page_starts = pages;
  }
  const Outline outline =
      mode == Mode::kCode && !cuts.empty() ? outline_cuts(cuts) : outline_of(mode, text, options_);
  return Planner(options_, mode, text, outline, page_starts).run();
}

std::vector<base::Result<Chunks>> Chunker::chunk_many(std::span<const std::string_view> texts,
                                                      std::size_t threads) const {
  return chunk_each(texts.size(), [&](std::size_t i) { return chunk(texts[i]); }, threads);
}

std::vector<base::Result<Chunks>> Chunker::chunk_each(
    std::size_t count, const std::function<base::Result<Chunks>(std::size_t)>& cut,
    std::size_t threads) {
  std::vector<base::Result<Chunks>> results(count);
  std::atomic<std::size_t> next = 0;
  const auto work = [&, check = base::current_cancel_check()]() noexcept {
    const base::CancelScope scope(check);
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        base::check_cancel();
        results[i] = cut(i);
      } catch (const std::bad_alloc&) {
        results[i] = base::fail(base::Code::kOutOfMemory, "not enough memory: pass fewer texts");
      } catch (...) {
        results[i] = base::fail(base::Code::kInternal, "chunk_many: unexpected exception");
      }
    }
  };
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  threads = std::min(threads, count);
  std::vector<std::jthread> workers;
  for (std::size_t i = 1; i < threads; ++i) workers.emplace_back(work);
  work();
  return results;
}

}  // namespace dure::chunk
