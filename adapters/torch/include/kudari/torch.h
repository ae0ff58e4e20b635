#ifndef KUDARI_TORCH_H_
#define KUDARI_TORCH_H_

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
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

using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

/// While it lives, parameters hold the weights to be evaluated; its destructor puts back those that
/// are trained, bit for bit, into the memory that the parameters have then. A parameter that has
/// got another shape, or has left the CPU, stays as it is. It may outlive the optimiser. See
/// Optimizer::EvaluationWeights.
class [[nodiscard]] EvaluationView {
 public:
  EvaluationView(EvaluationView&&) noexcept = default;
  EvaluationView& operator=(EvaluationView&&) = delete;
  ~EvaluationView();

 private:
  friend class Optimizer;
  EvaluationView(kudari::EvaluationView view, const NamedParameters& parameters);

  // Parameters, and the memory in which they show other weights.
  std::vector<std::pair<at::Tensor, at::Tensor>> shown_;
  std::optional<kudari::EvaluationView> view_;
};

/// Steps LibTorch parameters in place, without copies, by name. The parameters must be leaves of
/// the graph, dense, contiguous tensors on the CPU, of float32, bfloat16 or float16 (see
/// Precision), and stay of that type and shape; anything else throws Error naming the parameter,
/// with nothing changed. Their memory may be replaced between calls, as torch::load does.
///
/// A tensor that has several names, as tied weights, is stepped once: the engine has it by its
/// first name, with the others as aliases. A parameter that is frozen and that the engine could not
/// hold, such as one of integers or of float64, is left out: it is no tensor of the engine and not
/// in Parameters(), and calls throw Error naming it once it has a gradient.
///
/// A parameter whose gradient is undefined is skipped completely. Of those that are written
/// LibTorch is told: backward through what was computed from the former weights throws c10::Error,
/// as after its own optimisers' steps, and autocast casts them again.
///
///     kudari::torch::Optimizer optimizer(*model, kudari::AdamW{.lr = 1e-3});
///     optimizer.ZeroGrad();
///     loss_of(model, batch).backward();
///     optimizer.Step();
class Optimizer {
 public:
  /// Over module.named_parameters(). The class of a parameter of one of LibTorch's own modules is
  /// what the module's type says: the weight of an Embedding is an embedding, whatever its name,
  /// and that of a Linear a matrix, or the head if Classify says so. That of a tied weight is
  /// embedding if one of its uses is.
  Optimizer(const ::torch::nn::Module& module, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  Optimizer(const NamedParameters& parameters, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());

  /// Steps with the gradients that backward() left, of the parameter's type or float32. A gradient
  /// that is not contiguous is copied; one that is sparse, on another device, or of another type or
  /// shape throws Error naming the parameter.
  Report Step();

  /// Calls `closure` with gradients enabled, once or as often as the spec's source wants, then
  /// steps. The closure runs backward() and returns the loss; gradients are zeroed before each
  /// call. It must not change parameters: under a source that moves weights and puts them back,
  /// replacing their memory throws Error.
  Report Step(const std::function<at::Tensor()>& closure);
  /// The same for a closure that says how many samples its mean loss is over, which weights
  /// accumulated batches, or that the data has ended, kudari::Evaluation::End().
  Report Step(const std::function<kudari::Evaluation()>& closure);
  /// The same for a closure that is told the pass. Sharpness-aware sources (spec.source = "sam",
  /// "looksam" ...) call a closure again at perturbed weights: kPerturbed calls are over the
  /// batches of the step's plain ones, in their order; closures that are not told are over one
  /// batch, and throw Error with accumulate > 1. Perturbed calls get the random numbers of the
  /// plain ones, for dropout, and leave the generator and the module's buffers, such as the running
  /// statistics of batch norm, as they were.
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

  /// Buffers of a module that the constructor was not given: they, too, are put back after
  /// perturbed calls.
  void KeepBuffers(const ::torch::nn::Module& module);

  /// Takes estimates of the Hessian's diagonal into the state of rules that use one, one estimate
  /// for each parameter, undefined for none; see kudari::Optimizer::UpdateHessian. Throws Error for
  /// an estimate that is not a float32 tensor of the parameter's shape on the CPU.
  ///
  ///     const auto logits = [&] { return model->forward(batch); };
  ///     optimizer.UpdateHessian(GaussNewtonBartlett(optimizer.Parameters(), logits));
  void UpdateHessian(const std::vector<at::Tensor>& estimates);

  /// Puts the weights to be evaluated into the parameters, for as long as the view lives; see
  /// kudari::Optimizer::EvaluationWeights and, for models with batch norm, UpdateBatchNorm.
  /// Whatever is done to the values of parameters that show other weights is undone when it ends.
  EvaluationView EvaluationWeights();

  /// Says that the parameters were given other values in place; see kudari::Optimizer::Refresh. The
  /// optimiser notices by itself that their memory was replaced since its last step, as torch::load
  /// does it, and that a weight with a master was written.
  void Refresh();

  /// The parameters in the order of the engine's tensors.
  std::vector<at::Tensor> Parameters() const;

  /// Drops every gradient, or fills it with zeros.
  void ZeroGrad(bool set_to_none = true);

  /// The engine underneath: groups, schedules, state and stages, for parameters that lie where they
  /// are now; throws Error as Step does if one has got another type or shape. Ask for it again
  /// after memory of parameters has been replaced. Its tensors have gradients during calls of this
  /// class alone, and LibTorch does not learn what its own calls write: step and evaluate here.
  kudari::Optimizer& core() {
    BindParameters();
    return core_;
  }
  const kudari::Optimizer& core() const {
    BindParameters();
    return core_;
  }

 private:
  friend class GradScaler;
  class Call;

  Optimizer(const OptimizerSpec& spec, const Registry& registry, ParameterSet parameters);

  // With a scaler or, if it is null, without.
  Report StepWith(kudari::GradScaler* scaler);
  Report StepWith(kudari::GradScaler* scaler,
                  const std::function<kudari::Evaluation(Pass)>& closure);
  // A closure that is not told the pass, and lives on; throws Error if it has to be.
  std::function<kudari::Evaluation(Pass)> WithPass(
      const std::function<kudari::Evaluation()>& closure) const;
  std::function<kudari::Evaluation(Pass)> WithPass(
      const std::function<at::Tensor()>& closure) const;
  friend class GradientRelease;  // steps one parameter at a time
  friend class Snapshot;         // of what a learning-rate range test puts back
  friend LrRange FindLearningRate(Optimizer& optimizer, const std::function<at::Tensor()>& closure,
                                  const FindOptions& options);

  // All parameters are checked before the engine is pointed at any. Returns whether memory of one
  // has been replaced by memory with other values since `replaced_` was false.
  bool BindParameters() const;
  // The same, and what is kept of weights that were replaced after a step starts over. Not if the
  // state was loaded since: weights and state of another run come in either order.
  void FollowParameters();
  // The gradient of a parameter may be bound if CheckGradient does not throw.
  void CheckGradient(size_t index) const;
  void BindGradient(size_t index);
  void BindGradients();
  void ReleaseGradient(size_t index);
  // Tells LibTorch that a parameter was written, or all that a step with gradients has written.
  void NoteWritten(size_t index) const;
  void NoteStep(bool all) const;
  // Whether the step that was just counted wrote parameters without a gradient, too.
  bool WroteAll() const;

  NamedParameters parameters_, left_out_;
  std::vector<at::Tensor> buffers_;
  std::vector<at::Tensor> gradients_;  // what the engine reads during a step, perhaps copies
  std::vector<char> has_gradient_;     // in some call of the closure of the step being taken
  // The memory that the engine points at: it is not freed while that is so.
  mutable std::vector<c10::Storage> memory_;
  mutable bool replaced_ = false;
  int64_t stepped_ = 0;          // the engine's count after the last step that was taken here
  bool source_at_work_ = false;  // it notes where weights are, to put them back
  mutable kudari::Optimizer core_;
};

/// While it lives, torch computes scaled_dot_product_attention in its plain form, in all threads:
/// the fused one cannot be differentiated twice.
class [[nodiscard]] PlainAttention {
 public:
  PlainAttention();
  ~PlainAttention();
  PlainAttention(const PlainAttention&) = delete;
  PlainAttention& operator=(const PlainAttention&) = delete;

 private:
  bool fused_;
};

/// Where the draws of an estimate come from, and what it puts back.
struct EstimateOptions {
  /// Draws labels or signs; unset: torch's own generator for the CPU.
  std::optional<at::Generator> generator = std::nullopt;
  /// Whether torch's own generator for the CPU is put back to where it was.
  bool keep_random = false;
  /// Its buffers, such as the running statistics of batch norm, are put back to what they were.
  ::torch::nn::Module* keep_buffers = nullptr;
};

/// The gradient of the mean cross-entropy over `logits()`, [..., classes], with labels drawn from
/// the model's own softmax: its square times the number of samples is the Gauss-Newton-Bartlett
/// estimate of the Hessian's diagonal (Liu et al., arXiv:2305.14342, Algorithm 2). It is the
/// estimate that rule `sophia` takes. Parameters and their gradients stay as they are. The result
/// is one tensor a parameter, float32 for those of 16 bits, and undefined where the logits do not
/// depend on it or it needs no gradient. Throws Error if the logits have no classes, do not depend
/// on the parameters or are such that softmax has a NaN.
std::vector<at::Tensor> GaussNewtonBartlett(const std::vector<at::Tensor>& parameters,
                                            const std::function<at::Tensor()>& logits,
                                            const EstimateOptions& options = {});

/// Hutchinson's estimate u * (H u) of the diagonal of the Hessian H of `loss()`, with random signs
/// u, by differentiating twice, under a PlainAttention: what rule `sophia_h` takes. It is exact
/// where H is diagonal. What stays and what is undefined is as with GaussNewtonBartlett. Throws
/// Error if the loss is not a single value or does not depend on the parameters.
std::vector<at::Tensor> Hutchinson(const std::vector<at::Tensor>& parameters,
                                   const std::function<at::Tensor()>& loss,
                                   const EstimateOptions& options = {});

/// Makes the running statistics of every batch norm in `module` the plain averages over the batches
/// that `forward` runs through it, which averaged weights need. Calls `forward` once, in training
/// mode and without gradients, unless there is no batch norm; momenta and modes are as before then,
/// even if it throws. Returns whether there is a batch norm that keeps statistics.
///
///     UpdateBatchNorm(*model, [&] { for (const auto& x : batches) model->forward(x); });
bool UpdateBatchNorm(::torch::nn::Module& module, const std::function<void()>& forward);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_H_
