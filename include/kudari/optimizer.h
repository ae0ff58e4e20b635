#ifndef KUDARI_OPTIMIZER_H_
#define KUDARI_OPTIMIZER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/registry.h"
#include "kudari/spec.h"
#include "kudari/state.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari {

/// Groups of a TensorPlan that are none of the spec's groups: the spec itself, and its fallback.
inline constexpr int kNoGroup = -1, kFallbackGroup = -2;

/// How one tensor is treated.
struct TensorPlan {
  std::string name;
  TensorClass tensor_class;
  int group;  ///< index in OptimizerSpec::groups, or kNoGroup or kFallbackGroup
  std::string rule;
  std::vector<std::pair<std::string, double>> options;  ///< at the current step
};

/// Bytes that a tensor takes.
struct TensorBytes {
  std::string name = {};
  int64_t elements = 0;
  int64_t weights = 0, gradient = 0;  ///< the caller's
  int64_t master = 0;
  std::vector<std::pair<std::string, int64_t>> state = {};  ///< by slot, scales included
};

/// Bytes that an optimiser and its tensors take, activations excluded.
struct MemoryPlan {
  std::vector<TensorBytes> tensors = {};
  int64_t accumulated = 0;  ///< sums of gradients in float32
  int64_t averages = 0;     ///< copies that the spec's averagers keep
  int64_t source = 0;       ///< weights that the source puts back, and gradients that it keeps
  int64_t scratch = 0;      ///< scratch memory of rules that step whole tensors
  /// Bytes that one step reads and writes.
  int64_t bytes_read = 0, bytes_written = 0;

  int64_t Total() const;
};

/// While it lives, parameters hold the weights to be evaluated; its destructor puts back those that
/// are trained, bit for bit. It may outlive the optimiser, but not the memory of the parameters.
/// See Optimizer::EvaluationWeights.
class [[nodiscard]] EvaluationView {
 public:
  EvaluationView(EvaluationView&&) noexcept;
  EvaluationView& operator=(EvaluationView&&) = delete;
  ~EvaluationView();

  /// Indices of the tensors that hold other weights now, in ascending order.
  std::vector<size_t> Changed() const;

 private:
  friend class Optimizer;
  class Saved;
  explicit EvaluationView(std::unique_ptr<Saved> saved);

  std::unique_ptr<Saved> saved_;  // null: moved from
};

/// Applies rules to tensors in one pass over memory. The new parameters and state have the same
/// bits on every instruction set and for any number of threads, except for the payload of NaNs. It
/// is not thread-safe: calls must come from one thread at a time. A call that throws changes
/// nothing, even if memory runs out. A call that would change the optimiser throws Error if it is
/// made during a step, by an oracle, a stage or a pool of threads.
///
///     std::vector<float> w(n), dw(n);
///     kudari::Optimizer optimizer({{.name = "w", .shape = {n}, .param = w.data(),
///                                   .grad = dw.data()}},
///                                 kudari::AdamW{.lr = 1e-3});
///     ...                   // fill dw
///     optimizer.Step();
class Optimizer {
 public:
  /// Throws Error if a name is empty or appears twice, a pointer is null, parameters overlap in
  /// memory, a size is negative, a rule or option is unknown, or a value is out of range. Rules are
  /// copied from the registry.
  Optimizer(std::vector<Tensor> tensors, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  ~Optimizer();
  Optimizer(Optimizer&&) noexcept;
  Optimizer& operator=(Optimizer&&) noexcept;

  /// Steps with the gradients that the tensors point to. Throws Error, with nothing changed, if no
  /// tensor has one, if parameters overlap, if a schedule leaves its option's range, or if the
  /// gradient is not finite and the policy is kError; allocates nothing after the first step of
  /// every tensor.
  Report Step();

  /// Lets the source make the gradient with `oracle`, then steps. What the oracle throws passes
  /// through, with nothing changed. If the oracle has no data, or empty batches alone, the report
  /// says skipped and has no loss. Throws Error, too, if the oracle gives a number of samples that
  /// is outside [0, inf).
  Report Step(const Oracle& oracle);

  /// The same steps with gradients that are those of loss * loss_scale. Dividing by it costs no
  /// pass of its own: norms, clipping and Report::grad_norm are of the unscaled gradient. A
  /// gradient that is not finite skips the step, with nothing changed, whatever the spec's
  /// NonFinite policy. The oracle returns the plain loss. Throws Error if loss_scale is not
  /// positive or it or its inverse is not finite, or if no tensor has a gradient. GradScaler finds
  /// the scale.
  Report StepScaled(double loss_scale);
  Report StepScaled(double loss_scale, const Oracle& oracle);

  /// Gradient release: steps one tensor with its gradient, which may be freed then. The step that
  /// it is a part of ends with FinishStep; each tensor is stepped once, or not at all if it has no
  /// gradient. So no two gradients have to be in memory together. Throws Error if the spec needs
  /// every gradient until the step (accumulation, a source), and if it needs the norm of all (
  /// clip_norm, measure_norm, a nonfinite policy) unless that is given: `norm` is the root of the
  /// sum of GradientSquares over all tensors, from a pass before with the same gradients. Until
  /// FinishStep everything that needs a whole step throws Error: Step, UpdateHessian, Evaluation,
  /// State, LoadState, Refresh, SetSchedule, AddScale and AddAverager.
  Report StepTensor(size_t index, std::optional<double> norm = std::nullopt);
  /// Throws Error if StepTensor would throw without a norm at the start of a step.
  void CheckStepTensor() const;
  /// The sum of the squares of a tensor's gradient; 0 if it has none.
  double GradientSquares(size_t index) const;
  /// Ends the step of the tensors that StepTensor has stepped: the step count moves, and averagers
  /// follow. Throws Error if there were none, or none that had a gradient.
  void FinishStep();

  /// Takes estimates of the diagonal of the loss's Hessian into the state of rules that use one
  /// (sophia, sophia_h), as each rule says what the estimate is: one array for each tensor, null
  /// for none; empty: the tensors' gradients are the estimates. Call it every k steps, after Step.
  /// Throws Error, with nothing changed, if no tensor's rule uses an estimate, or if one that has
  /// an estimate has had no step.
  void UpdateHessian(std::span<const float* const> estimates = {});

  /// Puts the weights to be evaluated into the parameters, for as long as the view lives: those of
  /// the last averager that has some, or else those of rules that say what to evaluate
  /// (schedule-free ones), or else what is there. Until then Step, StepTensor, UpdateHessian,
  /// State, LoadState, Refresh, SetSchedule and another view throw Error. Batch-norm statistics are
  /// the caller's: they belong to the trained weights.
  ///
  ///     {
  ///       const auto view = optimizer.EvaluationWeights();
  ///       accuracy = Evaluate(model);
  ///     }
  EvaluationView EvaluationWeights();

  /// The specification that it was made from, with every option spelled out.
  const OptimizerSpec& spec() const;

  /// The tensors in the order given. `param` and `grad` may be pointed elsewhere between steps and
  /// inside an oracle; parameters must not overlap.
  std::span<Tensor> tensors();
  std::span<const Tensor> tensors() const;

  /// Steps taken, skipped ones not counted.
  int64_t steps() const;

  /// How each tensor is treated, with the option values of the next step.
  std::vector<TensorPlan> Plan() const;

  /// The value that an option has at the next step for the tensor at `index`. Throws Error if its
  /// rule has no such option.
  double Value(size_t index, std::string_view option) const;

  /// The schedule of an option of the tensor at `index`. Throws Error as Value.
  const Schedule& ScheduleOf(size_t index, std::string_view option) const;

  /// Replaces that schedule from the next step on, for this tensor alone; spec() stays what the
  /// optimiser was made from. Throws Error, with nothing changed, if the rule has no such option,
  /// if the value of the next step is out of range, or if the option decides about the size of the
  /// state.
  void SetSchedule(size_t index, std::string_view option, const Schedule& schedule);

  /// The memory that everything takes once each tensor has had a gradient.
  MemoryPlan Memory() const;

  /// The state: what resuming needs beside the spec and the parameters.
  ///
  ///     step                          steps taken
  ///     tensors/NAME/step             updates that the tensor has had
  ///     tensors/NAME/slots/SLOT       from its first gradient on: what memory holds, F32, BF16, or
  ///                                   a node with `format`, `codes` and `scales`
  ///     tensors/NAME/slots/master     F32, or a node with the `weights` that the model sees and
  ///                                   the `rest`, U8 or U16 of a split master, BF16 of Kahan's
  ///     tensors/NAME/memory/...       the doubles that the rule keeps for the tensor
  ///     tensors/NAME/schedules/...    the text of schedules that SetSchedule has replaced
  ///     averagers/NAME/...            `started`, and what the averager keeps
  ///     source/...                    what the source keeps
  StateTree State() const;
  /// Replaces the state. Tensors are matched by any of their names, and slots in another format are
  /// converted. Throws Error, with nothing changed, that names what is missing, unknown, or of
  /// another type or shape; see LoadMode.
  LoadReport LoadState(const StateTree& state, LoadMode mode = LoadMode::kStrict);
  /// What State and LoadState show and load, for objects that an optimiser is a part of.
  void Visit(StateVisitor& visitor);

  /// A state buffer of the tensor at `index` as float32, by the rule's name of it, or the weights
  /// of its "master". Empty if there is none of that name, or no update has been.
  std::vector<float> SlotValues(size_t index, std::string_view slot) const;

  /// Says that the parameters were given other values, as when a model was loaded into them:
  /// everything that is kept of the former ones begins with those that memory holds now (masters,
  /// Lookahead's slow weights and momentum, the averages of Ema and Swa, the direction that LookSAM
  /// reuses, the offset of schedule-free rules). Moments and step counts stay. If memory runs out
  /// some of it may have started over; call it again.
  void Refresh();

  /// Replaces the source of the spec.
  void SetSource(std::unique_ptr<Source> source);
  /// Adds a scale after those of the spec.
  void AddScale(std::unique_ptr<Scale> scale);
  /// Adds an averager after those of the spec.
  void AddAverager(std::unique_ptr<Averager> averager);
  /// Sets how work is spread over threads.
  void SetParallel(Parallel parallel);

  /// For processes that hold the same tensors and share the work of a step: this optimiser steps
  /// only the tensors that it owns, of which `owned` has a flag each. The others have no state, no
  /// average and no update here; their gradients may be null, and what null says of a tensor that
  /// is owned, that no process has a gradient, is said by its owner alone. `sum` adds the values
  /// over all processes, in place, and is called once a step if something wants the norm; each
  /// value is another number than 0 in at most one process, so the norm has the bits that one
  /// process would come to. What `sum` throws leaves everything as it was. Sharpness-aware sources
  /// need every gradient in every process. Throws Error if there are not as many flags as tensors,
  /// if `sum` is empty, once a tensor has state, or for the source nesterov_lookahead.
  void SetOwnership(const std::vector<bool>& owned, std::function<void(std::span<double>)> sum);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The instruction sets that kernels run on: "avx512", "avx2", "neon" and "scalar".
/// The best that this machine supports is used, or what the environment variable KUDARI_TARGET
/// names; an optimiser's constructor throws Error if that is unknown or unsupported.
/// KUDARI_PREFETCH sets how many floats ahead kernels prefetch, which changes their speed alone.
std::string_view KernelTarget();
/// Those that this machine supports, best first; the last is always "scalar".
std::vector<std::string_view> KernelTargets();

}  // namespace kudari

#endif  // KUDARI_OPTIMIZER_H_
