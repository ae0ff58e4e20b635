#ifndef KUDARI_RULES_LAMBC_H_
#define KUDARI_RULES_LAMBC_H_

#include <span>

#include "kudari/rules/lamb.h"

namespace kudari {

/// LAMBC (Fong et al., arXiv:2011.13584): LAMB (see lamb.h) with a trust ratio of at most one, so
/// that no step is longer than adamw's, as timm's Lamb(trust_clip=True).
struct LambC {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 1e-2;

  static constexpr std::string_view kName = "lambc";
  static constexpr std::string_view kSummary = "LAMB with the trust ratio at most one";
  static constexpr std::string_view kFormula =
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "r = mhat / (sqrt(vhat) + eps) + weight_decay p, where xhat = x / (1 - beta^t)\n"
      "p <- p - lr min(1, norm(p) / norm(r)) r, but p - lr r if either norm is 0";
  static constexpr std::string_view kPaper =
      "You et al., arXiv:1904.00962; Fong, Chen & Chen, Improving Layer-wise Adaptive Rate Methods "
      "using Trust Ratio Clipping, arXiv:2011.13584";
  static constexpr std::string_view kUse =
      "As lamb, where its first steps are unstable because parameter norms are large.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr std::array kFields = {
      Field<LambC>{"lr", &LambC::lr, 0, kInfinity, "step size"},
      Field<LambC>{"beta1", &LambC::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<LambC>{"beta2", &LambC::beta2, 0, kBelow1, "decay of the second moment", Role::kDecay},
      Field<LambC>{"eps", &LambC::eps, 0, kInfinity, "added to the root of vhat", Role::kEps},
      Field<LambC>{"weight_decay", &LambC::weight_decay, 0, kInfinity,
                   "decoupled: inside r, scaled with it"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};
  static constexpr size_t kNorms = 2;
  static constexpr StatePass kStatePass = StatePass::kMeasure;
  static constexpr bool kAdaptsVectors = true;

  template <class T>
  using Coeffs = Lamb::Coeffs<T>;
  Coeffs<double> At(int64_t t) const { return {Lamb{lr, beta1, beta2, eps, weight_decay}.At(t)}; }
  /// `norms` are those of p and of the step r.
  Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) const {
    c.step *= Ratio(norms).ratio;
    return c;
  }
  TrustRatio Ratio(std::span<const double> norms) const {
    const TrustRatio r = Lamb().Ratio(norms);
    return r.ratio < 1 ? r : TrustRatio{1, true};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LAMBC_H_
