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

/// Two arrays of n elements, or for Copy of n bytes.
struct ArrayPair {
  Coded to, from;
  size_t n;
};

/// out <- a x + b y, where a x is rounded once, and the sum once; without y, a x. `out` may be x or
/// y. All are of any format.
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
  Coded weights;   // what the rule sees, with a master if there is one
  Coded visible;   // what the model sees, which is what changes
  Coded gradient;  // no data: none
  Coded kept;      // where a copy of the gradient is to be; no data: nowhere
  void* backup;    // where the visible weights are saved
  bool adapts;     // whether the gradient is multiplied by |w| + eta: once to be measured, twice
                   // to be moved along
  float scale;     // what it is then multiplied with; 0: the weights stay
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

/// The tensors of an optimiser and how they are stepped, as the passes of a step see them.
struct StepView {
  std::span<const Tensor> tensors;
  std::span<TensorRecord> records;  // beside tensors
  std::span<const Cohort> cohorts;
  const Parallel& parallel;
  bool check;  // Precision::check
};

/// A tensor whose rule has a point of its own to be evaluated: the coefficients of the update to
/// come, and where the weights are to be.
struct EvaluatedTensor {
  size_t tensor;
  const float* coeffs;
  Coded to;
};

/// What is done unit by unit before a rule sees the gradient.
struct UnitForms {
  double factor;      // of the whole gradient
  double clip_value;  // of its elements
  double clip_unit;   // of the norm of a unit relative to that of its weights, at least eps
  double eps;
};

}  // namespace internal

/// Memory that tensors live in, and all the arithmetic that reaches it: the optimiser itself never
/// follows a pointer to a parameter, a gradient or a state. Every backend gives the same bits.
/// Arrays are internal::Coded, which says what format their memory has.
class Backend {
 public:
  /// Of what Allocate gives.
  static constexpr size_t kAlignment = 64;

  Backend() = default;
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  virtual std::string_view name() const = 0;

  /// Memory of any content; throws std::bad_alloc. Null for no bytes.
  virtual std::byte* Allocate(size_t bytes) = 0;
  virtual void Free(std::byte* memory) noexcept = 0;
  /// Copies from the backend's memory to the host's, the reverse, and within the backend's. They do
  /// not fail.
  virtual void Read(const void* from, std::span<std::byte> to) noexcept = 0;
  virtual void Write(std::span<const std::byte> from, void* to) noexcept = 0;
  virtual void Copy(const void* from, void* to, size_t bytes) noexcept = 0;
  /// Sets every byte to `value`.
  virtual void Fill(void* at, uint8_t value, size_t bytes) noexcept = 0;

  /// Elements [begin, begin + to.size()) of an array in float32 at the host, and the reverse; what
  /// Codecs::store says about `begin` is true here. Threads may call them for different elements.
  virtual void Load(const internal::Coded& from, size_t begin, std::span<float> to) = 0;
  virtual void Store(std::span<const float> from, size_t begin, const internal::Coded& to) = 0;

  // Operations of stages on lists of arrays, with as many workers as `parallel` wants. They
  // allocate nothing and do not fail. `to` is float32 unless the comment says something else.

  /// to <- from, byte by byte.
  virtual void Copy(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) = 0;
  /// to <- from, each of any format.
  virtual void Convert(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) = 0;
  /// to <- to + weight (from - to), in double, rounded once; from, for a weight of 1.
  virtual void Blend(std::span<const internal::ArrayPair> pairs, double weight,
                     const Parallel& parallel) = 0;
  /// Both <- (1 - alpha) to + alpha from, in double, rounded once; `from` is of any format.
  virtual void Meet(std::span<const internal::ArrayPair> pairs, double alpha,
                    const Parallel& parallel) = 0;
  /// out <- a x + b y, as Combination says.
  virtual void Combine(std::span<const internal::Combination> combinations,
                       const Parallel& parallel) = 0;
  /// Saves the visible weights, keeps the gradient and moves the weights.
  virtual void Perturb(std::span<const internal::Perturbation> perturbations, float eta,
                       const Parallel& parallel) = 0;
  /// Saves the visible weights and subtracts factor times the momentum, in double, rounded once.
  virtual void Subtract(std::span<const internal::Shift> shifts, const Parallel& parallel) = 0;

  /// The sums of to from, to^2 and from^2 of each pair, 0 for arrays without data.
  virtual void SumProducts(std::span<const internal::ArrayPair> pairs, internal::BlockSums& sums,
                           const Parallel& parallel) = 0;
  /// The sums of the squares of each gradient as it is measured, and, if asked, of the weights;
  /// none for tensors without a gradient.
  virtual void SumMeasured(std::span<const internal::Perturbation> perturbations, float eta,
                           bool weights, internal::BlockSums& sums, const Parallel& parallel) = 0;

  /// Notes in a cohort, and in a tensor with its gradient bound, which code steps them.
  virtual void Choose(internal::Cohort& cohort) const = 0;
  virtual void Choose(const internal::Cohort& cohort, bool check,
                      internal::TensorRecord& s) const = 0;

  /// The sum of squares of each piece's gradient, finite exactly if every element is.
  virtual void SumSquares(const internal::StepView& step, const internal::Work& work,
                          std::span<double> sums) = 0;
  /// The sum of squares of the first n elements of an array, added block by block.
  virtual double SumSquares(const internal::Coded& array, int64_t n) = 0;
  /// Fills Extra::units of these tensors: adaptive clipping, then centralisation.
  virtual void FormUnits(const internal::StepView& step, std::span<const size_t> tensors,
                         const internal::UnitForms& forms) = 0;

  /// Updates by rules without norms; first passes of rules with norms, whose sums go to
  /// sums[piece * RuleEntry::kMostNorms ...]; both passes over tensors of at most kLargestPiece
  /// elements.
  virtual void FirstPass(const internal::StepView& step, const internal::Work& work,
                         std::span<double> sums) = 0;
  /// Second passes, with the coefficients in Extra::adapted.
  virtual void SecondPass(const internal::StepView& step, const internal::Work& work) = 0;
  /// Steps of rules that see whole tensors: one after the other, or side by side, one worker each;
  /// `scratch` has the memory of each worker.
  virtual void StepOneByOne(const internal::StepView& step, std::span<const size_t> tensors,
                            std::span<float* const> scratch) = 0;
  virtual void StepSideBySide(const internal::StepView& step, std::span<const size_t> tensors,
                              std::span<float* const> scratch) = 0;

  /// Takes an estimate of the Hessian's diagonal into the state; `estimates` has one for each
  /// tensor.
  virtual void UpdateHessian(const internal::StepView& step, const internal::Work& work,
                             std::span<const internal::Coded> estimates) = 0;
  /// Puts the weights that rules want to be evaluated in their places.
  virtual void Evaluate(const internal::StepView& step,
                        std::span<const internal::EvaluatedTensor> tensors) = 0;
};

}  // namespace kudari

#endif  // KUDARI_BACKEND_BACKEND_H_
