#ifndef KUDARI_KERNELS_DOUBLES_H_
#define KUDARI_KERNELS_DOUBLES_H_

#include <cstddef>
#include <string_view>

#include "kernels/kernels.h"
#include "kudari/registry.h"

namespace kudari::internal {

/// What steps tensors of float64, compiled once for each instruction set. All sets give the same
/// bits.
struct DoubleKernels {
  /// In the order of AllRules, without the passes of curvature; null in the scalar set, which uses
  /// RuleEntry::scalar64.
  const ScalarPasses<double>* rules;
  /// The updates of rows of tables in the same order, null for rules that take no gradients of
  /// rows; null in the scalar set.
  const RowsFn<double>* update_rows;
  /// lanes[i % 16] += x[i]^2, rounded once.
  void (*add_squares)(const double* x, size_t n, double* lanes);
  PenalizeFn<double> penalize;
};

/// The kernels of the instruction set with that name, as in KernelSet::target.
const DoubleKernels& DoublesFor(std::string_view target);

/// Scalar code; products and sums are fused only by std::fma.
const DoubleKernels& ScalarDoubles();

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_DOUBLES_H_
