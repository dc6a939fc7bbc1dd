// The chunker and the sentences without Python: MB a CPU second on texts of files, best and median
// of interleaved rounds; sentences beside ICU, where its headers are installed.
//
//   dure_chunk_bench [--rounds=N] [--only=PART_OF_A_NAME] [--json] FILE...
//
// --json: one line for each row, for scripts/bench. "flat": without line feeds.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/hash.h"
#include "dure/chunk/chunker.h"
#include "dure/text/sentences.h"
#include "dure/text/utf8.h"
#include "dure/tokenize/encoding.h"

#if __has_include(<unicode/brkiter.h>)
#include <unicode/brkiter.h>
#include <unicode/unistr.h>
#define DURE_BENCH_ICU
#endif

namespace {

using dure::chunk::Chunker;
using dure::chunk::Chunks;
using dure::chunk::Mode;
using dure::chunk::Options;
using dure::chunk::Unit;
using dure::text::SentenceRules;

int rounds = 7;
bool json = false;
std::string only;

struct Row {
  std::string name;
  std::function<std::size_t()> work;  // returns how much it found
  std::vector<double> seconds = {};
  std::size_t found = 0;
};

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void measure(const std::string& text_name, std::size_t bytes, std::vector<Row> rows) {
  std::erase_if(rows, [](const Row& row) { return row.name.find(only) == std::string::npos; });
  for (int i = 0; i <= rounds; ++i) {
    for (Row& row : rows) {
      const double start = thread_seconds();
      row.found = row.work();
      if (i > 0) row.seconds.push_back(thread_seconds() - start);  // the first one warms up
    }
  }
  const double megabytes = static_cast<double>(bytes) / 1e6;
  for (Row& row : rows) {
    std::sort(row.seconds.begin(), row.seconds.end());
    const double median = megabytes / row.seconds[row.seconds.size() / 2];
    const double best = megabytes / row.seconds.front();
    const char* form = json ? "{\"text\":\"%s\",\"row\":\"%s\",\"median\":%.1f,\"best\":%.1f,"
                              "\"found\":%zu}\n"
                            : "%-18s %-26s %8.1f MB/s median %8.1f best %9zu found\n";
    std::printf(form, text_name.c_str(), row.name.c_str(), median, best, row.found);
  }
  std::fflush(stdout);
}

Chunker chunker(Unit unit, std::size_t max, Mode mode) {
  Options options;
  options.unit = unit;
  options.max = max;
  options.mode = mode;
  if (unit == Unit::kTokens) options.encoding = *dure::tokenize::Encoding::get("o200k_base");
  return *Chunker::create(options);
}

std::size_t cut(const Chunker& chunker, std::string_view text) {
  return chunker.chunk(text).value().size();
}

#ifdef DURE_BENCH_ICU
Row icu_row(const icu::UnicodeString& text) {
  return {"sentences ICU " U_ICU_VERSION, [&text] {
            UErrorCode status = U_ZERO_ERROR;
            const auto walk =
                icu::BreakIterator::createSentenceInstance(icu::Locale::getRoot(), status);
            walk->setText(text);
            std::size_t count = 0;
            while (walk->next() != icu::BreakIterator::DONE) ++count;
            delete walk;
            return count;
          }};
}
#endif

void run(const std::string& name, const std::string& text) {
  const Chunker tokens = chunker(Unit::kTokens, 512, Mode::kText);
  const Chunker chars = chunker(Unit::kChars, 1000, Mode::kText);
  const Chunker markdown = chunker(Unit::kChars, 1000, Mode::kMarkdown);
  const Chunker delimiter = chunker(Unit::kBytes, 4096, Mode::kDelimiter);
  const auto& encoding = *tokens.options().encoding;
  std::vector<Row> rows{
      {"sentences UAX #29",
       [&] { return dure::text::sentence_ends(text, SentenceRules::kUax29).size(); }},
      {"sentences Korean",
       [&] { return dure::text::sentence_ends(text, SentenceRules::kKorean).size(); }},
      {"1000 characters", [&] { return cut(chars, text); }},
      {"1000 Markdown", [&] { return cut(markdown, text); }},
      {"delimiter 4 KB", [&] { return cut(delimiter, text); }},
      {"count o200k", [&] { return encoding.count(text); }},
      {"512 tokens", [&] { return cut(tokens, text); }},
      {"validity", [&] { return dure::text::valid_prefix(text); }},
      {"offsets", [&] { return dure::text::CharOffsets(text).size(); }},
      {"hash64", [&] { return static_cast<std::size_t>(dure::base::hash64(text)); }},
  };
#ifdef DURE_BENCH_ICU
  const icu::UnicodeString wide = icu::UnicodeString::fromUTF8(text);
  rows.insert(rows.begin() + 1, icu_row(wide));
#endif
  measure(name, text.size(), std::move(rows));
}

std::string read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--rounds=")) {
      rounds = std::atoi(argv[i] + 9);
    } else if (argument.starts_with("--only=")) {
      only = argument.substr(7);
    } else if (argument == "--json") {
      json = true;
    } else {
      std::string text = read(argv[i]);
      const std::size_t most = 8'000'000;  // of each file
      if (text.size() > most) text.resize(dure::text::char_start(text, most));
      const std::string name(argument.substr(argument.rfind('/') + 1));
      run(name, text);
      std::replace(text.begin(), text.end(), '\n', ' ');
      run(name + " flat", text);
    }
  }
  return 0;
}
