#ifndef KUDARI_OPTIMIZER_H_
#define KUDARI_OPTIMIZER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
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

/// Values of TensorPlan::group for tensors without a group: those with the spec's own rule, and
/// those with its fallback.
inline constexpr int kNoGroup = -1, kFallbackGroup = -2;

/// How one tensor is treated.
struct TensorPlan {
  std::string name;
  TensorClass tensor_class;
  int group;  ///< index in OptimizerSpec::groups, or kNoGroup or kFallbackGroup
  std::string rule;
  std::vector<std::pair<std::string, double>> options;  ///< values at the next step
  /// The factor of lr: the group's lr_scale and the layer's decay. `options` has the
  /// product.
  double lr_scale = 1;
  /// The layer, counted from 0, if the spec has a layer_decay.
  std::optional<int64_t> layer = std::nullopt;
  /// Frozen before the step `frozen_until`, and from the step `frozen_from` on.
  int64_t frozen_until = 0, frozen_from = std::numeric_limits<int64_t>::max();
};

/// The memory of one tensor, in bytes.
struct TensorBytes {
  std::string name = {};
  int64_t elements = 0;
  int64_t weights = 0, gradient = 0;  ///< owned by the caller
  int64_t master = 0;
  std::vector<std::pair<std::string, int64_t>> state = {};  ///< by slot name, including scales
};

/// The memory of an optimiser and its tensors, in bytes, excluding activations.
struct MemoryPlan {
  std::vector<TensorBytes> tensors = {};
  int64_t accumulated = 0;  ///< sums of gradients in float32
  int64_t averages = 0;     ///< copies kept by the spec's averagers
  int64_t source = 0;       ///< weights that the source restores, and gradients that it keeps
  int64_t scratch = 0;      ///< scratch memory of rules that step whole tensors
  /// The number of bytes that one step reads and writes.
  int64_t bytes_read = 0, bytes_written = 0;

  /// All memory in bytes: everything above except the bytes read and written.
  int64_t Total() const;
};

/// While it lives, the parameters hold the weights to evaluate. Its destructor restores the trained
/// weights bit for bit. It may outlive the optimiser, but not the memory of the parameters. See
/// Optimizer::EvaluationWeights.
class [[nodiscard]] EvaluationView {
 public:
  EvaluationView(EvaluationView&&) noexcept;
  EvaluationView& operator=(EvaluationView&&) = delete;
  ~EvaluationView();

  /// Indices of the tensors that currently hold other weights, in ascending order.
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
/// nothing, even if memory runs out. A call that would change the optimiser throws Error if an
/// oracle, a stage or a thread pool makes it during a step.
///
///     std::vector<float> w(n), dw(n);
///     kudari::Optimizer optimizer({{.name = "w", .shape = {n}, .param = w.data(),
///                                   .grad = dw.data()}},
///                                 kudari::AdamW{.lr = 1e-3});
///     ...                   // fill dw
///     optimizer.Step();
class Optimizer {
 public:
  /// Throws Error if a name is empty or duplicated, a pointer is null, parameters overlap in
  /// memory, a size is negative, a rule or option is unknown, or a value is out of range. The rules
  /// are copied from the registry.
  Optimizer(std::vector<Tensor> tensors, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  ~Optimizer();
  Optimizer(Optimizer&&) noexcept;
  Optimizer& operator=(Optimizer&&) noexcept;

  /// Adds tensors behind those that there are, as if they had been given to the constructor and had
  /// had no gradient so far: torch's add_param_group. Nothing changes for the others: their state,
  /// schedules, averages and what a source keeps have the same bits. `groups` come behind those of
  /// spec(), which has them from then on, so that an optimiser of all tensors and that spec can
  /// load the state; they must match none of the former tensors. Averages of the new tensors begin
  /// with their present values. Call it between steps, and not between GradScaler::Unscale and
  /// Update: spans and names from earlier calls, such as tensors() and those in a Report, end.
  ///
  /// Throws Error, with nothing changed, as the constructor does, and if a group matches a former
  /// tensor, if a layer_decay would count the former ones' layers differently, if the work is
  /// shared between processes, or if an averager of the user's cannot take in tensors.
  void AddTensors(std::vector<Tensor> tensors, const std::vector<Group>& groups = {},
                  const Registry& registry = Registry::Builtin());

  /// Steps with the gradients that the tensors point to. Throws Error, with nothing changed, if no
  /// tensor has a gradient, parameters overlap, a schedule leaves its option's range, or the
  /// gradient is not finite and the policy is kError. Allocates nothing after the first step of
  /// every tensor.
  Report Step();

  /// Lets the source compute the gradient with `oracle`, then steps. Exceptions of the oracle pass
  /// through, with nothing changed. If the oracle has no data or only empty batches, the report is
  /// marked as skipped and has no loss. Also throws Error if the oracle returns a number of samples
  /// outside [0, inf).
  Report Step(const Oracle& oracle);

  /// As Step, with gradients of loss * loss_scale. Unscaling needs no pass of its own: norms,
  /// clipping and Report::grad_norm use the unscaled gradient. A gradient that is not finite skips
  /// the step, with nothing changed, whatever the spec's NonFinite policy. The oracle returns the
  /// plain loss. Throws Error if loss_scale is not positive, if it or its inverse is not finite, or
  /// if no tensor has a gradient. GradScaler chooses the scale.
  Report StepScaled(double loss_scale);
  Report StepScaled(double loss_scale, const Oracle& oracle);

  /// Gradient release: steps one tensor with its gradient, which may be freed afterwards, so that
  /// no two gradients have to be in memory at once. FinishStep ends the step; until then each
  /// tensor is stepped once, or not at all if it has no gradient. Throws Error if the spec needs
  /// all gradients at once (accumulation, a source), or if it needs the global norm (clip_norm,
  /// measure_norm, a nonfinite policy) and `norm` is not given: the root of the sum of
  /// GradientSquares over all tensors, from an earlier pass with the same gradients. Until
  /// FinishStep, every call that needs a whole step throws Error: Step, UpdateHessian, Evaluation,
  /// State, LoadState, Refresh, SetSchedule, AddTensors, AddScale and AddAverager.
  Report StepTensor(size_t index, std::optional<double> norm = std::nullopt);
  /// Throws Error if StepTensor would throw without a norm at the start of a step.
  void CheckStepTensor() const;
  /// The sum of squares of a tensor's gradient; 0 if it has none or is frozen at the next step.
  double GradientSquares(size_t index) const;
  /// Ends the step of the tensors that StepTensor has stepped: advances the step count and updates
  /// the averagers. Throws Error if no tensor was stepped, or none that had a gradient.
  void FinishStep();

  /// Updates the state of rules that use the Hessian's diagonal (sophia, sophia_h) with estimates
  /// of it, of the kind that each rule describes. `estimates` holds one array per tensor, null for
  /// none; if it is empty, the tensors' gradients are the estimates. Call it every k steps, after
  /// Step. Throws Error, with nothing changed, if no tensor's rule uses an estimate, or if a tensor
  /// with an estimate has had no step.
  void UpdateHessian(std::span<const float* const> estimates = {});

  /// Puts the weights to evaluate into the parameters for as long as the view lives: those of the
  /// last averager that has any, otherwise those of rules with their own evaluation point
  /// (schedule-free rules, asgd), otherwise the current ones. While the view lives, Step,
  /// StepTensor, UpdateHessian, State, LoadState, Refresh, SetSchedule, AddTensors and a second
  /// view throw Error. The caller has to handle batch-norm statistics, which belong to the trained
  /// weights.
  ///
  ///     {
  ///       const auto view = optimizer.EvaluationWeights();
  ///       accuracy = Evaluate(model);
  ///     }
  EvaluationView EvaluationWeights();

  /// The specification of this optimiser, with every option spelled out.
  const OptimizerSpec& spec() const;

  /// The tensors in the order given. `param` and `grad` may be redirected between steps and inside
  /// an oracle; parameters must not overlap.
  std::span<Tensor> tensors();
  std::span<const Tensor> tensors() const;

  /// The number of steps taken, not counting skipped ones.
  int64_t steps() const;

  /// How each tensor is treated, with the option values of the next step.
  std::vector<TensorPlan> Plan() const;

  /// The value of an option at the next step for the tensor at `index`; that of lr is multiplied by
  /// the tensor's lr_scale. Throws Error if its rule has no such option.
  double Value(size_t index, std::string_view option) const;

  /// Whether the tensor at `index` is frozen at the next step, see Group::frozen.
  bool Frozen(size_t index) const;

  /// The schedule of an option for the tensor at `index`; that of lr is without the tensor's
  /// lr_scale, which Value includes. Throws Error as Value does.
  const Schedule& ScheduleOf(size_t index, std::string_view option) const;

  /// Replaces that schedule from the next step on, for this tensor only; spec() does not change,
  /// and the tensor's lr_scale still multiplies lr.
  /// Throws Error, with nothing changed, if the rule has no such option, if its value at the next
  /// step is out of range, or if the option determines the size of the state.
  void SetSchedule(size_t index, std::string_view option, const Schedule& schedule);
  /// The same for all tensors whose rule has the option or, given a group as in TensorPlan::group,
  /// for those of the group. It costs about as much for thousands of tensors as for one. Throws
  /// Error also if there is no such tensor.
  void SetSchedule(std::string_view option, const Schedule& schedule,
                   std::optional<int> group = std::nullopt);
  /// SetSchedule("lr", lr, group): a constant learning rate, in [0, inf), from the next step on. It
  /// is saved with the state.
  void SetLr(double lr, std::optional<int> group = std::nullopt);
  /// The learning rate of a group at the next step, without lr_scale: what SetLr has set. If the
  /// tensors of the group differ, that of the first. Without a group, that of the tensors that are
  /// in none, or if there are none, of the first tensor that has one. Throws Error if there is no
  /// such tensor, or if its rule has no lr.
  double Lr(std::optional<int> group = std::nullopt) const;

  /// The memory in use once each tensor has had a gradient.
  MemoryPlan Memory() const;

  /// The state: everything that resuming needs in addition to the spec and the parameters.
  ///
  ///     step                          number of steps taken
  ///     tensors/NAME/step             number of updates of the tensor
  ///     tensors/NAME/slots/SLOT       from its first gradient on: the stored values, F32, F64,
  ///                                   BF16, or a node with `format`, `codes` and `scales`
  ///     tensors/NAME/slots/master     F32, or a node with the `weights` that the model sees and
  ///                                   the `rest`, U8 or U16 for a split master, BF16 for Kahan's
  ///     tensors/NAME/memory/...       the doubles that the rule keeps for the tensor
  ///     tensors/NAME/schedules/...    the text of schedules set by SetSchedule
  ///     averagers/NAME/...            `started`, and the state of the averager
  ///     source/...                    the state of the source
  StateTree State() const;
  /// Replaces the state. Tensors are matched by any of their names, and slots in another format are
  /// converted. Throws Error, with nothing changed, naming any member that is missing, unknown, or
  /// of the wrong type or shape; see LoadMode.
  LoadReport LoadState(const StateTree& state, LoadMode mode = LoadMode::kStrict);
  /// Visits what State and LoadState show and load, for objects that contain an optimiser.
  void Visit(StateVisitor& visitor);

  /// A state buffer of the tensor at `index`, rounded to float32, by the rule's name for it, or the
  /// weights of its "master". Empty if there is no such buffer or the tensor has had no update.
  std::vector<float> SlotValues(size_t index, std::string_view slot) const;

  /// Tells the optimiser that the parameters were given other values, for example by loading a
  /// model. Everything derived from the old values is re-initialised from the current ones:
  /// masters, Lookahead's slow weights and momentum, the averages of Ema and Swa, the direction
  /// that LookSAM reuses, the offset of schedule-free rules and the mean of asgd. Moments and step
  /// counts are kept.
  /// If memory runs out, part of this may already have happened; call it again.
  void Refresh();

  /// Replaces the source of the spec.
  void SetSource(std::unique_ptr<Source> source);
  /// Adds a scale after those of the spec.
  void AddScale(std::unique_ptr<Scale> scale);
  /// Adds an averager after those of the spec.
  void AddAverager(std::unique_ptr<Averager> averager);
  /// Sets how work is spread over threads.
  void SetParallel(Parallel parallel);

  /// Shares the work of a step between processes that hold the same tensors. This optimiser steps
  /// only the tensors that it owns; `owned` has one flag per tensor. The others have no state,
  /// average or update here, and their gradients may be null. A null gradient at the owner of a
  /// tensor means that no process has a gradient for it. `sum` adds the values over all processes,
  /// in place; it is called once per step if something needs the norm. Each value is nonzero in at
  /// most one process, so the norm has the same bits as in a single process. If `sum` throws,
  /// everything stays as it was. Sharpness-aware sources need every gradient in every process.
  /// Throws Error if the number of flags is not the number of tensors, if `sum` is empty, if a
  /// tensor already has state, or for the source nesterov_lookahead.
  void SetOwnership(const std::vector<bool>& owned, std::function<void(std::span<double>)> sum);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The instruction set that kernels run on: "avx512", "avx2", "neon" or "scalar". It is the best
/// that this machine supports, or the one named by the environment variable KUDARI_TARGET; if that
/// is unknown or unsupported, an optimiser's constructor throws Error. KUDARI_PREFETCH sets how
/// many floats ahead kernels prefetch, which affects only their speed.
std::string_view KernelTarget();
/// The instruction sets that this machine supports, best first; the last is always "scalar".
std::vector<std::string_view> KernelTargets();

}  // namespace kudari

#endif  // KUDARI_OPTIMIZER_H_
