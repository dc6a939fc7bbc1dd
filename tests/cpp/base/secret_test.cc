#include "dure/base/secret.h"

#include <gtest/gtest.h>

#include <string>

namespace dure::base {
namespace {

TEST(SecretTest, EachOccurrenceIsTakenOut) {
  const Secret key("sk-1");
  EXPECT_EQ(key.redact("no such key: sk-1 (sk-1sk-1)"), "no such key: [key] ([key][key])");
  EXPECT_EQ(key.redact("sk-"), "sk-");
  EXPECT_EQ(key.redact(""), "");
  EXPECT_EQ(Secret("").redact("sk-1"), "sk-1");
}

TEST(SecretTest, AKeyThatStandsInItsOwnReplacementIsTakenOutOnce) {
  EXPECT_EQ(Secret("key").redact("the key"), "the [key]");
  EXPECT_EQ(Secret("k").redact("kk"), "[key][key]");
  EXPECT_EQ(Secret("[key]").redact("[key]]"), "[key]]");
}

TEST(SecretTest, OverlapsAreTakenFromTheLeft) {
  EXPECT_EQ(Secret("aa").redact("aaaaa"), "[key][key]a");
}

}  // namespace
}  // namespace dure::base
