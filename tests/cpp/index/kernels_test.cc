#include "dure/index/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "dure/index/codes.h"
#include "fake_random.h"

namespace dure::index {
namespace {

std::vector<const Kernels*> tables() {
  std::vector<const Kernels*> found;
  for (const Simd simd : {Simd::kScalar, Simd::kAvx2, Simd::kAvx512, Simd::kVnni}) {
    if (const Kernels* table = kernels_for(simd)) found.push_back(table);
  }
  return found;
}

// A buffer that ends with its allocation, at any alignment: a read past it is the sanitizer's.
template <typename T>
struct Exact {
  explicit Exact(std::size_t n, std::size_t shift = 0)
      : memory(new T[n + shift]), values(memory.get() + shift, n) {}
  std::unique_ptr<T[]> memory;
  std::span<T> values;
};

std::int32_t slow_codes(std::span<const std::uint8_t> codes, std::span<const std::int8_t> query) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) sum += std::int64_t{codes[i]} * query[i];
  return static_cast<std::int32_t>(sum);
}

double slow_dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

std::vector<float> random_vector(std::size_t n, base::Random& random) {
  std::vector<float> vector(n);
  for (float& value : vector) value = static_cast<float>(random.uniform() * 2 - 1);
  return vector;
}

TEST(Kernels, IntegerProductsAreExactAtEveryLengthAndAlignment) {
  testing::FakeRandom random(1);
  for (const Kernels* table : tables()) {
    for (std::size_t n = 0; n <= 330; ++n) {
      const std::size_t shift = n % 7;
      Exact<std::int8_t> query(n, shift);
      for (auto& value : query.values) value = static_cast<std::int8_t>(random.next());
      std::vector<Exact<std::uint8_t>> rows;
      const std::uint8_t* starts[4];
      for (std::size_t row = 0; row < 4; ++row) {
        rows.emplace_back(n, (shift + row) % 5);
        for (auto& value : rows[row].values) value = static_cast<std::uint8_t>(random.next());
        starts[row] = rows[row].values.data();
      }
      std::int32_t four[4];
      table->dot_codes4(starts, query.values.data(), n, four);
      for (std::size_t row = 0; row < 4; ++row) {
        const std::int32_t expected = slow_codes(rows[row].values, query.values);
        ASSERT_EQ(table->dot_codes(starts[row], query.values.data(), n), expected)
            << table->name << " " << n;
        ASSERT_EQ(four[row], expected) << table->name << " " << n;
      }
    }
  }
}

TEST(Kernels, IntegerProductsHoldTheExtremesUpToTheLongestVector) {
  for (const Kernels* table : tables()) {
    for (const std::size_t n : {std::size_t{64}, std::size_t{777}, kMaxDim}) {
      const std::vector<std::uint8_t> codes(n, 255);
      for (const int level : {127, -127, -128}) {
        const std::vector<std::int8_t> query(n, static_cast<std::int8_t>(level));
        EXPECT_EQ(table->dot_codes(codes.data(), query.data(), n),
                  static_cast<std::int32_t>(std::int64_t{255} * level * static_cast<int>(n)))
            << table->name << " " << n;
      }
    }
  }
}

TEST(Kernels, FloatProductsAreWithinRoundingAtEveryLength) {
  testing::FakeRandom random(2);
  for (const Kernels* table : tables()) {
    for (std::size_t n = 0; n <= 400; n += n < 140 ? 1 : 13) {
      Exact<float> query(n, n % 3);
      for (float& value : query.values) value = static_cast<float>(random.uniform() * 2 - 1);
      std::vector<Exact<float>> rows;
      const float* starts[4];
      for (std::size_t row = 0; row < 4; ++row) {
        rows.emplace_back(n, row);
        for (float& value : rows[row].values) value = static_cast<float>(random.uniform() * 2 - 1);
        starts[row] = rows[row].values.data();
      }
      float four[4];
      table->dot4(starts, query.values.data(), n, four);
      const double tolerance = 1e-6 * (static_cast<double>(n) + 1);
      for (std::size_t row = 0; row < 4; ++row) {
        const double expected = slow_dot(rows[row].values, query.values);
        ASSERT_NEAR(table->dot(starts[row], query.values.data(), n), expected, tolerance)
            << table->name << " " << n;
        ASSERT_NEAR(four[row], expected, tolerance) << table->name << " " << n;
        double gap = 0;
        for (std::size_t i = 0; i < n; ++i) {
          gap += std::pow(double{rows[row].values[i]} - query.values[i], 2);
        }
        ASSERT_NEAR(table->squared_l2(starts[row], query.values.data(), n), gap, 2 * tolerance)
            << table->name << " " << n;
      }
    }
  }
}

TEST(Kernels, TheOverrideNamesATableOrFails) {
  EXPECT_EQ(choose_kernels("scalar").value()->simd, Simd::kScalar);
  EXPECT_EQ(choose_kernels("").value(), tables().back());
  for (const char* name : {"AVX2", "neon", "scalar "}) {
    EXPECT_EQ(choose_kernels(name).error().code(), base::Code::kInvalidArgument) << name;
  }
  for (const Kernels* table : tables()) {
    EXPECT_EQ(choose_kernels(table->name).value(), table);
  }
  EXPECT_NE(&kernels(), nullptr);
}

TEST(Codes, ComeBackWithinHalfAScale) {
  testing::FakeRandom random(3);
  for (const std::size_t n : {1U, 2U, 63U, 384U, 1537U}) {
    const std::vector<float> vector = random_vector(n, random);
    std::vector<std::uint8_t> codes(n);
    const float scale = encode(vector, codes.data());
    std::vector<float> back(n);
    decode(codes.data(), scale, back);
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_NEAR(back[i], vector[i], scale * 0.5001F);
      ASSERT_GE(codes[i], 1);
    }
  }
}

TEST(Codes, ScoreIsTheProductOfTheDecodedVectors) {
  testing::FakeRandom random(4);
  for (int round = 0; round < 50; ++round) {
    const std::size_t n = 1 + random.next() % 900;
    const std::vector<float> row = random_vector(n, random);
    const std::vector<float> query = random_vector(n, random);
    std::vector<std::uint8_t> codes(n);
    const float scale = encode(row, codes.data());
    CodedQuery coded;
    encode_query(query, coded);
    std::vector<float> row_back(n);
    decode(codes.data(), scale, row_back);
    std::vector<float> query_back(n);
    for (std::size_t i = 0; i < n; ++i) {
      query_back[i] = coded.scale * static_cast<float>(coded.values[i]);
    }
    const std::int32_t product = kernels().dot_codes(codes.data(), coded.values.data(), n);
    ASSERT_NEAR(coded_score(product, scale, coded), slow_dot(row_back, query_back), 1e-3);
    const double bound = 0.51 * static_cast<double>(n) * (double{scale} + coded.scale) + 1e-3;
    ASSERT_NEAR(coded_score(product, scale, coded), slow_dot(row, query), bound);
  }
}

TEST(Codes, ZeroTinyAndHugeVectorsHold) {
  std::vector<std::uint8_t> codes(3);
  EXPECT_EQ(encode(std::vector<float>{0, -0.0F, 0}, codes.data()), 0.0F);
  EXPECT_EQ(codes, std::vector<std::uint8_t>(3, 128));
  CodedQuery query;
  encode_query(std::vector<float>{0, 0, 0}, query);
  EXPECT_EQ(query.offset, 0);
  EXPECT_EQ(coded_score(0, 0, query), 0.0F);
  for (const float size : {1e-45F, 1e-40F, 1e-30F, 3e38F}) {
    const float scale = encode(std::vector<float>{size, -size, 0}, codes.data());
    EXPECT_TRUE(std::isfinite(scale));
    EXPECT_EQ(codes[2], 128);
    EXPECT_EQ(int{codes[0]} + int{codes[1]}, 256) << size;
  }
}

}  // namespace
}  // namespace dure::index
