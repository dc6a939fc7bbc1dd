#include "dure/base/simd.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace dure::base {
namespace {

struct Set {
  Simd simd;
};
constexpr Set kWide{Simd::kAvx2};
constexpr Set kNarrow{Simd::kScalar};
constexpr const Set* kAll[] = {&kWide, &kNarrow};

TEST(Simd, WhatIsWiderHasWhatIsNarrower) {
  for (int i = 1; i <= static_cast<int>(Simd::kVnni); ++i) {
    if (machine_has(static_cast<Simd>(i))) {
      EXPECT_TRUE(machine_has(static_cast<Simd>(i - 1))) << name_of(static_cast<Simd>(i));
    }
  }
  EXPECT_TRUE(machine_has(simd_limit()));
}

TEST(Simd, TheWidestWithinTheLimitIsChosen) {
  const bool wide = simd_limit() >= Simd::kAvx2;
  EXPECT_EQ(&widest(kAll), wide ? &kWide : &kNarrow);
  EXPECT_EQ(exactly(Simd::kScalar, kAll), &kNarrow);
  EXPECT_EQ(exactly(Simd::kAvx2, kAll), machine_has(Simd::kAvx2) ? &kWide : nullptr);
  EXPECT_EQ(exactly(Simd::kVnni, kAll), nullptr);
}

// A process of its own for each word, as the environment is asked once.
TEST(Simd, TheEnvironmentNarrowsIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // which starts the program again
  for (int i = 0; i <= static_cast<int>(Simd::kVnni); ++i) {
    const auto simd = static_cast<Simd>(i);
    if (!machine_has(simd)) continue;
    EXPECT_EXIT(
        {
          setenv("DURE_SIMD", std::string(name_of(simd)).c_str(), 1);
          std::_Exit(simd_limit() == simd ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "")
        << name_of(simd);
  }
}

}  // namespace
}  // namespace dure::base
