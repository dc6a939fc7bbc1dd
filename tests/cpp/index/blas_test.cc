// Our matrix products against the textbook loop, every transposition and odd size.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "fake_random.h"

extern "C" {
int sgemm_(const char* transa, const char* transb, int* m, int* n, int* k, const float* alpha,
           const float* a, int* lda, const float* b, int* ldb, float* beta, float* c, int* ldc);
int ssyrk_(const char* uplo, const char* trans, int* n, int* k, float* alpha, float* a, int* lda,
           float* beta, float* c, int* ldc);
}

namespace dure::index {
namespace {

using Matrix = std::vector<float>;  // column-major

Matrix random_matrix(std::size_t size, testing::FakeRandom& random) {
  Matrix matrix(size);
  for (float& value : matrix) value = static_cast<float>(random.uniform() - 0.5);
  return matrix;
}

float element(const Matrix& x, int stride, bool transposed, int row, int column) {
  return x[static_cast<std::size_t>(transposed ? column + row * stride : row + column * stride)];
}

TEST(Blas, SgemmEqualsTheTextbook) {
  testing::FakeRandom random(1);
  const std::vector<std::vector<int>> sizes{{1, 1, 1},    {16, 4, 256}, {17, 5, 257},
                                            {3, 300, 40}, {270, 7, 33}, {64, 64, 64}};
  for (const auto& size : sizes) {
    for (const std::string flags : {"NN", "NT", "TN", "TT"}) {
      int m = size[0];
      int n = size[1];
      int k = size[2];
      const bool ta = flags[0] == 'T';
      const bool tb = flags[1] == 'T';
      int lda = (ta ? k : m) + 2;
      int ldb = (tb ? n : k) + 1;
      int ldc = m + 3;
      const Matrix a = random_matrix(static_cast<std::size_t>(lda) * (ta ? m : k), random);
      const Matrix b = random_matrix(static_cast<std::size_t>(ldb) * (tb ? k : n), random);
      Matrix c = random_matrix(static_cast<std::size_t>(ldc) * n, random);
      const Matrix before = c;
      float alpha = 1.5F;
      float beta = 0.25F;
      sgemm_(&flags[0], &flags[1], &m, &n, &k, &alpha, a.data(), &lda, b.data(), &ldb, &beta,
             c.data(), &ldc);
      for (int j = 0; j < n; ++j) {
        for (int i = 0; i < m; ++i) {
          double sum = 0;
          for (int p = 0; p < k; ++p) {
            sum += static_cast<double>(element(a, lda, ta, i, p)) * element(b, ldb, tb, p, j);
          }
          const double want = 1.5 * sum + 0.25 * element(before, ldc, false, i, j);
          ASSERT_NEAR(element(c, ldc, false, i, j), want, 1e-3) << flags << " " << m << "x" << n;
        }
      }
    }
  }
}

TEST(Blas, SsyrkFillsOneTriangleOnly) {
  testing::FakeRandom random(2);
  for (const char uplo : {'U', 'L'}) {
    for (const char trans : {'N', 'T'}) {
      int n = 19;
      int k = 37;
      int lda = trans == 'N' ? n : k;
      Matrix a = random_matrix(static_cast<std::size_t>(n) * static_cast<std::size_t>(k), random);
      Matrix c(static_cast<std::size_t>(n * n), 7.0F);
      float alpha = 2.0F;
      float beta = 0.0F;
      ssyrk_(&uplo, &trans, &n, &k, &alpha, a.data(), &lda, &beta, c.data(), &n);
      for (int j = 0; j < n; ++j) {
        for (int i = 0; i < n; ++i) {
          const bool inside = uplo == 'U' ? i <= j : i >= j;
          double sum = 0;
          for (int p = 0; p < k; ++p) {
            sum += static_cast<double>(element(a, lda, trans == 'T', i, p)) *
                   element(a, lda, trans == 'T', j, p);
          }
          ASSERT_NEAR(element(c, n, false, i, j), inside ? 2 * sum : 7.0, 1e-3);
        }
      }
    }
  }
}

}  // namespace
}  // namespace dure::index
