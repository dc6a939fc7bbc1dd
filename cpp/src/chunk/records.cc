// Outlines of the plainer formats: code by indentation, CSV and JSON lines by record.
#include <string>

#include "chunk/lines.h"
#include "chunk/outline.h"

namespace dure::chunk {
namespace {

// Nothing but text.
class PlainScanner final : public OutlineScanner {
 public:
  void read(std::string_view window, bool /*final*/) override { settled_ = window.size(); }

 protected:
  void shift(std::size_t /*bytes*/) override {}
};

// Whether a line at the left edge begins something, and does not end or continue it.
bool begins_statement(std::string_view body) {
  const char c = body.front();
  return c != '}' && c != ')' && c != ']' && c != ':' && !body.starts_with("else") &&
         !body.starts_with("except") && !body.starts_with("finally") && !body.starts_with("elif") &&
         !body.starts_with("catch");
}

class CodeScanner final : public OutlineScanner {
 public:
  CodeScanner() {
    out_.has_sentences = out_.has_paragraphs = false;
    out_.keeps_indentation = true;
  }

  void read(std::string_view window, bool final) override {
    lines_.see(window, final);
    for (Line line; lines_.next(line); first_ = false) {
      if (!line.blank && !first_) mark(line);
      blank_ = line.blank;
    }
    settled_ = lines_.at();
  }

 protected:
  void shift(std::size_t bytes) override { lines_.shift(bytes); }

 private:
  void mark(const Line& line) {
    const bool outermost = line.indent == 0 && begins_statement(line.body);
    if (outermost && blank_) {
      out_.marks.push_back({line.start, kBlock});
    } else if (blank_ && line.indent <= 8) {
      out_.marks.push_back({line.start, kParagraph});
    } else if (outermost) {
      out_.marks.push_back({line.start, kItem});
    }
  }

  Lines lines_;
  bool first_ = true;
  bool blank_ = false;
};

// Records, each of which ends with a line feed outside of quotes.
class RecordScanner : public OutlineScanner {
 public:
  explicit RecordScanner(bool quotes) : quotes_(quotes) {
    out_.has_sentences = out_.has_paragraphs = false;
  }

  void read(std::string_view window, bool final) override {
    take_back_open();
    base::CancelTick<4096> tick;
    for (; at_ < window.size(); ++at_) {
      const char c = window[at_];
      if (quotes_ && c == '"') quoted_ = !quoted_;
      if (c != '\n' || quoted_) continue;
      tick();
      end_record(window, at_ + 1);
    }
    if (start_ < window.size()) {  // as far as it was read
      show(window.size(), !final);
      shows_open_ = true;
    }
    if (!out_.repeats.empty()) out_.repeats.front().end = window.size();
    settled_ = window.size();
  }

 protected:
  void shift(std::size_t bytes) override {
    is_cut_ = start_ < bytes;
    move_back(at_, bytes);
    move_back(start_, bytes);
  }
  virtual void end_record(std::string_view /*window*/, std::size_t end) {
    show(end, false);
    start_ = end;
    first_ = is_cut_ = false;
  }

  Outline& out() { return out_; }
  // The first record as it is read, empty if it is too long to be seen whole.
  [[nodiscard]] std::string header(std::string_view window, std::size_t end) const {
    return is_cut_ ? std::string() : std::string(window.substr(start_, end - start_));
  }
  [[nodiscard]] bool is_first() const { return first_; }

 private:
  void show(std::size_t end, bool open) {
    if (!first_) out_.marks.push_back({start_, kItem});
    out_.atoms.push_back({start_, end, start_, open});
  }
  void take_back_open() {
    if (!shows_open_) return;
    shows_open_ = false;
    out_.atoms.pop_back();
    if (!first_ && !out_.marks.empty() && out_.marks.back().at == start_) out_.marks.pop_back();
  }

  const bool quotes_;
  std::size_t at_ = 0;
  std::size_t start_ = 0;  // of the record that is read
  bool first_ = true;
  bool is_cut_ = false;  // it begins before the window
  bool quoted_ = false;
  bool shows_open_ = false;  // the last atom is a record that is not at its end
};

// RFC 4180: a quote doubles itself, and a quoted field may hold line ends. The first record is
// the header.
class CsvScanner final : public RecordScanner {
 public:
  CsvScanner() : RecordScanner(true) {}

 protected:
  void end_record(std::string_view window, std::size_t end) override {
    if (is_first()) out().repeats.push_back({0, end, end, header(window, end)});
    RecordScanner::end_record(window, end);
  }
};

}  // namespace

std::unique_ptr<OutlineScanner> scan_plain() { return std::make_unique<PlainScanner>(); }
std::unique_ptr<OutlineScanner> scan_code() { return std::make_unique<CodeScanner>(); }
std::unique_ptr<OutlineScanner> scan_csv() { return std::make_unique<CsvScanner>(); }
std::unique_ptr<OutlineScanner> scan_jsonl() { return std::make_unique<RecordScanner>(false); }

}  // namespace dure::chunk
