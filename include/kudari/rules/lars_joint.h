#ifndef KUDARI_RULES_LARS_JOINT_H_
#define KUDARI_RULES_LARS_JOINT_H_

#include <span>

#include "kudari/rules/lars.h"

namespace kudari {

/// LARS (see lars.h) whose ratio uses the norm of the sum of gradient and weight decay, as SimCLR's
/// LARSOptimizer and optax' lars do: a tensor whose gradient and decay cancel takes long steps.
struct LarsJoint {
  double lr = 0.1, momentum = 0.9, weight_decay = 1e-4, trust = 1e-3;

  static constexpr std::string_view kName = "lars_joint";
  static constexpr std::string_view kSummary =
      "LARS with the norm of gradient and weight decay together";
  static constexpr std::string_view kFormula =
      "ratio = trust norm(p) / norm(g + weight_decay p), 1 if a norm is 0\n"
      "b <- momentum b + lr ratio (g + weight_decay p)\n"
      "p <- p - b";
  static constexpr std::string_view kPaper =
      "You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, arXiv:1708.03888";
  static constexpr std::string_view kUse =
      "Recipes that come from SimCLR or optax; otherwise as lars.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::array kFields = {
      Field<LarsJoint>{"lr", &LarsJoint::lr, 0, kInfinity, "step size"},
      Field<LarsJoint>{"momentum", &LarsJoint::momentum, 0, kBelow1, "decay of the buffer",
                       Role::kDecay},
      Field<LarsJoint>{"weight_decay", &LarsJoint::weight_decay, 0, kInfinity,
                       "coupled: added to the gradient"},
      Field<LarsJoint>{"trust", &LarsJoint::trust, 0, kInfinity,
                       "length of a step relative to the tensor's norm"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
  static constexpr size_t kNorms = 2;
  static constexpr StatePass kStatePass = StatePass::kUpdate;
  static constexpr bool kAdaptsVectors = false;

  template <class T>
  using Coeffs = Lars::Coeffs<T>;
  Coeffs<double> At(int64_t /*t*/) const { return {weight_decay, weight_decay, momentum, lr, 1}; }
  /// `norms` are those of p and g + weight_decay p.
  Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) const {
    c.inner *= Ratio(norms).ratio;
    return c;
  }
  TrustRatio Ratio(std::span<const double> norms) const {
    return Lars::Ratio(norms, norms[1], trust);
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LARS_JOINT_H_
