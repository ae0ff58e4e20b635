#ifndef KUDARI_STEP_H_
#define KUDARI_STEP_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/tensor.h"

namespace kudari {

class StateVisitor;

namespace internal {
struct Coded;
}

// A step consists of a source, scales, the fused pass of the rules, and averagers. Each stage has
// one task, so that a step cannot be assembled in the wrong order.

/// Marks a value that was not measured; a NaN.
inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// The pass that a source asks the oracle for.
enum class Pass {
  kPlain,     ///< at the weights, or at the shifted weights of NesterovLookahead
  kPerturbed  ///< at weights that a sharpness-aware source has moved. These calls repeat the plain
              ///< calls of the step with the same batches in the same order and the same random
              ///< numbers; they should not update batch-norm statistics
};

/// The result of an oracle call: the mean loss over `samples` samples, in [0, inf). A batch of zero
/// samples adds nothing; its loss and gradients are ignored.
struct Evaluation {
  Evaluation(double loss, double samples = 1)  // NOLINT(google-explicit-constructor): a loss is one
      : loss(loss), samples(samples) {}
  /// The end of the data: there was no batch for this call.
  static Evaluation End() {
    Evaluation e(kNotMeasured, 0);
    e.end = true;
    return e;
  }
  double loss, samples;
  bool end = false;
};

/// The user's forward and backward pass: it writes every gradient, as a mean over its samples, and
/// returns the loss. It must not change parameters. It may call tensors() and those members of the
/// optimiser that change nothing (Value, Plan, steps ...).
using Oracle = std::function<Evaluation(Pass)>;

/// How the engine distributes work over threads. The result of a step does not depend on it, nor on
/// the threads' floating-point modes (flush to zero, rounding, traps), which are restored
/// afterwards.
///
/// OpenMP ends the process if it cannot create its threads because of limits on processes or
/// memory; a pool provided as `run` can handle this differently. A child of fork has no OpenMP
/// threads and runs the parts one after the other.
struct Parallel {
  /// The number of workers; 0 for OpenMP's default.
  int threads = 0;
  /// Calls f(0) ... f(n - 1), each once, possibly concurrently, and returns when all have returned.
  /// Empty: OpenMP. Set it to use your own thread pool.
  std::function<void(int n, const std::function<void(int)>& f)> run = {};
};

/// The gradient as a source made it: for tensor i it is factor * data[i], in float32.
struct Gradient {
  double loss = kNotMeasured;
  double samples = 0;  ///< 0: no data or only empty batches; no step is taken
  double factor = 1;
  std::span<const float* const> data =
      {};  ///< null where a tensor has none; empty: the tensors' own
};

/// The view that a source or an averager has of its optimiser.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::span<const Tensor> tensors() const = 0;
  /// The class of a tensor.
  virtual TensorClass Class(size_t index) const = 0;
  virtual const Parallel& parallel() const = 0;
  /// The number of steps taken.
  virtual int64_t steps() const = 0;
  /// The factor that the loss was multiplied by for the gradients of the current step.
  virtual double loss_scale() const = 0;
  /// The name of a tensor's rule.
  virtual std::string_view Rule(size_t index) const = 0;
  /// The number of elements of a state buffer of tensor `index`; 0 if its rule has no such buffer
  /// or the tensor has had no update.
  virtual size_t SlotSize(size_t index, std::string_view slot) const = 0;
  /// Reads or writes elements [begin, begin + out.size()) of a state buffer, rounded to float32 if
  /// the tensor is of float64. If the state is in 8
  /// bits, each block of 256 elements, starting at a multiple of 256, is encoded together, so only
  /// one thread may write to it.
  virtual void LoadSlot(size_t index, std::string_view slot, size_t begin,
                        std::span<float> out) const = 0;
  virtual void StoreSlot(size_t index, std::string_view slot, size_t begin,
                         std::span<const float> values) = 0;
  /// The same for the weights as the rule sees them, which are those of the master if there is one.
  virtual void LoadWeights(size_t index, size_t begin, std::span<float> out) const = 0;
  virtual void StoreWeights(size_t index, size_t begin, std::span<const float> values) = 0;
  /// The value of an option at the next step, lr with its lr_scale. Throws Error if the tensor's
  /// rule has no such option.
  virtual double Value(size_t index, std::string_view option) const = 0;
  /// Resets the state of a tensor to that before its first update.
  virtual void ResetState(size_t index) = 0;
  /// Whether this process steps a tensor, see Optimizer::SetOwnership.
  virtual bool Owns(size_t index) const = 0;
  /// Whether a tensor is frozen in the step of that number, see Group::frozen: sources leave its
  /// gradient out, and averagers do not write it. In Averager::After, the step just taken is
  /// steps() - 1.
  virtual bool Frozen(size_t index, int64_t step) const = 0;
  /// The backend that the tensors live on.
  virtual Backend& backend() const = 0;
  /// The weights, as LoadWeights sees them, and an existing state buffer, as arrays of the backend.
  /// For the library's own stages.
  virtual internal::Coded Weights(size_t index) const = 0;
  virtual internal::Coded Slot(size_t index, std::string_view slot) const = 0;
};

/// Makes one gradient out of one or more oracle calls. Parameters have the same bits afterwards,
/// even if the oracle throws.
class Source {
 public:
  virtual ~Source() = default;
  /// Computes the gradient of one step.
  virtual Gradient Compute(Engine& engine, const Oracle& oracle) = 0;
  /// Visits what resuming needs; nothing unless the source keeps something between steps.
  virtual void Visit(const Engine& /*engine*/, StateVisitor& /*visitor*/) {}
  /// Called when the parameters were given other values: discards what was kept of the old ones.
  /// Does nothing unless the source keeps something between steps.
  virtual void Refresh() {}
};

/// Turns the norm of the whole gradient into one factor, which the fused pass applies. A scale
/// never writes the gradient.
class Scale {
 public:
  virtual ~Scale() = default;
  /// The factor. `norm` is the global 2-norm after the factors of earlier scales; `step` counts
  /// from 0.
  virtual double Factor(double norm, int64_t step) const = 0;
};

/// Follows the parameters after each step that was not skipped.
class Averager {
 public:
  virtual ~Averager() = default;
  /// Called once, before the first step that the averager sees, with the current parameters.
  virtual void Start(Engine& engine) = 0;
  /// Called when the parameters were given other values: what was kept of the old ones is
  /// re-initialised. By default it calls Start.
  virtual void Refresh(Engine& engine) { Start(engine); }
  /// Called after Start when tensors were added behind the others, see Optimizer::AddTensors: keeps
  /// for each of them what Start would, and leaves the rest as it is. If adding fails, it is called
  /// again when the added tensors are gone, and then must not fail. Returns whether it did so; by
  /// default it cannot and returns false.
  virtual bool Resize(Engine& /*engine*/) { return false; }
  /// Called after each step. `engine.steps()` is the number of steps taken, 1 after the first. It
  /// must not fail, since the step has been taken.
  virtual void After(Engine& engine) = 0;
  /// The weights to evaluate tensor `index` with, in memory of the engine's backend; null: none
  /// yet.
  virtual const float* Evaluated(size_t index) const = 0;
  /// The name of its node in a state; a second averager with the same name gets "name_2".
  virtual std::string_view Name() const { return "averager"; }
  /// Visits what resuming needs, after Start: everything that After changes, except the parameters
  /// and the state of the rules.
  virtual void Visit(const Engine& engine, StateVisitor& visitor) = 0;
};

/// How a gradient with an infinity or a NaN is treated.
enum class NonFinite {
  kPropagate,  ///< step with it; for rules that square gradients an infinity counts as a NaN
  kSkip,       ///< change nothing: parameters, state, step count, schedules, averagers
  kError,      ///< as kSkip, then throw Error
};

/// The losses of one tensor with 16-bit parameters or 8-bit state in one step; see
/// Precision::check.
struct Numerics {
  std::string_view tensor = {};  ///< its name; valid as long as the optimiser
  int64_t elements = 0;
  /// The number of parameters that should have changed but did not, because of rounding. If it is
  /// large, the learning rate is too small for the format, or the format needs a master.
  int64_t lost = 0;
  int64_t blocks = 0;  ///< number of blocks of 8-bit state, over all slots
  /// The number of blocks in which one element is so large that most of the other nonzero elements
  /// have the smallest code.
  int64_t saturated = 0;
};

/// The trust ratio of a tensor: the factor by which a rule with norms (lamb, lars and their
/// variants) multiplied its step.
struct Trust {
  std::string_view tensor = {};  ///< its name; valid as long as the optimiser
  double ratio = 1;              ///< at most 1 for larc and lambc
  /// Whether the ratio is the rule's bound, or 1 because a norm is zero, rather than a quotient of
  /// norms.
  bool pinned = false;
};

/// The outcome of a step.
struct Report {
  double loss = kNotMeasured;
  /// Global 2-norm of the gradient before clipping, if it was needed or requested.
  double grad_norm = kNotMeasured;
  /// The factor that the gradient was multiplied by: that of clipping by norm times the source's
  /// own, divided by the loss scale.
  double factor = 1;
  /// The factor that the loss was multiplied by; see Optimizer::StepScaled.
  double loss_scale = 1;
  /// Whether nothing was changed: the gradient was not finite, or the oracle had no data.
  bool skipped = false;
  /// Name of the first tensor whose gradient is not finite, if the gradient was examined; valid as
  /// long as the optimiser.
  std::string_view first_nonfinite = {};
  /// The numerics of each tensor that was stepped, if Precision::check is set; valid until the next
  /// step.
  std::span<const Numerics> numerics = {};
  /// The trust ratio of each tensor whose rule has one and that OptimizerSpec::no_adapt does not
  /// exclude; valid until the next step.
  std::span<const Trust> trust = {};
  /// The number of bytes that the step had to read and write.
  int64_t bytes_read = 0, bytes_written = 0;
};

}  // namespace kudari

#endif  // KUDARI_STEP_H_
