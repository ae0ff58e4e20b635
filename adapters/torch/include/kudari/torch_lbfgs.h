#ifndef KUDARI_TORCH_LBFGS_H_
#define KUDARI_TORCH_LBFGS_H_

#include <torch/torch.h>

#include <functional>
#include <vector>

#include "kudari/lbfgs.h"
#include "kudari/torch.h"

namespace kudari::torch {

/// kudari::Lbfgs for LibTorch parameters, which must be float32 and contiguous; otherwise the same
/// conditions hold as for Optimizer.
///
///     kudari::torch::Lbfgs lbfgs(*model, {.line_search_fn = kudari::LineSearch::kStrongWolfe});
///     lbfgs.Step([&] {
///       const at::Tensor loss = loss_of(model, all_samples);
///       loss.backward();
///       return loss;
///     });
class Lbfgs {
 public:
  /// For the parameters in module.named_parameters(), or for named parameters. Throws Error naming
  /// a parameter or an option that is not valid.
  explicit Lbfgs(const ::torch::nn::Module& module, const LbfgsOptions& options = {});
  explicit Lbfgs(const NamedParameters& parameters, const LbfgsOptions& options = {});

  /// Calls `closure` with gradients enabled and zeroed, as often as kudari::Lbfgs::Step does. It
  /// runs backward() and returns the loss. Throws Error naming a parameter or a gradient that has
  /// changed its type or shape.
  LbfgsReport Step(const std::function<at::Tensor()>& closure);

  /// The optimiser, for its state and lr. Its tensors have gradients only during Step.
  kudari::Lbfgs& core() { return core_; }
  const kudari::Lbfgs& core() const { return core_; }

 private:
  Lbfgs(const LbfgsOptions& options, ParameterSet parameters);
  void BindParameters();
  // Throws Error if the closure has replaced the memory of a parameter.
  void CheckInPlace() const;
  void BindGradients();
  void ReleaseGradients();
  void NoteWritten() const;

  NamedParameters parameters_;
  std::vector<c10::Storage> memory_;   // what the core points at, kept alive
  std::vector<at::Tensor> gradients_;  // what the core reads, possibly copies
  kudari::Lbfgs core_;
};

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_LBFGS_H_
