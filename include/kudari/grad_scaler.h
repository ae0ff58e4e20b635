#ifndef KUDARI_GRAD_SCALER_H_
#define KUDARI_GRAD_SCALER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/state.h"
#include "kudari/step.h"

namespace kudari {

/// Options of GradScaler; the defaults are torch's. Scales are rounded to float32, so that the loss
/// is multiplied by exactly the number that the gradient is divided by.
struct GradScalerOptions {
  double init_scale = 65536;       ///< in [min_scale, float32's largest number]
  double growth_factor = 2;        ///< in (1, inf)
  double backoff_factor = 0.5;     ///< in (0, 1)
  int64_t growth_interval = 2000;  ///< steps without overflow before the scale grows; at least 1
  double min_scale = 0x1p-24;      ///< lower bound of the scale; in [2^-126, 2^126]
  bool dynamic = true;             ///< false: Update leaves the scale unchanged
};

/// Dynamic loss scaling, so that small gradients survive in float16 (Micikevicius et al.,
/// arXiv:1710.03740). As in torch.amp.GradScaler, a gradient with an infinity or a NaN skips the
/// step and reduces the scale, and `growth_interval` steps in a row without one increase it. 1 /
/// scale is folded into the fused pass: gradients are only read, and clipping and Report::grad_norm
/// use the unscaled gradient.
///
///     kudari::GradScaler scaler;
///     ...                        // the gradients of loss * scaler.scale()
///     scaler.Step(optimizer);    // and further optimisers of the same loss
///     scaler.Update();           // once for all of them
///
/// Optimisers are identified by address between Step and Update.
class GradScaler {
 public:
  /// Throws Error if a value is out of range.
  explicit GradScaler(const GradScalerOptions& options = {});

  /// The factor to multiply the loss by.
  double scale() const { return scale_; }
  const GradScalerOptions& options() const { return options_; }

  /// Steps with the gradients of loss * scale(), as Optimizer::StepScaled does. A gradient that is
  /// not finite skips the step whatever the spec's NonFinite policy, because overflow is expected
  /// here. Throws Error if the optimiser has been stepped since the last Update or no tensor has a
  /// gradient.
  Report Step(Optimizer& optimizer);
  /// As above, with an oracle that writes the gradients of loss * scale() and returns the plain
  /// loss. If the oracle has no data, no step is taken and Step may be called again. Also throws
  /// Error after Unscaled.
  Report Step(Optimizer& optimizer, const Oracle& oracle);

  /// Tells the scaler that the caller has multiplied the optimiser's gradients by 1 / scale() in
  /// place, to inspect or change them; its next Step takes them as they are then. `first_nonfinite`
  /// is the name of the first tensor whose gradient was not finite, which makes that step be
  /// skipped, or empty; it must live as long as the optimiser. Throws Error if this was already
  /// called, or the optimiser was stepped, since the last Update.
  void Unscaled(const Optimizer& optimizer, std::string_view first_nonfinite);

  /// Reduces the scale if the gradient of an optimiser stepped (or unscaled) since the last Update
  /// was not finite. Otherwise counts a good step and may increase the scale, which stays finite
  /// and at least min_scale. Throws Error if nothing was stepped or unscaled.
  void Update();

  /// The number of steps without overflow since the scale last changed; 0 if not dynamic.
  int64_t growth_tracker() const { return growth_tracker_; }

  /// The state: `scale` and `growth_tracker`. Call it between Update and the next Step.
  StateTree State() const;
  /// Replaces the state and forgets the steps since the last Update. Throws Error, with nothing
  /// changed, if scale or growth_tracker is out of range.
  LoadReport LoadState(const StateTree& state, LoadMode mode = LoadMode::kStrict);
  /// Visits the state, for objects that contain a scaler.
  void Visit(StateVisitor& visitor);

 private:
  // An optimiser seen since the last Update; first_nonfinite is a tensor's name or empty.
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
