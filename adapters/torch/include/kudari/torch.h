#ifndef KUDARI_TORCH_H_
#define KUDARI_TORCH_H_

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kudari/optimizer.h"

namespace kudari::torch {

using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

/// Steps LibTorch parameters in place, without copies, by name. The parameters must be dense,
/// contiguous float32 tensors on the CPU; anything else throws Error naming the parameter. A
/// parameter whose gradient is undefined is skipped completely.
///
///     kudari::torch::Optimizer optimizer(*model, kudari::AdamW{.lr = 1e-3});
///     optimizer.ZeroGrad();
///     loss_of(model, batch).backward();
///     optimizer.Step();
class Optimizer {
 public:
  /// Over module.named_parameters().
  Optimizer(const ::torch::nn::Module& module, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());
  Optimizer(NamedParameters parameters, const OptimizerSpec& spec,
            const Registry& registry = Registry::Builtin());

  /// Steps with the gradients that backward() left. A gradient that is not contiguous is copied;
  /// one that is sparse, on another device or of another type throws Error naming the parameter.
  Report Step();

  /// Calls `closure` with gradients enabled, once or as often as the spec's source wants, then
  /// steps. The closure runs backward() and returns the loss; gradients are zeroed before each
  /// call.
  Report Step(const std::function<at::Tensor()>& closure);
  /// The same for a closure that says how many samples its mean loss is over, which weights
  /// accumulated batches; zero samples end the data.
  Report Step(const std::function<Evaluation()>& closure);

  /// Drops every gradient, or fills it with zeros.
  void ZeroGrad(bool set_to_none = true);

  /// The engine underneath: groups, schedules, state and stages.
  kudari::Optimizer& engine() { return engine_; }
  const kudari::Optimizer& engine() const { return engine_; }

 private:
  void BindGradients();

  NamedParameters parameters_;
  std::vector<at::Tensor> copies_;  // keeps copied gradients alive during a step
  kudari::Optimizer engine_;
};

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_H_
