#ifndef KUDARI_TORCH_AMP_H_
#define KUDARI_TORCH_AMP_H_

#include <torch/torch.h>

#include <functional>

#include "kudari/grad_scaler.h"
#include "kudari/torch.h"

namespace kudari::torch {

/// While it lives, this thread's CPU operations in torch compute in bfloat16 or float16 where that
/// is suitable (matrix products, convolutions), from float32 weights, as Python's
/// torch.autocast("cpu", dtype). Casts of weights are cached until the outermost Autocast ends or
/// kudari::torch writes weights; backward() may run inside or outside. The previous settings are
/// restored, even after an exception.
class [[nodiscard]] Autocast {
 public:
  /// Throws Error if dtype is neither kBFloat16 nor kHalf.
  explicit Autocast(at::ScalarType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool enabled_, cache_enabled_;
  at::ScalarType dtype_;
};

/// kudari::GradScaler for LibTorch: torch.amp.GradScaler, which is missing from torch's C++.
///
///     kudari::torch::Optimizer optimizer(*model, kudari::AdamW{.lr = 1e-3});
///     kudari::torch::GradScaler scaler;
///     for (const auto& [x, y] : batches) {
///       optimizer.ZeroGrad();
///       at::Tensor loss;
///       {
///         const kudari::torch::Autocast half(at::kHalf);
///         loss = loss_of(model->forward(x), y);
///       }
///       scaler.Scale(loss).backward();
///       scaler.Step(optimizer);
///       scaler.Update();
///     }
class GradScaler {
 public:
  /// Throws Error if a value is out of range.
  explicit GradScaler(const GradScalerOptions& options = {}) : scaler_(options) {}

  /// The loss times scale(); float32 if the loss is a single float16 or bfloat16.
  at::Tensor Scale(const at::Tensor& loss) const;

  /// Steps with the gradients of Scale(loss), or with those left by Unscale; an overflow skips the
  /// step. Throws Error as kudari::GradScaler::Step and Optimizer::Step do.
  Report Step(Optimizer& optimizer);
  /// As above, with a closure as in Optimizer::Step: it runs Scale(loss).backward() and returns the
  /// plain loss. All micro-batches of a step share the scale.
  Report Step(Optimizer& optimizer, const std::function<at::Tensor()>& closure);
  Report Step(Optimizer& optimizer, const std::function<kudari::Evaluation()>& closure);
  Report Step(Optimizer& optimizer, const std::function<kudari::Evaluation(Pass)>& closure);

  /// Divides the optimiser's gradients by scale() in place, so that they can be inspected or
  /// changed before Step, which does not divide them again. If one is not finite at this point, the
  /// step will be skipped, whatever happens to it later. A gradient whose elements share memory, or
  /// that also belongs to another parameter, is replaced by a copy. Clipping does not need this,
  /// since the optimiser clips the unscaled gradient. Throws Error, with no value changed, if
  /// called again or after Step before the next Update, and for float16 gradients, in which small
  /// values need the scale.
  void Unscale(Optimizer& optimizer);

  /// Call it once after the steps of all optimisers; see kudari::GradScaler::Update.
  void Update() { scaler_.Update(); }

  double scale() const { return scaler_.scale(); }
  int64_t growth_tracker() const { return scaler_.growth_tracker(); }

  /// State, LoadState and Visit are those of kudari::GradScaler.
  StateTree State() const { return scaler_.State(); }
  LoadReport LoadState(const StateTree& state, LoadMode mode = LoadMode::kStrict) {
    return scaler_.LoadState(state, mode);
  }
  void Visit(StateVisitor& visitor) { scaler_.Visit(visitor); }

 private:
  kudari::GradScaler scaler_;
};

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_AMP_H_
