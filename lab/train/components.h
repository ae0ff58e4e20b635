#ifndef KUDARI_LAB_TRAIN_COMPONENTS_H_
#define KUDARI_LAB_TRAIN_COMPONENTS_H_

#include <torch/torch.h>

#include <optional>
#include <string>
#include <vector>

namespace kudari::lab {

/// What sharpness-aware gradients consist of, from step to step: g at the weights, g_s at the
/// perturbed ones, g_h = (g_s.g / g.g) g, the part of g_s along g, and g_v = g_s - g_h, which
/// LookSAM reuses (Liu et al., arXiv:2203.02714, figure 2). Takes whole gradients, in double.
class ComponentTracker {
 public:
  /// Of the gradients that parameters have, divided by `loss_scale`.
  void Plain(const std::vector<at::Tensor>& parameters, double loss_scale);
  void Perturbed(const std::vector<at::Tensor>& parameters, double loss_scale);

  /// Whether both were given since the last Json.
  bool Complete() const { return plain_.defined() && sharp_.defined(); }

  /// One JSON object, of what both were given for: norms of the four, and for g_s, g_h and g_v, if
  /// there was an object before, the norm of the change since then ("change"), that over the former
  /// norm ("relative") and the cosine between both ("cosine"). Forgets the two gradients.
  std::string Json();

 private:
  struct Component {
    const char* name;
    at::Tensor now, former;
  };

  at::Tensor plain_, sharp_;
  std::vector<Component> components_ = {{"g_s", {}, {}}, {"g_h", {}, {}}, {"g_v", {}, {}}};
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_COMPONENTS_H_
