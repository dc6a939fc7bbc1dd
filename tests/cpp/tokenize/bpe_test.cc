#include "dure/tokenize/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "dure/tokenize/encoding.h"
#include "tokenize/merge.h"
#include "tokenize/merge_cache.h"
#include "tokenize/pair_table.h"
#include "tokenize/probe_many.h"

namespace dure::tokenize {
namespace {

using Ids = std::vector<Rank>;

const Vocab& vocab(std::string_view name) { return Encoding::get(name).value()->vocab(); }

void expect_same(std::string_view name, std::string_view piece) {
  Ids fast;
  Ids slow;
  merge_piece(vocab(name), piece, fast);
  merge_piece_slowly(vocab(name), piece, slow);
  ASSERT_EQ(fast, slow) << name << ": " << piece.size() << " bytes";
}

// Random pieces over few bytes, so that there is much to merge; around each limit of length.
void expect_same_at_every_length() {
  std::mt19937 chance(1);
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    for (const std::string_view letters : {"ab", "aeinst ", " \n\t", "0=-", "\xED\x95\x9C\xEA"}) {
      for (std::size_t length = 1; length < 300; length += length < 140 ? 1 : 37) {
        std::string piece;
        while (piece.size() < length) piece += letters[chance() % letters.size()];
        expect_same(name, piece);
      }
    }
  }
}

// First while pairs are asked by their bytes, then by the table of all.
TEST(MergePiece, IsTheSlowMergeAtEveryLength) {
  expect_same_at_every_length();
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    ASSERT_NE(vocab(name).pair_table(), nullptr);
    EXPECT_EQ(vocab(name).ready_pairs(), vocab(name).pair_table());
  }
  expect_same_at_every_length();
}

// The blob says what each token is merged of; merging its bytes says the same.
TEST(PairTable, TheEmbeddedPairsAreThoseOfTheMerges) {
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    const Vocab& known = vocab(name);
    ASSERT_TRUE(known.pairs_known()) << name;
    const auto found = PairTable::create(known);
    ASSERT_NE(found, nullptr) << name;
    std::size_t pairs = 0;
    found->each([&](Rank left, Rank right, Rank merged) {
      ++pairs;
      ASSERT_EQ(known.pair_table()->find(left, right), merged) << name;
    });
    std::size_t tokens = 0;
    for (Rank rank = 0; rank < known.size(); ++rank) tokens += known.token(rank).size() > 1;
    EXPECT_EQ(pairs, tokens) << name;
    std::size_t shipped = 0;
    known.pair_table()->each([&](Rank, Rank, Rank) { ++shipped; });
    EXPECT_EQ(shipped, tokens) << name;
  }
}

// Full buckets send the question on to the next one; every token must still be found.
TEST(ProbeTable, FindsEveryToken) {
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    const Vocab& all = vocab(name);
    for (Rank rank = 0; rank < all.size(); ++rank) {
      const std::string_view token = all.token(rank);
      if (token.empty()) continue;
      ASSERT_EQ(all.find(token), rank) << name;
      ASSERT_EQ(all.find(std::string(token) + "\xFE\xFF"), kNoRank) << name;
    }
  }
}

// Each set of instructions finds what the table alone finds, and nothing else.
TEST(ProbeMany, EverySetFindsWhatTheTableFinds) {
  std::mt19937 chance(8);
  std::size_t sets = 0;
  for (const base::Simd simd : {base::Simd::kScalar, base::Simd::kAvx2, base::Simd::kAvx512}) {
    const Prober* set = prober_of(simd);
    if (set == nullptr) continue;
    ++sets;
    for (const std::string_view name : {"r50k_base", "cl100k_base", "o200k_base"}) {
      const Vocab& all = vocab(name);
      std::vector<ShortKey> keys{kNoKey};
      std::vector<std::uint64_t> hashes{0};
      Ids wanted{kNoRank};
      const auto ask = [&](std::string_view bytes) {
        if (bytes.empty() || bytes.size() > kShort) return;
        keys.push_back(short_key(bytes.data(), bytes.size(), bytes.data() + bytes.size()));
        hashes.push_back(hash_of(keys.back()));
        wanted.push_back(all.table().find(keys.back(), hashes.back()));
      };
      for (Rank rank = 0; rank < all.size(); ++rank) {
        ask(all.token(rank));
        std::string other(all.token(rank));
        if (!other.empty()) other[chance() % other.size()] = static_cast<char>(chance());
        ask(other);
      }
      Ids found(keys.size(), 7);
      set->find(all.table(), keys.data(), hashes.data(), keys.size(), found.data());
      ASSERT_EQ(found, wanted) << base::name_of(simd) << ", " << name;
    }
  }
  EXPECT_GE(sets, 1U);
  EXPECT_NE(prober().find, nullptr);
}

TEST(MergePiece, IsTheSlowMergeOnRuns) {
  for (const std::string_view name : {"r50k_base", "cl100k_base", "o200k_base"}) {
    for (const char letter : {'a', ' ', '=', '\n', '0', '\xCC'}) {
      expect_same(name, std::string(2'000, letter));
    }
  }
}

TEST(MergePiece, EveryEmbeddedVocabularyIsCanonicalAsItSays) {
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    EXPECT_TRUE(vocab(name).canonical()) << name;
    EXPECT_NE(PairTable::create(vocab(name)), nullptr) << name;
  }
}

TEST(MergePiece, WindowsGiveTheHeapsTokens) {
  std::mt19937 chance(3);
  for (const std::string_view name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base"}) {
    for (const std::string_view letters :
         {"a", "ab", "aeinstr", "etaoin shrdlu", " ", " \n\t", "0=-*", "\xCC\x81",
          "\xED\x95\x9C\xEA\xB8\x80", "abcdefghijklmnopqrstuvwxyz"}) {
      for (const std::size_t length : {1U, 2U, 7U, 64U, 65U, 130U, 500U, 3'000U, 30'000U}) {
        std::string piece;
        while (piece.size() < length) piece += letters[chance() % letters.size()];
        Ids windows{7};  // what stands there stays
        Ids heap{7};
        merge_any(vocab(name), MergeCache::of_thread().pairs(), piece, windows);
        merge_by_heap(vocab(name), piece, heap);
        ASSERT_EQ(windows, heap) << name << " '" << letters << "' " << length;
      }
    }
  }
}

// Stretches of one thing after another, so that windows must grow and shrink again.
TEST(MergePiece, WindowsFollowAPieceThatChanges) {
  std::mt19937 chance(4);
  for (const std::string_view name : {"r50k_base", "cl100k_base", "o200k_base"}) {
    for (int round = 0; round < 40; ++round) {
      std::string piece;
      while (piece.size() < 6'000) {
        const std::size_t most = std::size_t{1} << chance() % 11;
        const char letter = static_cast<char>(" =-a0\n_e"[chance() % 8]);
        for (std::size_t i = 0; i < most; ++i) {
          piece += chance() % 3 == 0 && most < 64 ? static_cast<char>('a' + chance() % 26) : letter;
        }
      }
      Ids windows;
      Ids heap;
      merge_any(vocab(name), MergeCache::of_thread().pairs(), piece, windows);
      merge_by_heap(vocab(name), piece, heap);
      ASSERT_EQ(windows, heap) << name << " round " << round;
    }
  }
}

// A megabyte of anything takes no noticeable time and no stack.
TEST(MergePiece, LongRunsComeBack) {
  const Encoding& encoding = *Encoding::get("o200k_base").value();
  std::mt19937 chance(2);
  std::string letters;
  for (int i = 0; i < 1'000'000; ++i) letters += static_cast<char>('a' + chance() % 26);
  for (const std::string& text :
       {std::string(1'000'000, 'x'), std::string(1'000'000, ' '), letters}) {
    Ids ids;
    encoding.encode_ordinary(text, ids);
    EXPECT_EQ(encoding.decode(ids).value(), text);
    EXPECT_EQ(encoding.count(text), ids.size());
  }
}

}  // namespace
}  // namespace dure::tokenize
