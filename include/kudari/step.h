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

// A step goes through a source, scales, the fused pass of the rules and averagers. Each stage has
// one job, so that a step cannot be put together in the wrong order.

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// Which pass of a source the oracle is asked for.
enum class Pass {
  kPlain,     ///< at the weights, or at NesterovLookahead's shifted ones
  kPerturbed  ///< at weights that a sharpness-aware source has moved. These calls repeat the plain
              ///< calls of the step with the same batches in the same order and the same random
              ///< numbers; they should leave batch-norm statistics alone
};

/// What an oracle call gave: the mean loss over `samples` samples, in [0, inf). A batch of zero
/// samples adds nothing: its loss and its gradients are ignored.
struct Evaluation {
  Evaluation(double loss, double samples = 1)  // NOLINT(google-explicit-constructor): a loss is one
      : loss(loss), samples(samples) {}
  /// The data has ended: there was no batch for this call.
  static Evaluation End() {
    Evaluation e(kNotMeasured, 0);
    e.end = true;
    return e;
  }
  double loss, samples;
  bool end = false;
};

/// The user's forward and backward: writes every gradient, as a mean over its samples, and
/// returns the loss. It must not change parameters. It may call those
/// members of the optimiser that change nothing (Value, Plan, steps ...) and tensors().
using Oracle = std::function<Evaluation(Pass)>;

/// How the engine spreads work over threads. The result of a step never depends on it, nor on the
/// floating-point modes of the threads (flush to zero, rounding, traps), which are put back.
///
/// OpenMP ends the process if it cannot create its threads (limits on processes or memory); a pool
/// lent as `run` can do something else. A child of fork has no OpenMP threads and does the parts
/// one after the other.
struct Parallel {
  /// Number of workers, 0 for what OpenMP would use.
  int threads = 0;
  /// Calls f(0) ... f(n - 1), each once, possibly at the same time, and returns when all have
  /// returned. Empty: OpenMP. Lend a pool of your own here.
  std::function<void(int n, const std::function<void(int)>& f)> run = {};
};

/// One gradient, as a source made it: factor * data[i], in float32, is the gradient of tensor i.
struct Gradient {
  double loss = kNotMeasured;
  double samples = 0;  ///< 0: no data or empty batches alone, no step
  double factor = 1;
  std::span<const float* const> data =
      {};  ///< null where a tensor has none; empty: the tensors' own
};

/// What a source or an averager sees of the optimiser that it is a part of.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::span<const Tensor> tensors() const = 0;
  virtual TensorClass Class(size_t index) const = 0;
  virtual const Parallel& parallel() const = 0;
  /// Steps taken.
  virtual int64_t steps() const = 0;
  /// The factor that the loss of the gradients is multiplied by in the step being taken.
  virtual double loss_scale() const = 0;
  /// The name of a tensor's rule.
  virtual std::string_view Rule(size_t index) const = 0;
  /// Elements of a state buffer of tensor `index`; 0 if its rule has none of that name or it has
  /// had no update.
  virtual size_t SlotSize(size_t index, std::string_view slot) const = 0;
  /// Elements [begin, begin + out.size()) of it. Changing them is for one thread per 256 elements
  /// from a multiple of 256 on, which are changed together if the state is in 8 bits.
  virtual void LoadSlot(size_t index, std::string_view slot, size_t begin,
                        std::span<float> out) const = 0;
  virtual void StoreSlot(size_t index, std::string_view slot, size_t begin,
                         std::span<const float> values) = 0;
  /// The same for the weights as the rule sees them: those of the master, if there is one.
  virtual void LoadWeights(size_t index, size_t begin, std::span<float> out) const = 0;
  virtual void StoreWeights(size_t index, size_t begin, std::span<const float> values) = 0;
  /// The value of an option at the next step; throws Error if the tensor's rule has none of that
  /// name.
  virtual double Value(size_t index, std::string_view option) const = 0;
  /// Resets the state of a tensor to what it is before its first update.
  virtual void ResetState(size_t index) = 0;
  /// Whether this process steps a tensor, see Optimizer::SetOwnership.
  virtual bool Owns(size_t index) const = 0;
  /// Where the tensors live.
  virtual Backend& backend() const = 0;
  /// The weights, as LoadWeights sees them, and a state buffer that there is, as arrays of the
  /// backend; for the library's own stages.
  virtual internal::Coded Weights(size_t index) const = 0;
  virtual internal::Coded Slot(size_t index, std::string_view slot) const = 0;
};

/// Makes one gradient out of one or more oracle calls. Parameters are the same bits on return and
/// when the oracle throws.
class Source {
 public:
  virtual ~Source() = default;
  virtual Gradient Compute(Engine& engine, const Oracle& oracle) = 0;
  /// Shows what resuming needs; nothing unless the source keeps something from step to step.
  virtual void Visit(const Engine& /*engine*/, StateVisitor& /*visitor*/) {}
  /// The parameters were given other values: forgets what was kept of the former ones. Does nothing
  /// unless a source keeps something from step to step.
  virtual void Refresh() {}
};

/// Turns the norm of the whole gradient into one factor, which the fused pass applies. It never
/// writes the gradient.
class Scale {
 public:
  virtual ~Scale() = default;
  /// `norm` is the global 2-norm, after the factors of earlier scales; `step` counts from 0.
  virtual double Factor(double norm, int64_t step) const = 0;
};

/// Follows the parameters after each step that was not skipped.
class Averager {
 public:
  virtual ~Averager() = default;
  /// Called once, before the first step that the averager sees, with the parameters as they are
  /// then.
  virtual void Start(Engine& engine) = 0;
  /// The parameters were given other values: what is kept of the former ones starts over. Does what
  /// Start does.
  virtual void Refresh(Engine& engine) { Start(engine); }
  /// `engine.steps()` is the number of steps taken, 1 after the first. It must not fail: the step
  /// has been taken.
  virtual void After(Engine& engine) = 0;
  /// The weights that tensor `index` is to be evaluated with, in memory of the engine's backend, or
  /// null: none yet.
  virtual const float* Evaluated(size_t index) const = 0;
  /// What its node in a state is called; of two with one name the second is "name_2".
  virtual std::string_view Name() const { return "averager"; }
  /// Shows what resuming needs, after Start: everything that After changes, except the parameters
  /// and the state of the rules.
  virtual void Visit(const Engine& engine, StateVisitor& visitor) = 0;
};

/// What to do about a gradient that holds an infinity or a NaN.
enum class NonFinite {
  kPropagate,  ///< step with it; to rules that square gradients an infinity is a NaN
  kSkip,       ///< leave everything as it was: parameters, state, step count, schedules, averagers
  kError,      ///< as kSkip, then throw Error
};

/// What 16-bit parameters and 8-bit state lose, of one tensor in one step; see Precision::check.
struct Numerics {
  std::string_view tensor = {};  ///< its name; valid as long as the optimiser
  int64_t elements = 0;
  /// Parameters that should have changed and did not, because of rounding. If there are many, the
  /// learning rate is too small for the format, or the format needs a master.
  int64_t lost = 0;
  int64_t blocks = 0;  ///< of 8-bit state, of all slots
  /// Blocks in which one element is so large that most of the others that are not zero have the
  /// smallest code.
  int64_t saturated = 0;
};

/// The trust ratio of a tensor: what a rule with norms (lamb, lars and their kin) multiplied its
/// step by.
struct Trust {
  std::string_view tensor = {};  ///< its name; valid as long as the optimiser
  double ratio = 1;              ///< at most 1 for larc and lambc
  /// Whether the ratio is the rule's bound, or 1 because a norm is zero, rather than a ratio of
  /// norms.
  bool pinned = false;
};

/// What a step did.
struct Report {
  double loss = kNotMeasured;
  /// Global 2-norm of the gradient before clipping, if something needed it or asked for it.
  double grad_norm = kNotMeasured;
  /// The factor that the gradient was multiplied by: that of clipping by norm times the source's
  /// own, divided by the loss scale.
  double factor = 1;
  /// The factor that the loss of the gradient was multiplied by; see Optimizer::StepScaled.
  double loss_scale = 1;
  bool skipped = false;
  /// Name of the first tensor whose gradient is not finite, if the gradient was examined; valid as
  /// long as the optimiser.
  std::string_view first_nonfinite = {};
  /// The numerics of each tensor that was stepped, if Precision::check asks for them; valid until
  /// the next step.
  std::span<const Numerics> numerics = {};
  /// The trust ratio of each tensor whose rule has one and that OptimizerSpec::no_adapt does not
  /// exclude; valid until the next step.
  std::span<const Trust> trust = {};
  /// Memory that the step had to read and write, in bytes.
  int64_t bytes_read = 0, bytes_written = 0;
};

}  // namespace kudari

#endif  // KUDARI_STEP_H_
