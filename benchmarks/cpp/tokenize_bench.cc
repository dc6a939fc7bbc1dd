// The tokenizer without Python: MB a CPU second of each stage on texts of files, best
// and median of rounds.
//
//   dure_tokenize_bench [--rounds=N] [--encoding=NAME] [--plain] FILE...
//
// --plain: a line a figure, its fields parted by tabs (encoding, text, stage, median, best).
// "unseen": the thread's caches are wiped before each round. Adversarial texts come last.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dure/tokenize/encoding.h"
#include "tokenize/block_split.h"
#include "tokenize/merge_cache.h"

namespace {

using dure::tokenize::Encoding;
using dure::tokenize::MergeCache;
using dure::tokenize::Rank;

int rounds = 7;
bool plain = false;

struct Rate {
  double best;
  double median;
};

// CPU seconds of `work`, after `before`, which is not timed.
template <typename Before, typename Work>
Rate timed(Before before, Work work) {
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    before();
    const std::clock_t start = std::clock();
    work();
    seconds.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

void show(const Encoding& encoding, const char* name, std::string_view what,
          const std::string& text, Rate rate) {
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  if (plain) {
    std::printf("%s\t%s\t%.*s\t%.1f\t%.1f\n", encoding.name().c_str(), name,
                static_cast<int>(what.size()), what.data(), megabytes / rate.median,
                megabytes / rate.best);
    return;
  }
  std::printf("  %-22.*s %7.1f MB/s median, %7.1f best, %8.2f ms\n", static_cast<int>(what.size()),
              what.data(), megabytes / rate.median, megabytes / rate.best, rate.median * 1e3);
}

std::size_t split_all(const Encoding& encoding, std::string_view text) {
  std::vector<std::size_t> ends(256);
  std::size_t pieces = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t count = dure::tokenize::split(encoding.grammar(), text, at, ends);
    pieces += count;
    at = ends[count - 1];
  }
  return pieces;
}

void stages(const Encoding& encoding, const char* name, const std::string& text) {
  const auto nothing = [] {};
  const auto wipe = [] { MergeCache::of_thread().clear(); };
  std::size_t sum = 0;
  if (!plain) {
    std::printf("%s, %s, %zu bytes, %s\n", encoding.name().c_str(), name, text.size(),
                dure::tokenize::splitter().name);
  }
  const auto stage = [&](std::string_view what, auto before, auto work) {
    show(encoding, name, what, text, timed(before, work));
  };
  const auto count = [&] { sum += encoding.count(text); };
  stage("split", nothing, [&] { sum += split_all(encoding, text); });
  stage("count, unseen", wipe, count);
  stage("count, seen", nothing, count);
  const auto encode = [&] {
    std::vector<Rank> ids;
    encoding.encode_ordinary(text, ids);
    sum += ids.size();
  };
  stage("encode, unseen", wipe, encode);
  stage("encode, seen", nothing, encode);
  if (sum == 0) std::puts("  no text");
}

std::string repeated(std::string_view unit, std::size_t size) {
  std::string text;
  while (text.size() < size) text += unit;
  return text;
}

void adversarial(const Encoding& encoding) {
  std::mt19937 chance(7);
  std::string letters;
  for (int i = 0; i < 10'000'000; ++i) letters += static_cast<char>('a' + chance() % 26);
  const std::pair<const char*, std::string> texts[] = {
      {"one letter", repeated("x", 10'000'000)},
      {"spaces", repeated(" ", 10'000'000)},
      {"newlines", repeated("\n", 10'000'000)},
      {"combining", repeated("\xCC\x81", 10'000'000)},
      {"random a-z", letters},
      {"hangul run", repeated("\xED\x95\x9C", 10'000'000)},
  };
  std::printf("%s, 1 MB and 10 MB of one thing, unseen\n", encoding.name().c_str());
  for (const auto& [name, text] : texts) {
    const auto wipe = [] { MergeCache::of_thread().clear(); };
    const std::string_view one(text.data(), 1'000'000);
    std::size_t sum = 0;
    const Rate small = timed(wipe, [&] { sum += encoding.count(one); });
    const Rate large = timed(wipe, [&] { sum += encoding.count(text); });
    std::printf("  %-22s %8.2f ms, %8.2f ms: %5.2fx\n", name, small.median * 1e3,
                large.median * 1e3, large.median / small.median);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names{"cl100k_base", "o200k_base"};
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--rounds="))
      rounds = std::atoi(argument.c_str() + 9);
    else if (argument.starts_with("--encoding="))
      names = {argument.substr(11)};
    else if (argument == "--plain")
      plain = true;
    else
      files.push_back(argument);
  }
  for (const std::string& name : names) {
    const auto encoding = Encoding::get(name);
    if (!encoding) return std::fprintf(stderr, "%s\n", encoding.error().message().c_str()), 1;
    for (const std::string& file : files) {
      std::ifstream stream(file, std::ios::binary);
      const std::string text((std::istreambuf_iterator<char>(stream)), {});
      stages(**encoding, file.c_str(), text);
    }
    if (files.empty()) adversarial(**encoding);
  }
  return 0;
}
