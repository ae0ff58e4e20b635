#ifndef KUDARI_KERNELS_KERNELS_H_
#define KUDARI_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "kudari/registry.h"

namespace kudari::internal {

/// A PassFn that prefetches `distance` floats ahead: its own arrays and, if they are not null,
/// those of the next call, which are p, g and the state in this order. With kOnlyNext, it
/// prefetches the first n elements of the next arrays only.
using KernelFn = void (*)(const float* coeffs, const GradientForm<float>& form, float* p,
                          const float* g, float* const* state, size_t n, const float* const* next,
                          size_t distance);
inline constexpr size_t kOnlyNext = std::numeric_limits<size_t>::max();
/// The corresponding MeasureFn. `state` may be null if the pass does not use it; otherwise it is
/// prefetched.
using MeasureKernelFn = void (*)(const float* coeffs, const GradientForm<float>& form,
                                 const float* p, const float* g, float* const* state, size_t n,
                                 const float* const* next, size_t distance, double* sums);

/// A PassFn over rows of tables: those of p and of the state that have these numbers, n > 0
/// elements each, while `g` has a row for each number. As rows may be anywhere, those that come
/// soon are prefetched.
template <class T>
using RowsFn = void (*)(const T* coeffs, const GradientForm<T>& form, T* p, const T* g,
                        T* const* state, size_t n, std::span<const int64_t> rows);
/// A row is prefetched while one is updated that comes as many elements before it, or the one
/// before it.
inline constexpr size_t kRowsAhead = 256;

/// A rule's passes; those that it lacks are null.
struct RuleKernels {
  KernelFn update, hessian, evaluate;
  MeasureKernelFn measure;
  RowsFn<float> update_rows;
};

/// Passes over rows of a matrix with gradient x = form(g); see matrix/adafactor.cc. Sums over a row
/// are in double, in sixteen virtual lanes.
template <class T>
struct RowPasses {
  /// The greatest number of rows in one call of `columns`.
  static constexpr size_t kMostRows = 4;
  /// The sum of x^2.
  double (*squares)(const GradientForm<T>& form, const T* g, size_t n);
  /// For consecutive rows: columns[j] += the sum of x[row][j]^2, and scaled[j] += the sum of
  /// (x[row][j] scales[row])^2, both summed in T.
  void (*columns)(const GradientForm<T>& form, const T* g, size_t n, size_t rows, const T* scales,
                  double* columns, double* scaled);
  /// The sum of (x[j] w[j])^2.
  double (*weighted_squares)(const GradientForm<T>& form, const T* g, const T* w, size_t n);
  /// p[j] <- p[j] - (decay p[j] + (x[j] row) w[j]).
  void (*apply)(const GradientForm<T>& form, T* p, const T* g, const T* w, T row, T decay,
                size_t n);
  /// For vectors, which have a full variance: v[j] <- Mean(share, x[j]^2 + add, v[j]). Returns the
  /// sum of u^2, where u[j] = x[j] / sqrt(max(v[j], floor)), or 0 where that root is 0.
  double (*vary)(const GradientForm<T>& form, const T* g, T* v, T share, T add, T floor, size_t n);
  /// p[j] <- p[j] - (decay p[j] + step u[j]).
  void (*apply_varied)(const GradientForm<T>& form, T* p, const T* g, const T* v, T step, T decay,
                       T floor, size_t n);
};

/// The passes over plain numbers.
template <class T>
RowPasses<T> ScalarRows();

/// out <- x + l2 p + l1 sign(p), each product and sum rounded once, where x = form(g). This adds
/// the gradient of the penalties l1 |p| and l2 p^2 / 2; sign(0) is 0.
template <class T>
using PenalizeFn = void (*)(const GradientForm<T>& form, T l1, T l2, const T* p, const T* g,
                            size_t n, T* out);

/// The code that is compiled once for each instruction set. All sets give the same bits.
struct KernelSet {
  std::string_view target;  ///< "avx512", "avx2", "neon" or "scalar"
  /// In the order of AllRules; null in the scalar set, which uses RuleEntry::scalar.
  const RuleKernels* rules;
  /// lanes[i % 16] += x[i]^2, in double. The sums are finite if and only if every element is.
  void (*add_squares)(const float* x, size_t n, double* lanes);
  /// lanes[i % 16] += x[i], in double.
  void (*add)(const float* x, size_t n, double* lanes);
  /// lanes[i % 16] += x[i] y[i], in double.
  void (*add_products)(const float* x, const float* y, size_t n, double* lanes);
  RowPasses<float> rows;
  /// y <- y + a x, rounded once.
  void (*add_scaled)(float* y, const float* x, float a, size_t n);
  /// out <- (|w| + eta) x, rounded twice.
  void (*adapt)(const float* w, const float* x, float eta, size_t n, float* out);
  PenalizeFn<float> penalize;
  /// Replaces denormal numbers by zero.
  void (*flush)(float* x, size_t n);
  /// The instruction set that the code was actually compiled for, by Highway's name.
  std::string_view (*compiled_for)();

  /// The sum of squares, and the sum, with the lanes added in a fixed order.
  double sum_squares(const float* x, size_t n) const;
  double sum(const float* x, size_t n) const;
};

/// The sets that this machine can run, best first; the last is the scalar one.
const std::vector<KernelSet>& AllKernels();

/// The best set, or the one that KUDARI_TARGET names; throws Error if there is none of that name.
const KernelSet& Kernels();

/// How many floats ahead kernels prefetch: KUDARI_PREFETCH, or a default for this processor.
size_t PrefetchDistance();
inline constexpr size_t kMostPrefetch = 65536;
/// The value of KUDARI_PREFETCH; throws Error if it is not an integer in [0, kMostPrefetch].
size_t ParsePrefetch(std::string_view text);

/// The rules of rules/all.h that work element by element.
std::vector<RuleEntry> ElementwiseRules();

/// Scalar code; products and sums are fused only by std::fma.
const KernelSet& ScalarKernels();

/// Adds sixteen lanes in a fixed order.
inline double SumLanes(const double (&lanes)[16]) {
  double sum[16];
  for (int i = 0; i < 16; ++i) sum[i] = lanes[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
  }
  return sum[0];
}

inline double KernelSet::sum_squares(const float* x, size_t n) const {
  double lanes[16] = {};
  add_squares(x, n, lanes);
  return SumLanes(lanes);
}

inline double KernelSet::sum(const float* x, size_t n) const {
  double lanes[16] = {};
  add(x, n, lanes);
  return SumLanes(lanes);
}

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_KERNELS_H_
