#ifndef KUDARI_LAB_BENCH_BLAS_H_
#define KUDARI_LAB_BENCH_BLAS_H_

#include <string>

namespace kudari::lab {

/// A BLAS that was loaded at run time, to measure Kudari's own matrix products against. Nothing but
/// `kudari bench` uses one.
struct Blas {
  std::string name;  ///< the file, and what the library says of itself and of the processor

  /// cblas_sgemm: order, transpositions, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc
  void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
  void (*set_threads)(int);

  /// C <- alpha A op(B) + beta C for dense row-major matrices; C is m x n, op transposes if asked.
  void Multiply(bool transpose_b, int m, int n, int k, float alpha, const float* a, const float* b,
                float beta, float* c) const {
    constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;
    sgemm(kRowMajor, kNoTrans, transpose_b ? kTrans : kNoTrans, m, n, k, alpha, a, k, b,
          transpose_b ? k : n, beta, c, n);
  }
};

/// The name by which OpenBLAS is told to use the kernels for an instruction set of KernelTarget();
/// empty: let it choose.
std::string OpenBlasCore(const std::string& target);

/// Loads the library that KUDARI_BLAS names, or OpenBLAS. OpenBLAS chooses its kernels while it is
/// loaded and takes processors younger than itself for very old ones, so it is told the core type,
/// unless OPENBLAS_CORETYPE is set already. Throws Error if the library is missing or has no
/// cblas_sgemm or no way to set its threads.
Blas LoadBlas();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BLAS_H_
