#include "dure/index/words.h"

#include <gtest/gtest.h>

#include <cmath>

#include "dure/base/hash.h"
#include "dure/index/chunk_id.h"
#include "dure/index/hash_embedder.h"

namespace dure::index {
namespace {

using List = std::vector<std::string>;

TEST(Words, LatinWordsAreLowered) {
  EXPECT_EQ(words("Hello, W\xC3\x96RLD 42 snake_case x86-64"),
            (List{"hello", "w\xC3\xB6rld", "42", "snake_case", "x86", "64"}));
  EXPECT_EQ(words("ПРИВЕТ ΑΒΓ"), (List{"привет", "αβγ"}));
  EXPECT_TRUE(words("").empty());
  EXPECT_TRUE(words(" \n.,;—…").empty());
}

TEST(Words, HangulIsCutIntoPairsWithoutParticles) {
  EXPECT_EQ(words("두레란?"), (List{"두레"}));
  EXPECT_EQ(words("두레는"), (List{"두레"}));
  EXPECT_EQ(words("데이터베이스에서"), (List{"데이", "이터", "터베", "베이", "이스"}));
  EXPECT_EQ(words("나는"), (List{"나는"}));  // one syllable would remain
  EXPECT_EQ(words("책"), (List{"책"}));
  EXPECT_EQ(words("GPT가 좋은"), (List{"gpt", "가", "좋은"}));
  EXPECT_EQ(words("東京都"), (List{"東京", "京都"}));
}

TEST(Words, BrokenBytesSeparate) {
  EXPECT_EQ(words("ab\xFF"
                  "cd\xE1\x84"),
            (List{"ab", "cd"}));
}

TEST(Words, CountsAreOfDistinctWords) {
  const WordCounts counts = count_words("a b a c A");
  EXPECT_EQ(counts.length, 5U);
  ASSERT_EQ(counts.words.size(), 3U);
  for (const WordCount& one : counts.words) {
    EXPECT_EQ(one.count, one.word == base::hash64("a") ? 3U : 1U);
  }
}

float cosine(const std::vector<float>& a, const std::vector<float>& b) {
  float sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

TEST(HashEmbedder, UnitLengthAndNearForSharedWords) {
  const HashEmbedder embedder = HashEmbedder::create(384, 0).value();
  const auto embed = [&](std::string_view text) {
    std::vector<float> out(384);
    embedder.embed(text, out.data());
    return out;
  };
  const auto cat = embed("the cat sat on the mat");
  EXPECT_NEAR(cosine(cat, cat), 1.0F, 1e-5F);
  EXPECT_EQ(cat, embed("the cat sat on the mat"));
  EXPECT_GT(cosine(cat, embed("a cat on a mat")), 0.5F);
  EXPECT_LT(std::fabs(cosine(cat, embed("quarterly revenue grew"))), 0.3F);
  for (const std::string_view odd : {"", "...", " ", "\xFF"}) {
    EXPECT_NEAR(cosine(embed(odd), embed(odd)), 1.0F, 1e-5F);
  }
  std::vector<float> other(384);
  HashEmbedder::create(384, 1).value().embed("the cat sat on the mat", other.data());
  EXPECT_LT(std::fabs(cosine(cat, other)), 0.4F);
  EXPECT_EQ(HashEmbedder::create(0, 0).error().code(), base::Code::kInvalidArgument);
}

// Made with Python's hashlib, from the formula of chunk_id.h.
TEST(ChunkId, FollowsTheFormula) {
  const ContentHash content = base::sha256("hello");
  EXPECT_EQ(chunk_id("doc", content, 0), "456fcd6562f733205bf5191443d49c17");
  EXPECT_EQ(chunk_id("doc", content, 1), "c408f08cd6e5241fd8e2c790a10be703");
  EXPECT_EQ(document_id("hello"), "2cf24dba5fb0a30e26e83b2ac5b9e29e");
}

}  // namespace
}  // namespace dure::index
