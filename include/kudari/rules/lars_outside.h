#ifndef KUDARI_RULES_LARS_OUTSIDE_H_
#define KUDARI_RULES_LARS_OUTSIDE_H_

#include <span>

#include "kudari/rules/lars.h"

namespace kudari {

/// LARS (see lars.h) with the learning rate outside the buffer, as in torch's SGD and timm's Lars.
/// It is the same while lr is constant; after a drop of lr, past steps shrink too.
struct LarsOutside {
  double lr = 0.1, momentum = 0.9, weight_decay = 1e-4, trust = 1e-3;

  static constexpr std::string_view kName = "lars_outside";
  static constexpr std::string_view kSummary = "LARS with the learning rate outside the momentum";
  static constexpr std::string_view kFormula =
      "ratio = trust norm(p) / (norm(g) + weight_decay norm(p)), 1 if a norm is 0\n"
      "b <- momentum b + ratio (g + weight_decay p)\n"
      "p <- p - lr b";
  static constexpr std::string_view kPaper =
      "You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, arXiv:1708.03888";
  static constexpr std::string_view kUse = "As lars, with schedules designed for momentum.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::array kFields = {
      Field<LarsOutside>{"lr", &LarsOutside::lr, 0, kInfinity, "step size"},
      Field<LarsOutside>{"momentum", &LarsOutside::momentum, 0, kBelow1, "decay of the buffer",
                         Role::kDecay},
      Field<LarsOutside>{"weight_decay", &LarsOutside::weight_decay, 0, kInfinity,
                         "coupled: added to the gradient"},
      Field<LarsOutside>{"trust", &LarsOutside::trust, 0, kInfinity,
                         "length of a step relative to the tensor's norm"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
  static constexpr size_t kNorms = 2;
  static constexpr StatePass kStatePass = StatePass::kUpdate;
  static constexpr bool kAdaptsVectors = false;

  template <class T>
  using Coeffs = Lars::Coeffs<T>;
  Coeffs<double> At(int64_t /*t*/) const { return {weight_decay, 0, momentum, 1, lr}; }
  /// `norms` are those of p and g.
  Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) const {
    c.inner = Ratio(norms).ratio;
    return c;
  }
  TrustRatio Ratio(std::span<const double> norms) const {
    return Lars::Ratio(norms, norms[1] + weight_decay * norms[0], trust);
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LARS_OUTSIDE_H_
