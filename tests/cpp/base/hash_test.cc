#include "dure/base/hash.h"

#include <gtest/gtest.h>

#include <string>

namespace dure::base {
namespace {

TEST(Sha256, AnswersTheExamplesOfFips180) {
  EXPECT_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, IsTheSameInAnyPieces) {
  const std::string text(1000, 'x');
  for (std::size_t step = 1; step < 200; ++step) {
    Sha256 hasher;
    for (std::size_t at = 0; at < text.size(); at += step) {
      hasher.update(std::string_view(text).substr(at, step));
    }
    EXPECT_EQ(hasher.finish(), sha256(text)) << step;
  }
}

TEST(Crc32c, AnswersTheExamplesOfRfc3720) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c("6789", crc32c("12345")), 0xE3069283U);
}

TEST(Hash64, IsStable) { EXPECT_EQ(hash64(""), 0x2D06800538D394C2U); }

}  // namespace
}  // namespace dure::base
