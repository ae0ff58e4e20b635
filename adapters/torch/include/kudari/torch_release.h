#ifndef KUDARI_TORCH_RELEASE_H_
#define KUDARI_TORCH_RELEASE_H_

#include <torch/torch.h>

#include <functional>
#include <memory>

#include "kudari/torch.h"

namespace kudari::torch {

/// Gradient release: while it lives, backward() steps each parameter as soon as its gradient is
/// complete and frees the gradient, so that no two large ones are in memory at once. Backward must
/// be called through Step.
///
///     kudari::torch::Optimizer optimizer(*model, kudari::AdamW{.lr = 1e-3});
///     kudari::torch::GradientRelease release(optimizer);
///     release.Step([&] { return loss_of(model, batch); });
class GradientRelease {
 public:
  enum class Mode {
    /// One pass. Step throws Error if the spec needs all gradients at once (clip_norm,
    /// measure_norm, a nonfinite policy, accumulation, a source).
    kOnePass,
    /// Two passes: the first computes the norm of the gradient and frees its parts, the second
    /// steps. This supports clip_norm, measure_norm and nonfinite policies at the cost of a second
    /// backward pass. Both passes must see the same gradients: if the model draws random numbers,
    /// seed torch's generator in the closure.
    kTwoPasses,
  };

  /// `optimizer` must outlive it. Throws Error if a parameter already has a hook of this kind.
  explicit GradientRelease(Optimizer& optimizer, Mode mode = Mode::kOnePass);
  ~GradientRelease();
  GradientRelease(const GradientRelease&) = delete;
  GradientRelease& operator=(const GradientRelease&) = delete;

  /// Calls `loss` with gradients enabled, once or twice depending on the mode, and backward() on
  /// the result. A parameter that backward does not reach is not stepped. With NonFinite::kSkip or
  /// kError nothing is stepped if the norm is not finite. If backward throws, the parameters
  /// stepped until then stay stepped, and this counts as a step. Throws Error, before anything has
  /// changed, if a gradient already exists.
  Report Step(const std::function<at::Tensor()>& loss);

 private:
  struct State;
  class Hook;
  std::shared_ptr<State> state_;
};

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_RELEASE_H_
