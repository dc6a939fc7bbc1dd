#include "dure/index/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "dure/index/codes.h"
#include "fake_random.h"

namespace dure::index {
namespace {

class EachSet : public ::testing::TestWithParam<Simd> {
 protected:
  void SetUp() override {
    set_ = kernels_of(GetParam());
    if (set_ == nullptr) GTEST_SKIP() << "this CPU lacks the set";
  }
  std::int8_t signed_byte() { return static_cast<std::int8_t>(random_.next() % 255 - 127); }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_.next()); }
  float real() { return static_cast<float>(random_.uniform() * 2 - 1); }

  const Kernels* set_ = nullptr;
  testing::FakeRandom random_{7};
};

// Plain sums, independent of every set.
std::int64_t slow_dot(const std::vector<std::uint8_t>& a, const std::vector<std::int8_t>& b) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < b.size(); ++i) sum += std::int64_t{a[i]} * b[i];
  return sum;
}

TEST_P(EachSet, IntegerSumsAreExactForEveryLength) {
  for (std::size_t n = 0; n <= 300; ++n) {
    std::vector<std::int8_t> query(n);
    std::vector<std::vector<std::uint8_t>> codes(4, std::vector<std::uint8_t>(n));
    for (auto& q : query) q = signed_byte();
    for (auto& code : codes) {
      for (auto& c : code) c = byte();
    }
    const std::uint8_t* pointers[4] = {codes[0].data(), codes[1].data(), codes[2].data(),
                                       codes[3].data()};
    std::int32_t sums[4];
    set_->dot_u8s8_x4(pointers, query.data(), n, sums);
    for (std::size_t j = 0; j < 4; ++j) {
      ASSERT_EQ(set_->dot_u8s8(codes[j].data(), query.data(), n), slow_dot(codes[j], query)) << n;
      ASSERT_EQ(sums[j], slow_dot(codes[j], query)) << n;
    }
  }
}

TEST_P(EachSet, IntegerSumsDoNotSaturate) {
  const std::vector<std::uint8_t> code(4096, 255);
  const std::vector<std::int8_t> up(4096, 127);
  const std::vector<std::int8_t> down(4096, -127);
  EXPECT_EQ(set_->dot_u8s8(code.data(), up.data(), 4096), 255 * 127 * 4096);
  EXPECT_EQ(set_->dot_u8s8(code.data(), down.data(), 4096), -255 * 127 * 4096);
}

TEST_P(EachSet, FloatSumsAreWithinRounding) {
  for (std::size_t n = 0; n <= 200; ++n) {
    std::vector<float> a(n);
    std::vector<float> b(n);
    double exact = 0;
    double size = 0;
    for (std::size_t i = 0; i < n; ++i) {
      a[i] = real();
      b[i] = real();
      exact += static_cast<double>(a[i]) * b[i];
      size += std::fabs(static_cast<double>(a[i]) * b[i]);
    }
    ASSERT_NEAR(set_->dot_f32(a.data(), b.data(), n), exact, 1e-6 * size + 1e-12) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Simd, EachSet,
                         ::testing::Values(Simd::kScalar, Simd::kAvx2, Simd::kAvx512, Simd::kVnni),
                         [](const auto& info) {
                           return std::string(
                               kernels_of(info.param) != nullptr
                                   ? kernels_of(info.param)->name
                                   : "missing" + std::to_string(static_cast<int>(info.param)));
                         });

TEST(Codes, EstimateIsWithinItsBound) {
  testing::FakeRandom random(3);
  for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
    for (const std::size_t dim : {1U, 3U, 64U, 384U, 1000U}) {
      for (int round = 0; round < 50; ++round) {
        std::vector<float> row(dim);
        std::vector<float> question(dim);
        for (auto& v : row) v = static_cast<float>(random.uniform() - 0.3);
        for (auto& v : question) v = static_cast<float>(random.uniform() - 0.6);
        if (metric == Metric::kCosine) {
          ASSERT_TRUE(normalize(row.data(), dim));
          ASSERT_TRUE(normalize(question.data(), dim));
        }
        std::vector<std::uint8_t> code(dim);
        const CodeHead head = encode(row.data(), dim, code.data());
        const QueryVector query(question.data(), dim, metric);
        const float guess =
            query.estimate(kernels().dot_u8s8(code.data(), query.code(), dim), head);
        double truth = 0;
        for (std::size_t i = 0; i < dim; ++i) {
          const double a = row[i];
          const double b = question[i];
          truth += metric == Metric::kL2 ? -(a - b) * (a - b) : a * b;
        }
        ASSERT_NEAR(guess, truth, query.bound(head));
        ASSERT_NEAR(query.score(row.data(), head), truth, 1e-5 * (1 + std::fabs(truth)));
      }
    }
  }
}

TEST(Codes, ZeroRowHasNoDirection) {
  std::vector<float> zero(8, 0.0F);
  EXPECT_FALSE(normalize(zero.data(), 8));
  std::vector<std::uint8_t> code(8);
  const CodeHead head = encode(zero.data(), 8, code.data());
  EXPECT_EQ(head.squares, 0.0F);
  EXPECT_EQ(head.error, 0.0F);
}

}  // namespace
}  // namespace dure::index
