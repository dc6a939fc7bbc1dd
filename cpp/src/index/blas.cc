// The eight Fortran symbols that the FAISS archive needs, so that OpenBLAS is not linked
// (docs/decisions/0005): it would cost 13 MB of memory and a thread at import.
//
// sgemm, dgemm and ssyrk are ours: column-major, single-threaded, packed and blocked. The LAPACK
// routines serve only the training of rotations (PCA, OPQ, ITQ); they are opened from libopenblas
// on first use, and throw std::runtime_error if it is not there: index builds catch it and answer
// kUnsupported. Thread-safe.
#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Int = int;  // FAISS's FINTEGER

// A matrix in memory as the micro-kernel wants it: element (i, j) of op(X).
template <typename T>
struct View {
  const T* data;
  std::size_t stride;
  bool transposed;
  [[nodiscard]] T at(std::size_t row, std::size_t column) const noexcept {
    return transposed ? data[column + row * stride] : data[row + column * stride];
  }
};

bool is_transposed(const char* flag) noexcept { return *flag != 'N' && *flag != 'n'; }

constexpr std::size_t kRows = 16;     // rows of C a micro-kernel holds: two AVX2 registers of float
constexpr std::size_t kColumns = 4;   // columns of C it holds
constexpr std::size_t kDepth = 256;   // depth of one packed panel: fits the second-level cache
constexpr std::size_t kHeight = 256;  // rows of one packed panel of A

// tile (kRows x kColumns, column-major) += a (depth x kRows) * b (depth x kColumns).
template <typename T>
[[gnu::always_inline]] inline void multiply_tile(const T* a, const T* b, std::size_t depth,
                                                 T* tile) noexcept {
  T sums[kColumns][kRows] = {};
  for (std::size_t p = 0; p < depth; ++p) {
    for (std::size_t j = 0; j < kColumns; ++j) {
      const T factor = b[p * kColumns + j];
      for (std::size_t i = 0; i < kRows; ++i) sums[j][i] += a[p * kRows + i] * factor;
    }
  }
  for (std::size_t j = 0; j < kColumns; ++j) {
    for (std::size_t i = 0; i < kRows; ++i) tile[j * kRows + i] = sums[j][i];
  }
}

#if defined(__x86_64__)
__attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512"), optimize("O3")))
#endif
void multiply(const float* a, const float* b, std::size_t depth, float* tile) noexcept {
  multiply_tile(a, b, depth, tile);
}
#if defined(__x86_64__)
__attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512"), optimize("O3")))
#endif
void multiply(const double* a, const double* b, std::size_t depth, double* tile) noexcept {
  multiply_tile(a, b, depth, tile);
}

// Copies `count` lanes x `depth` of a view into panels of `width` lanes, padded with zeros.
template <typename T, typename At>
void pack(std::vector<T>& out, std::size_t lanes, std::size_t depth, std::size_t width, At at) {
  const std::size_t panels = (lanes + width - 1) / width;
  out.assign(panels * width * depth, T{0});
  for (std::size_t panel = 0; panel < panels; ++panel) {
    const std::size_t first = panel * width;
    const std::size_t here = std::min(width, lanes - first);
    T* base = out.data() + panel * width * depth;
    for (std::size_t p = 0; p < depth; ++p) {
      for (std::size_t lane = 0; lane < here; ++lane) base[p * width + lane] = at(first + lane, p);
    }
  }
}

template <typename T>
void gemm(std::size_t m, std::size_t n, std::size_t k, T alpha, View<T> a, View<T> b, T beta, T* c,
          std::size_t ldc) {
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = 0; i < m; ++i) {
      c[i + j * ldc] = beta == T{0} ? T{0} : c[i + j * ldc] * beta;
    }
  }
  if (alpha == T{0}) return;
  std::vector<T> packed_a;
  std::vector<T> packed_b;
  T tile[kRows * kColumns];
  for (std::size_t depth0 = 0; depth0 < k; depth0 += kDepth) {
    const std::size_t depth = std::min(kDepth, k - depth0);
    pack(packed_b, n, depth, kColumns,
         [&](std::size_t lane, std::size_t p) { return b.at(depth0 + p, lane); });
    for (std::size_t row0 = 0; row0 < m; row0 += kHeight) {
      const std::size_t rows = std::min(kHeight, m - row0);
      pack(packed_a, rows, depth, kRows,
           [&](std::size_t lane, std::size_t p) { return a.at(row0 + lane, depth0 + p); });
      for (std::size_t j = 0; j < n; j += kColumns) {
        for (std::size_t i = 0; i < rows; i += kRows) {
          multiply(packed_a.data() + i * depth, packed_b.data() + j * depth, depth, tile);
          const std::size_t wide = std::min(kColumns, n - j);
          const std::size_t high = std::min(kRows, rows - i);
          for (std::size_t y = 0; y < wide; ++y) {
            T* column = c + row0 + i + (j + y) * ldc;
            for (std::size_t x = 0; x < high; ++x) column[x] += alpha * tile[y * kRows + x];
          }
        }
      }
    }
  }
}

template <typename T>
void fortran_gemm(const char* transa, const char* transb, const Int* m, const Int* n, const Int* k,
                  const T* alpha, const T* a, const Int* lda, const T* b, const Int* ldb,
                  const T* beta, T* c, const Int* ldc) {
  const auto size = [](const Int* value) { return static_cast<std::size_t>(*value); };
  gemm<T>(size(m), size(n), size(k), *alpha, {a, size(lda), is_transposed(transa)},
          {b, size(ldb), is_transposed(transb)}, *beta, c, size(ldc));
}

// The routine `name` of libopenblas; throws if the library is not installed.
void* lapack(const char* name) {
  static std::mutex mutex;
  static void* library = nullptr;
  const std::lock_guard lock(mutex);
  if (library == nullptr) library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  void* routine = library == nullptr ? nullptr : dlsym(library, name);
  if (routine == nullptr) {
    throw std::runtime_error(std::string(name) +
                             " needs LAPACK: install libopenblas0, or choose an index type "
                             "without a trained rotation");
  }
  return routine;
}

template <typename Routine, typename... Arguments>
int call(const char* name, Arguments... arguments) {
  return reinterpret_cast<Routine>(lapack(name))(arguments...);
}

}  // namespace

extern "C" {

int sgemm_(const char* transa, const char* transb, Int* m, Int* n, Int* k, const float* alpha,
           const float* a, Int* lda, const float* b, Int* ldb, float* beta, float* c, Int* ldc) {
  fortran_gemm<float>(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  return 0;
}

int dgemm_(const char* transa, const char* transb, Int* m, Int* n, Int* k, const double* alpha,
           const double* a, Int* lda, const double* b, Int* ldb, double* beta, double* c,
           Int* ldc) {
  fortran_gemm<double>(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  return 0;
}

// C (n x n, one triangle named by uplo) = alpha * A * A^T + beta * C, or A^T * A.
int ssyrk_(const char* uplo, const char* trans, Int* n, Int* k, float* alpha, float* a, Int* lda,
           float* beta, float* c, Int* ldc) {
  const auto size = static_cast<std::size_t>(*n);
  const auto stride = static_cast<std::size_t>(*ldc);
  const bool flipped = is_transposed(trans);
  std::vector<float> full(size * size);
  gemm<float>(size, size, static_cast<std::size_t>(*k), *alpha,
              {a, static_cast<std::size_t>(*lda), flipped},
              {a, static_cast<std::size_t>(*lda), !flipped}, 0.0F, full.data(), size);
  const bool upper = *uplo == 'U' || *uplo == 'u';
  for (std::size_t j = 0; j < size; ++j) {
    const std::size_t from = upper ? 0 : j;
    const std::size_t to = upper ? j + 1 : size;
    for (std::size_t i = from; i < to; ++i) {
      float& out = c[i + j * stride];
      out = full[i + j * size] + (*beta == 0.0F ? 0.0F : *beta * out);
    }
  }
  return 0;
}

int sgeqrf_(Int* m, Int* n, float* a, Int* lda, float* tau, float* work, Int* lwork, Int* info) {
  return call<decltype(&sgeqrf_)>("sgeqrf_", m, n, a, lda, tau, work, lwork, info);
}

int sorgqr_(Int* m, Int* n, Int* k, float* a, Int* lda, float* tau, float* work, Int* lwork,
            Int* info) {
  return call<decltype(&sorgqr_)>("sorgqr_", m, n, k, a, lda, tau, work, lwork, info);
}

int sgesvd_(const char* jobu, const char* jobvt, Int* m, Int* n, float* a, Int* lda, float* s,
            float* u, Int* ldu, float* vt, Int* ldvt, float* work, Int* lwork, Int* info) {
  return call<decltype(&sgesvd_)>("sgesvd_", jobu, jobvt, m, n, a, lda, s, u, ldu, vt, ldvt, work,
                                  lwork, info);
}

int dgesvd_(const char* jobu, const char* jobvt, Int* m, Int* n, double* a, Int* lda, double* s,
            double* u, Int* ldu, double* vt, Int* ldvt, double* work, Int* lwork, Int* info) {
  return call<decltype(&dgesvd_)>("dgesvd_", jobu, jobvt, m, n, a, lda, s, u, ldu, vt, ldvt, work,
                                  lwork, info);
}

int dsyev_(const char* jobz, const char* uplo, Int* n, double* a, Int* lda, double* w, double* work,
           Int* lwork, Int* info) {
  return call<decltype(&dsyev_)>("dsyev_", jobz, uplo, n, a, lda, w, work, lwork, info);
}

}  // extern "C"
