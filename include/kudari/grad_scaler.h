#ifndef KUDARI_GRAD_SCALER_H_
#define KUDARI_GRAD_SCALER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/state.h"
#include "kudari/step.h"

namespace kudari {

/// How GradScaler chooses the loss scale; the defaults are torch's. Scales are rounded to float32,
/// so that what the loss is multiplied with is what the gradient is divided by.
struct GradScalerOptions {
  double init_scale = 65536;       ///< in [min_scale, float32's largest number]
  double growth_factor = 2;        ///< in (1, inf)
  double backoff_factor = 0.5;     ///< in (0, 1)
  int64_t growth_interval = 2000;  ///< steps without overflow before it grows; at least 1
  double min_scale = 0x1p-24;      ///< Update stays at it; in [2^-126, 2^126]
  bool dynamic = true;             ///< false: Update leaves the scale as it is
};

/// Scales the loss so that small gradients survive in float16, and finds the scale while training,
/// as torch.amp.GradScaler does: a gradient with an infinity or a NaN skips the step and the scale
/// is backed off; it grows after `growth_interval` steps in a row without one (Micikevicius et al.,
/// arXiv:1710.03740). 1/scale is folded into the fused pass, so gradients are read only, and
/// clipping and Report::grad_norm are of the unscaled gradient.
///
///     kudari::GradScaler scaler;
///     ...                        // the gradients of loss * scaler.scale()
///     scaler.Step(optimizer);    // and further optimisers of the same loss
///     scaler.Update();           // once for all of them
///
/// An optimiser is known by its address between Step and Update.
class GradScaler {
 public:
  /// Throws Error if a value is out of its range.
  explicit GradScaler(const GradScalerOptions& options = {});

  /// What the loss is to be multiplied with.
  double scale() const { return scale_; }
  const GradScalerOptions& options() const { return options_; }

  /// Steps with gradients that are those of loss * scale(), as Optimizer::StepScaled does: a
  /// gradient that is not finite skips the step, whatever the spec's NonFinite policy, because
  /// overflow is expected here. Throws Error if the optimiser has been stepped since the last
  /// Update or no tensor has a gradient.
  Report Step(Optimizer& optimizer);
  /// The same with an oracle that makes gradients of loss * scale() and returns the plain loss. An
  /// oracle without data takes no step: Step may be called again. Throws Error after Unscaled, too.
  Report Step(Optimizer& optimizer, const Oracle& oracle);

  /// Says that the caller has multiplied the optimiser's gradients by 1 / scale() in place, to look
  /// at them or to change them; its next Step takes them as they are then. `first_nonfinite` is the
  /// name of the first tensor whose gradient was not finite, which the step will be skipped for, or
  /// empty; it lives as long as the optimiser. Throws Error if that was said or the optimiser was
  /// stepped since the last Update.
  void Unscaled(const Optimizer& optimizer, std::string_view first_nonfinite);

  /// Backs off if a gradient of an optimiser stepped (or unscaled) since the last Update was not
  /// finite, otherwise counts a good step and may grow; the scale stays finite and at least
  /// min_scale. Throws Error if nothing was stepped or unscaled.
  void Update();

  /// Steps without overflow since the scale last changed; 0 if not dynamic.
  int64_t growth_tracker() const { return growth_tracker_; }

  /// `scale` and `growth_tracker`, between Update and the next Step.
  StateTree State() const;
  /// Replaces the state and forgets steps since the last Update. Throws Error, with nothing
  /// changed, if scale or growth_tracker is out of range.
  LoadReport LoadState(const StateTree& state, LoadMode mode = LoadMode::kStrict);
  void Visit(StateVisitor& visitor);

 private:
  // An optimiser since the last Update; first_nonfinite is a tensor's name or empty.
  struct Seen {
    const Optimizer* optimizer;
    bool stepped;
    std::string_view first_nonfinite;
  };

  const Seen* Find(const Optimizer& optimizer) const;
  Report Note(const Optimizer& optimizer, const Report& report);

  GradScalerOptions options_;
  double scale_;  // a float32
  int64_t growth_tracker_ = 0;
  std::vector<Seen> seen_;
};

}  // namespace kudari

#endif  // KUDARI_GRAD_SCALER_H_
