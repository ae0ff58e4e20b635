#ifndef KUDARI_TORCH_H_
#define KUDARI_TORCH_H_

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/grad_scaler.h"
#include "kudari/optimizer.h"

namespace kudari {
struct LrRange;
}

namespace kudari::torch {

struct FindOptions;
struct ParameterSet;

/// Parameters with their names.
using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

/// A module and its name, which stands in front of the names of its parameters: "actor" makes
/// "actor.0.weight" of "0.weight". The module has to live only until the call returns.
struct NamedModule {
  NamedModule(std::string name, const ::torch::nn::Module& module)
      : name(std::move(name)), module(&module) {}
  template <class M>
  NamedModule(std::string name, const ::torch::nn::ModuleHolder<M>& module)
      : NamedModule(std::move(name), *module) {}
  template <class M>
  NamedModule(std::string name, const std::shared_ptr<M>& module)
      : NamedModule(std::move(name), *module) {}

  std::string name;
  const ::torch::nn::Module* module;
};
using NamedModules = std::vector<NamedModule>;

/// While it lives, the parameters hold the weights to evaluate. Its destructor restores the trained
/// weights bit for bit, into the memory that the parameters have at that time. A parameter that has
/// changed its shape or left the CPU is not touched. The view may outlive the optimiser. See
/// Optimizer::EvaluationWeights.
class [[nodiscard]] EvaluationView {
 public:
  EvaluationView(EvaluationView&&) noexcept = default;
  EvaluationView& operator=(EvaluationView&&) = delete;
  ~EvaluationView();

 private:
  friend class Optimizer;
  EvaluationView(kudari::EvaluationView view, const NamedParameters& parameters,
                 const std::vector<at::Tensor>& mirrors);

  // Parameters, and the memory in which they show other weights, or their mirrors.
  std::vector<std::pair<at::Tensor, at::Tensor>> shown_;
  std::optional<kudari::EvaluationView> view_;
};

/// Steps LibTorch parameters in place, without copies. The parameters must be leaves of the graph
/// and dense CPU tensors of float32, float64 (see DType), bfloat16 or float16 (see Precision), and
/// keep their type and shape; anything else throws Error naming the parameter, with nothing
/// changed. Their memory may be replaced between calls, as torch::load does.
///
/// A parameter whose elements do not lie in order, such as weights in channels-last order, is
/// stepped in a contiguous copy, which takes its memory once more and a pass before and after each
/// step. Weights and state have the same bits as those of a contiguous parameter, and the state is
/// in the order of the shape. One of complex numbers of float32 or float64 is stepped as pairs of
/// real numbers, as in torch; rules for matrices, agc and centralize refuse it.
///
/// A tensor with several names, such as a tied weight, is stepped once: the engine knows it by its
/// first name, with the others as aliases. A frozen parameter that the engine cannot hold, such as
/// one of integers, is left out, and so is one of float64 if none of float64 is trained: it is
/// neither a tensor of the engine nor in Parameters(), and calls throw Error naming it if it ever
/// has a gradient.
///
/// A parameter whose gradient is undefined is skipped completely. LibTorch is told about the
/// parameters that are written: backward through results computed from the old weights throws
/// c10::Error, as after a step of its own optimisers, and autocast casts the weights again.
///
///     kudari::torch::Optimizer optimizer(model, kudari::AdamW{.lr = 1e-3});
///     optimizer.ZeroGrad();
///     loss_of(model, batch).backward();
///     optimizer.Step();
///
/// It is one of torch::optim's, so LibTorch's schedulers and functions that take a
/// torch::optim::Optimizer& accept it, and step(), zero_grad(), param_groups() and torch::save do
/// what they do there. param_groups() has a group for the spec's own rule, one for its fallback,
/// and one for each of its groups, in this order, those that have parameters. Their
/// options().get_lr() and set_lr() are Lr and SetLr of the group; they are of no class of
/// LibTorch's, so casting them to AdamWOptions or the like is undefined. What defaults() has is of
/// all groups. state() and parameters() of LibTorch's class mean nothing here.
class Optimizer : public ::torch::optim::Optimizer {
 public:
  /// For the parameters in module.named_parameters(). In LibTorch's own modules, the module type
  /// determines the class of a parameter: the weight of an Embedding is an embedding, whatever its
  /// name, and the weight of a Linear is a matrix, or the head if Classify says so. A tied weight
  /// is an embedding if one of its uses is.
  Optimizer(const ::torch::nn::Module& module, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  template <class M>
  Optimizer(const ::torch::nn::ModuleHolder<M>& module, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin())
      : Optimizer(static_cast<const ::torch::nn::Module&>(*module), spec, registry) {}
  template <class M>
  Optimizer(const std::shared_ptr<M>& module, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin())
      : Optimizer(static_cast<const ::torch::nn::Module&>(*module), spec, registry) {}
  /// For several modules, as if they were the submodules of one under these names:
  ///
  ///     kudari::torch::Optimizer optimizer({{"actor", actor}, {"critic", critic}}, spec);
  Optimizer(const NamedModules& modules, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  /// For named parameters, whose classes Classify determines.
  Optimizer(const NamedParameters& parameters, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  /// For parameters that are called "0", "1" ..., such as model->parameters(). Their classes are
  /// those of their shapes: vectors, biases among them, count as norms.
  Optimizer(const std::vector<at::Tensor>& parameters, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());

  /// Steps with the gradients left by backward(), of the parameter's type or, unless that is
  /// float64, float32. A gradient
  /// that is not contiguous is copied; one that is on another device, or of another type or shape
  /// throws Error naming the parameter.
  ///
  /// A sparse gradient, as torch::nn::EmbeddingOptions::sparse makes it, is coalesced, and steps
  /// the rows that it has and no others: sgd, adagrad and sparse_adam do what torch's SGD, Adagrad
  /// and SparseAdam do with it, and other rules throw Error; see Tensor::grad_rows.
  Report Step();

  /// Calls `closure` with gradients enabled, as often as the spec's source needs, then steps. The
  /// closure runs backward() and returns the loss; gradients are zeroed before each call. It must
  /// not change parameters; if it replaces their memory under a source that moves the weights, Step
  /// throws Error.
  Report Step(const std::function<at::Tensor()>& closure);
  /// As above, for a closure that also returns the number of samples of its mean loss, which
  /// weights accumulated batches, or kudari::Evaluation::End() when the data has ended.
  Report Step(const std::function<kudari::Evaluation()>& closure);
  /// As above, for a closure that is told the pass. Sharpness-aware sources (spec.source = "sam",
  /// "looksam" ...) call the closure again at perturbed weights: the kPerturbed calls are for the
  /// same batches as the step's plain calls, in the same order. Closures that are not told the pass
  /// have to use one batch, and throw Error with accumulate > 1. Perturbed calls use the random
  /// numbers of the plain calls, for dropout, and leave the generator and the module's buffers,
  /// such as the running statistics of batch norm, unchanged.
  ///
  ///     kudari::OptimizerSpec spec = kudari::AdamW{.lr = 1e-3};
  ///     spec.source = "looksam";
  ///     kudari::torch::Optimizer optimizer(*model, spec);
  ///     optimizer.Step([&] {
  ///       const at::Tensor loss = loss_of(model, batch);
  ///       loss.backward();
  ///       return loss;
  ///     });
  Report Step(const std::function<kudari::Evaluation(Pass)>& closure);

  /// Step under LibTorch's name: returns what the first call of the closure returned, and an
  /// undefined tensor without one.
  at::Tensor step(LossClosure closure = nullptr) override;

  /// Adds parameters behind those that there are, with groups for them; see
  /// kudari::Optimizer::AddTensors. Buffers of modules are registered as by KeepBuffers. Throws
  /// Error, with nothing changed, as AddTensors and the constructor do, and for a parameter that
  /// the optimiser has already.
  ///
  ///     optimizer.AddParameters(NamedModules{{"head", head}}, {{.match = "head.*", .lr_scale =
  ///     10}});
  void AddParameters(const NamedModules& modules, const std::vector<Group>& groups = {},
                     const Registry& registry = Registry::Builtin());
  void AddParameters(const NamedParameters& parameters, const std::vector<Group>& groups = {},
                     const Registry& registry = Registry::Builtin());
  /// The same under LibTorch's name, for parameters without names, which become a group of their
  /// own with what `group` says besides its `match`: they are called "group1.0", "group1.1" ... in
  /// param_groups()[1]. Throws Error for options of LibTorch's classes, which `group` has instead:
  ///
  ///     optimizer.add_param_group(head->parameters(), {.options = {{"lr", 1e-3}}});
  void add_param_group(const ::torch::optim::OptimizerParamGroup& parameters,
                       const Group& group = {});

  /// Set and read learning rates and other options of all parameters or of a group, as
  /// kudari::Optimizer::SetLr, Lr and SetSchedule do.
  void SetLr(double lr, std::optional<int> group = std::nullopt) { core_->SetLr(lr, group); }
  double Lr(std::optional<int> group = std::nullopt) const { return core_->Lr(group); }
  void SetSchedule(std::string_view option, const Schedule& schedule,
                   std::optional<int> group = std::nullopt) {
    core_->SetSchedule(option, schedule, group);
  }

  /// Registers the buffers of a module that the constructor was not given, so that they are also
  /// restored after perturbed calls.
  void KeepBuffers(const ::torch::nn::Module& module);

  /// Updates the state of rules that use the Hessian's diagonal with estimates of it, one per
  /// parameter, undefined for none; see kudari::Optimizer::UpdateHessian. Throws Error for an
  /// estimate that is not a float32 CPU tensor of the parameter's shape.
  ///
  ///     const auto logits = [&] { return model->forward(batch); };
  ///     optimizer.UpdateHessian(GaussNewtonBartlett(optimizer.Parameters(), logits));
  void UpdateHessian(const std::vector<at::Tensor>& estimates);

  /// Puts the weights to evaluate into the parameters for as long as the view lives; see
  /// kudari::Optimizer::EvaluationWeights and, for models with batch norm, UpdateBatchNorm. Changes
  /// to the values of parameters that show other weights are undone when the view ends.
  EvaluationView EvaluationWeights();

  /// Tells the optimiser that the parameters were given other values in place; see
  /// kudari::Optimizer::Refresh. It detects by itself that their memory was replaced since its last
  /// step, as torch::load does, and that a weight with a master was written.
  void Refresh();

  /// The parameters, in the order of the engine's tensors.
  std::vector<at::Tensor> Parameters() const;

  /// Drops every gradient or, without `set_to_none`, fills it with zeros.
  void ZeroGrad(bool set_to_none = true);
  void zero_grad(bool set_to_none = true) { ZeroGrad(set_to_none); }  ///< under LibTorch's name

  /// What torch::save and torch::load call: the optimiser's state in an archive, and back into one
  /// with the same parameters and spec. Weights are the module's: save them beside it. `load`
  /// throws Error, with nothing changed, for an archive of something else and for what does not
  /// fit; what LibTorch cannot read as an archive is a c10::Error of torch::load.
  ///
  ///     torch::save(optimizer, "optimizer.pt");
  ///     torch::load(optimizer, "optimizer.pt");
  void save(::torch::serialize::OutputArchive& archive) const override;
  void load(::torch::serialize::InputArchive& archive) override;

  /// The underlying engine, with groups, schedules, state and stages, bound to the current memory
  /// of the parameters. Throws Error as Step does if a parameter has changed its type or shape.
  /// Call this again after the memory of parameters has been replaced. The engine's tensors have
  /// gradients only during calls of this class, and LibTorch is not told about what the engine's
  /// own calls write, so step and evaluate through this class.
  kudari::Optimizer& core() {
    BindParameters();
    return *core_;
  }
  const kudari::Optimizer& core() const {
    BindParameters();
    return *core_;
  }

 private:
  friend class GradScaler;
  class Call;

  Optimizer(const OptimizerSpec& spec, const Registry& registry, ParameterSet parameters);
  void Add(ParameterSet added, const std::vector<Group>& groups, const Registry& registry);
  // Makes what param_groups() has of the engine's groups.
  void ShowGroups();
  void CheckShown() const;

  // Steps with a scaler or, if it is null, without.
  Report StepWith(kudari::GradScaler* scaler);
  Report StepWith(kudari::GradScaler* scaler,
                  const std::function<kudari::Evaluation(Pass)>& closure);
  // Wraps a closure that is not told the pass and that outlives the result. Throws Error if the
  // closure would have to be told.
  std::function<kudari::Evaluation(Pass)> WithPass(
      const std::function<kudari::Evaluation()>& closure) const;
  std::function<kudari::Evaluation(Pass)> WithPass(
      const std::function<at::Tensor()>& closure) const;
  friend class GradientRelease;  // steps one parameter at a time
  friend class Snapshot;         // keeps what a learning-rate range test restores
  friend LrRange FindLearningRate(Optimizer& optimizer, const std::function<at::Tensor()>& closure,
                                  const FindOptions& options);

  // Checks all parameters before pointing the engine at any of them. Returns whether, since
  // `replaced_` was false, the memory of a parameter was replaced by memory with other values.
  bool BindParameters() const;
  // Whether a parameter is where the engine was pointed at; if not, points it there.
  bool Follows(size_t index) const;
  void Follow(size_t index) const;
  // BindParameters, after which what is kept of weights that were replaced after a step is
  // re-initialised, unless the state was loaded since: weights and state of another run may be
  // loaded in either order.
  void FollowParameters();
  // A gradient may be bound if CheckGradient does not throw.
  void CheckGradient(size_t index) const;
  void CheckSparseGradient(size_t index) const;
  void BindGradient(size_t index);
  void BindRows(size_t index);
  void BindGradients();
  void ReleaseGradient(size_t index);
  // Tell LibTorch that one parameter was written, or all those that a step with gradients has
  // written. Those with a mirror are given its values.
  void NoteWritten(size_t index) const;
  void NoteStep(bool all) const;
  // Whether the step that was just counted also wrote parameters without a gradient.
  bool WroteAll() const;

  NamedParameters parameters_, left_out_;
  std::vector<at::Tensor> buffers_;
  std::vector<at::Tensor> gradients_;  // what the engine reads during a step, possibly copies
  std::vector<at::Tensor> rows_;       // the indices of the rows of those that are sparse
  std::vector<char> has_gradient_;     // in some closure call of the current step
  // Where each parameter was when the engine was pointed at it or at its mirror; the memory is kept
  // alive as long as the engine points there.
  struct Memory {
    const void* data;
    c10::Storage storage;
  };
  mutable std::vector<Memory> memory_;
  mutable std::vector<at::Tensor> mirrors_;  // see ParameterSet
  mutable bool replaced_ = false;
  int64_t stepped_ = 0;          // the engine's step count after the last step taken here
  bool source_at_work_ = false;  // the source has recorded where the weights are, to restore them
  // Shared with the groups that param_groups() has.
  std::shared_ptr<kudari::Optimizer> core_;
};

/// While it lives, torch computes scaled_dot_product_attention in its plain form in all threads,
/// since the fused form cannot be differentiated twice.
class [[nodiscard]] PlainAttention {
 public:
  PlainAttention();
  ~PlainAttention();
  PlainAttention(const PlainAttention&) = delete;
  PlainAttention& operator=(const PlainAttention&) = delete;

 private:
  bool fused_;
};

/// The source of randomness of an estimate, and what the estimate restores.
struct EstimateOptions {
  /// The generator of labels or signs; unset: torch's default CPU generator.
  std::optional<at::Generator> generator = std::nullopt;
  /// Whether torch's default CPU generator is restored to its previous state.
  bool keep_random = false;
  /// A module whose buffers, such as the running statistics of batch norm, are restored.
  ::torch::nn::Module* keep_buffers = nullptr;
};

/// The gradient of the mean cross-entropy over `logits()`, of shape [..., classes], with labels
/// drawn from the model's own softmax. Its square times the number of samples is the
/// Gauss-Newton-Bartlett estimate of the Hessian's diagonal (Liu et al., arXiv:2305.14342,
/// Algorithm 2), which rule `sophia` uses. Parameters and their gradients stay unchanged. The
/// result has one tensor per parameter, float32 for 16-bit parameters, and undefined where the
/// logits do not depend on the parameter or it needs no gradient. Throws Error if the logits have
/// no classes, do not depend on the parameters, or make softmax return a NaN.
std::vector<at::Tensor> GaussNewtonBartlett(const std::vector<at::Tensor>& parameters,
                                            const std::function<at::Tensor()>& logits,
                                            const EstimateOptions& options = {});

/// Hutchinson's estimate u * (H u) of the diagonal of the Hessian H of `loss()`, with random signs
/// u, which rule `sophia_h` uses. It differentiates twice, under a PlainAttention, and is exact
/// where H is diagonal. Unchanged and undefined values are as for GaussNewtonBartlett. Throws Error
/// if the loss is not a single value or does not depend on the parameters.
std::vector<at::Tensor> Hutchinson(const std::vector<at::Tensor>& parameters,
                                   const std::function<at::Tensor()>& loss,
                                   const EstimateOptions& options = {});

/// Recomputes the running statistics of every batch norm in `module` as plain averages over the
/// batches that `forward` runs through it; averaged weights need this. Calls `forward` once, in
/// training mode and without gradients, unless there is no batch norm. Momenta and modes are
/// restored, even if it throws. Returns whether there is a batch norm that keeps statistics.
///
///     UpdateBatchNorm(*model, [&] { for (const auto& x : batches) model->forward(x); });
bool UpdateBatchNorm(::torch::nn::Module& module, const std::function<void()>& forward);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_H_
