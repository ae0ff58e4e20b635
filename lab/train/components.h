#ifndef KUDARI_LAB_TRAIN_COMPONENTS_H_
#define KUDARI_LAB_TRAIN_COMPONENTS_H_

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lab/train/observer.h"

namespace kudari::lab {

/// What sharpness-aware gradients consist of, in every sharpness.k-th step: g at the weights, g_s
/// at the perturbed ones, g_h = (g_s.g / g.g) g, the part of g_s along g, and g_v = g_s - g_h,
/// which LookSAM reuses (Liu et al., arXiv:2203.02714, figure 2). The record of such a step gets a
/// JSON object: norms of the four, and for g_s, g_h and g_v, if there was an object before, the
/// norm of the change since then ("change"), that over the former norm ("relative") and the cosine
/// between both ("cosine"). Takes whole gradients, in double.
class ComponentTracker : public TrainObserver {
 public:
  /// Throws Error unless the session has a sharpness-aware source and no accumulation.
  explicit ComponentTracker(const Session& session);

  void OnGradient(const GradientEvent& event) override;
  void OnStep(const StepEvent& event) override;

  std::string_view StateName() const override { return "components"; }
  /// g_s, g_h and g_v as they were last, if they were.
  void Visit(StateVisitor& visitor) override;

 private:
  std::string Json();

  struct Component {
    const char* name;
    at::Tensor now, former;
  };

  int64_t size_ = 0;          // of a gradient
  at::Tensor plain_, sharp_;  // of the step that is being taken
  std::vector<Component> components_ = {{"g_s", {}, {}}, {"g_h", {}, {}}, {"g_v", {}, {}}};
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_COMPONENTS_H_
