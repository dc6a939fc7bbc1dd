// One encoding used by many threads at once; the thread sanitizer watches it in the nightly run.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "dure/tokenize/counter.h"
#include "dure/tokenize/encoding.h"
#include "dure/tokenize/unstable.h"

namespace dure::tokenize {
namespace {

using Ids = std::vector<Rank>;

constexpr int kThreads = 6;

std::vector<std::string> texts() {
  std::string mixed;
  for (int i = 0; i < 300; ++i) {
    mixed += "Word number " + std::to_string(i * 7919) +
             " \xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4 don't\r\n\t x_" + std::to_string(i) + "();";
  }
  // The long runs make the tables of linear merging on first use.
  return {mixed, std::string(30'000, 'q'), std::string(9'000, ' ') + "x", "\xFF\xE2\x82", ""};
}

// Everything that fills a cache or a table on first use. Counts what comes out otherwise.
void use(const Encoding& encoding, const std::vector<std::string>& all,
         const std::vector<Ids>& wanted, std::atomic<int>& wrong) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    Ids ids;
    encoding.encode_ordinary(all[i], ids);
    Counter counter(encoding);
    counter.append(all[i]);
    const bool same = ids == wanted[i] && encoding.count(all[i]) == wanted[i].size() &&
                      counter.count() == wanted[i].size() &&
                      encoding.decode(ids).value_or("") == all[i];
    wrong += same ? 0 : 1;
  }
  const Unstable ends =
      encode_with_unstable(encoding, "hello fanta", [](std::string_view) { return false; });
  wrong += ends.completions.empty() || encoding.sorted_tokens().empty() ? 1 : 0;
}

TEST(Concurrent, ThreadsThatShareAnEncodingGetTheSameIds) {
  for (const std::string_view name : Encoding::names()) {
    const std::vector<std::string> all = texts();
    std::atomic<int> wrong{0};
    std::atomic<bool> go{false};
    std::vector<std::vector<Ids>> found(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        while (!go) std::this_thread::yield();
        const Encoding& encoding = *Encoding::get(name).value();  // the first ones load it together
        for (const std::string& text : all) {
          encoding.encode_ordinary(text, found[static_cast<std::size_t>(i)].emplace_back());
        }
        use(encoding, all, found[static_cast<std::size_t>(i)], wrong);
      });
    }
    go = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0) << name;
    for (const std::vector<Ids>& ids : found) EXPECT_EQ(ids, found[0]) << name;
  }
}

// A thread's cache ends with it: short-lived threads and several encodings in one thread.
TEST(Concurrent, ThreadsComeAndGo) {
  const std::string text = texts()[0];
  std::vector<Ids> wanted;
  for (const std::string_view name : Encoding::names()) {
    Encoding::get(name).value()->encode_ordinary(text, wanted.emplace_back());
  }
  std::atomic<int> wrong{0};
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (std::size_t n = 0; n < wanted.size(); ++n) {
          Ids ids;
          Encoding::get(Encoding::names()[n]).value()->encode_ordinary(text, ids);
          wrong += ids == wanted[n] ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace dure::tokenize
