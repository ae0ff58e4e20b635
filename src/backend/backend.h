#ifndef KUDARI_BACKEND_BACKEND_H_
#define KUDARI_BACKEND_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backend/work.h"
#include "core/sums.h"
#include "kudari/tensor.h"

namespace kudari {
namespace internal {

/// Two arrays of n elements; for Copy, of n bytes.
struct ArrayPair {
  Coded to, from;
  size_t n;
};

/// out <- a x + b y, where a x and the sum are each rounded once; without y, out <- a x. `out` may
/// be x or y. Any format is allowed for each.
struct Combination {
  Coded out;
  float a;
  Coded x;
  float b;
  Coded y;  // no data: none
  size_t n;
};

/// How a source moves the weights of a tensor along its gradient.
struct Perturbation {
  Coded weights;   // what the rule sees, including a master
  Coded visible;   // what the model sees, which is what changes
  Coded gradient;  // no data: none
  Coded kept;      // where to copy the gradient; no data: nowhere
  void* backup;    // where to save the visible weights
  bool adapts;  // whether the gradient is multiplied by |w| + eta: once for its norm, twice for the
                // move
  float scale;  // then multiplies the gradient; 0: the weights stay
  size_t n;
};

/// How a source moves the weights of a tensor against its momentum.
struct Shift {
  Coded weights, visible;  // as in Perturbation
  Coded momentum;          // no data: the weights stay
  void* backup;
  double factor;
  size_t n;
};

/// The tensors of an optimiser and how they are stepped, for the passes of a step.
struct StepView {
  std::span<const Tensor> tensors;
  std::span<TensorRecord> records;  // parallel to `tensors`
  std::span<const Cohort> cohorts;
  const Parallel& parallel;
  bool check;  // Precision::check
};

/// A tensor whose rule has its own evaluation point: the coefficients of the next update, in double
/// for one of float64, and where to put the weights.
struct EvaluatedTensor {
  size_t tensor;
  const float* coeffs;
  const double* exact;
  Coded to;
};

/// Per-unit work on the gradient before a rule sees it.
struct UnitForms {
  double factor;      // for the whole gradient
  double clip_value;  // bound on its elements
  double clip_unit;   // bound on a unit's norm relative to that of its weights, at least eps
  double eps;
};

}  // namespace internal

/// The memory that tensors live in, with all the arithmetic on it: the optimiser itself never
/// dereferences a pointer to a parameter, a gradient or state. Every backend gives the same bits.
/// Arrays are internal::Coded, which includes the format of their memory.
class Backend {
 public:
  /// The alignment, in bytes, of memory from Allocate.
  static constexpr size_t kAlignment = 64;

  Backend() = default;
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  virtual std::string_view name() const = 0;

  /// Allocates uninitialised memory; null for no bytes. Throws std::bad_alloc.
  virtual std::byte* Allocate(size_t bytes) = 0;
  virtual void Free(std::byte* memory) noexcept = 0;
  /// Copies from the backend's memory to the host's, with as many workers as `parallel` allows. It
  /// cannot fail.
  virtual void Read(const void* from, std::span<std::byte> to, const Parallel& parallel) = 0;
  /// Copy from the host's memory to the backend's, and within the backend's. They cannot fail.
  virtual void Write(std::span<const std::byte> from, void* to) noexcept = 0;
  virtual void Copy(const void* from, void* to, size_t bytes) noexcept = 0;
  /// Sets every byte to `value`.
  virtual void Fill(void* at, uint8_t value, size_t bytes) noexcept = 0;

  /// Load elements [begin, begin + to.size()) of an array as float32 into host memory, and store
  /// them. The conditions of Codecs::store on `begin` apply. Threads may call these for different
  /// elements.
  virtual void Load(const internal::Coded& from, size_t begin, std::span<float> to) = 0;
  virtual void Store(std::span<const float> from, size_t begin, const internal::Coded& to) = 0;

  // Operations of stages on lists of arrays, with as many workers as `parallel` allows. They
  // allocate nothing and cannot fail. `to` is float32 unless noted otherwise.

  /// to <- from, byte by byte.
  virtual void Copy(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) = 0;
  /// to <- from, each of any format.
  virtual void Convert(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) = 0;
  /// to <- to + weight (from - to), computed in double and rounded once; for a weight of 1, to <-
  /// from.
  virtual void Blend(std::span<const internal::ArrayPair> pairs, double weight,
                     const Parallel& parallel) = 0;
  /// Both arrays <- (1 - alpha) to + alpha from, computed in double and rounded once. `from` has
  /// any format.
  virtual void Meet(std::span<const internal::ArrayPair> pairs, double alpha,
                    const Parallel& parallel) = 0;
  /// out <- a x + b y; see Combination.
  virtual void Combine(std::span<const internal::Combination> combinations,
                       const Parallel& parallel) = 0;
  /// Saves the visible weights, keeps the gradient and moves the weights.
  virtual void Perturb(std::span<const internal::Perturbation> perturbations, float eta,
                       const Parallel& parallel) = 0;
  /// Saves the visible weights and subtracts factor times the momentum, computed in double and
  /// rounded once.
  virtual void Subtract(std::span<const internal::Shift> shifts, const Parallel& parallel) = 0;

  /// The sums of to * from, to^2 and from^2 for each pair; 0 for arrays without data.
  virtual void SumProducts(std::span<const internal::ArrayPair> pairs, internal::BlockSums& sums,
                           const Parallel& parallel) = 0;
  /// The sums of squares of each gradient as it is measured and, if `weights` is set, of the
  /// weights; zero for tensors without a gradient.
  virtual void SumMeasured(std::span<const internal::Perturbation> perturbations, float eta,
                           bool weights, internal::BlockSums& sums, const Parallel& parallel) = 0;

  /// Choose the code that steps a cohort, and a tensor whose gradient is bound, and record it
  /// there.
  virtual void Choose(internal::Cohort& cohort) const = 0;
  virtual void Choose(const internal::Cohort& cohort, bool check,
                      internal::TensorRecord& s) const = 0;

  /// The sum of squares of each piece's gradient, which is finite if and only if every element is.
  virtual void SumSquares(const internal::StepView& step, const internal::Work& work,
                          std::span<double> sums) = 0;
  /// The sum of squares of the first n elements of an array, added block by block.
  virtual double SumSquares(const internal::Coded& array, int64_t n) = 0;
  /// Fills Extra::units of these tensors: adaptive clipping, then centralisation.
  virtual void FormUnits(const internal::StepView& step, std::span<const size_t> tensors,
                         const internal::UnitForms& forms) = 0;

  /// Runs the updates of rules without norms; the first passes of rules with norms, whose sums go
  /// to sums[piece * RuleEntry::kMostNorms ...]; and both passes for tensors of at most
  /// kLargestPiece elements.
  virtual void FirstPass(const internal::StepView& step, const internal::Work& work,
                         std::span<double> sums) = 0;
  /// Runs the second passes, with the coefficients in Extra::adapted.
  virtual void SecondPass(const internal::StepView& step, const internal::Work& work) = 0;
  /// Runs the updates of the rows that gradients are of. Pieces are of the elements of gradients,
  /// and of whole rows.
  virtual void UpdateRows(const internal::StepView& step, const internal::Work& work) = 0;
  /// Step tensors by rules that see whole tensors: one after the other, or in parallel with one
  /// worker each. `scratch` has the memory of each worker.
  virtual void StepOneByOne(const internal::StepView& step, std::span<const size_t> tensors,
                            std::span<float* const> scratch) = 0;
  virtual void StepSideBySide(const internal::StepView& step, std::span<const size_t> tensors,
                              std::span<float* const> scratch) = 0;

  /// Updates the state with estimates of the Hessian's diagonal, one for each tensor.
  virtual void UpdateHessian(const internal::StepView& step, const internal::Work& work,
                             std::span<const internal::Coded> estimates) = 0;
  /// Writes the weights that rules want evaluated to their destinations.
  virtual void Evaluate(const internal::StepView& step,
                        std::span<const internal::EvaluatedTensor> tensors) = 0;
};

}  // namespace kudari

#endif  // KUDARI_BACKEND_BACKEND_H_
