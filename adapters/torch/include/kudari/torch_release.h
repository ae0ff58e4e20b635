#ifndef KUDARI_TORCH_RELEASE_H_
#define KUDARI_TORCH_RELEASE_H_

#include <torch/torch.h>

#include <functional>
#include <memory>

#include "kudari/torch.h"

namespace kudari::torch {

/// Gradient release: while it lives, backward() steps each parameter as soon as its gradient is
/// complete, and frees the gradient, so that no two large ones are in memory together. Backward
/// must be called through Step.
///
///     kudari::torch::Optimizer optimizer(*model, kudari::AdamW{.lr = 1e-3});
///     kudari::torch::GradientRelease release(optimizer);
///     release.Step([&] { return loss_of(model, batch); });
class GradientRelease {
 public:
  enum class Mode {
    /// One pass; throws Error in Step if the spec needs all gradients at once (clip_norm,
    /// measure_norm, a nonfinite policy, accumulation, a source).
    kOnePass,
    /// Two passes: the first finds the norm of the gradient and frees its parts, the second steps.
    /// For clip_norm, measure_norm and nonfinite policies, at the price of another backward. Both
    /// must see the same gradients: seed torch's generator in the closure if the model draws.
    kTwoPasses,
  };

  /// `optimizer` must outlive it. Throws Error if a parameter has another hook of this kind.
  explicit GradientRelease(Optimizer& optimizer, Mode mode = Mode::kOnePass);
  ~GradientRelease();
  GradientRelease(const GradientRelease&) = delete;
  GradientRelease& operator=(const GradientRelease&) = delete;

  /// Calls `loss` with gradients enabled, once or twice as the mode says, and backward() on what it
  /// returns. A parameter whose gradient backward does not reach is not stepped. With
  /// NonFinite::kSkip or kError nothing is stepped if the norm is not finite. If backward throws,
  /// what has been stepped until then stays stepped, and is a step. Throws Error, before
  /// anything has changed, if a gradient is there already.
  Report Step(const std::function<at::Tensor()>& loss);

 private:
  struct State;
  class Hook;
  std::shared_ptr<State> state_;
};

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_RELEASE_H_
