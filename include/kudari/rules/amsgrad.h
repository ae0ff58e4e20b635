#ifndef KUDARI_RULES_AMSGRAD_H_
#define KUDARI_RULES_AMSGRAD_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// AMSGrad: Adam divided by the root of the largest second moment so far (Reddi et al.,
/// arXiv:1904.09237), with coupled weight decay, as torch's Adam(amsgrad=True). The maximum is
/// taken over uncorrected moments and then bias-corrected; the paper corrects nothing.
struct AmsGrad {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "amsgrad";
  static constexpr std::string_view kSummary = "Adam whose second moment never decreases";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "vmax <- max(vmax, v)\n"
      "p <- p - lr m / (1 - beta1^t) / (sqrt(vmax / (1 - beta2^t)) + eps)";
  static constexpr std::string_view kPaper =
      "Reddi, Kale & Kumar, On the Convergence of Adam and Beyond, arXiv:1904.09237";
  static constexpr std::string_view kUse =
      "Where Adam circles around a solution because rare large gradients are forgotten too soon. "
      "Four more bytes per parameter than adam.";
  static constexpr std::string_view kTorch = "Adam(amsgrad=True): the same.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<AmsGrad>{"lr", &AmsGrad::lr, 0, kInfinity, "step size"},
      Field<AmsGrad>{"beta1", &AmsGrad::beta1, 0, kBelow1, "decay of the first moment",
                     Role::kDecay},
      Field<AmsGrad>{"beta2", &AmsGrad::beta2, 0, kBelow1, "decay of the second moment",
                     Role::kDecay},
      Field<AmsGrad>{"eps", &AmsGrad::eps, 0, kInfinity, "added to the root of the corrected vmax",
                     Role::kEps},
      Field<AmsGrad>{"weight_decay", &AmsGrad::weight_decay, 0, kInfinity,
                     "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare},
                                        Slot{"max_exp_avg_sq", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, step, root, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {weight_decay, MeanShare(beta1),  MeanShare(beta2),
            lr / c1,      1 / std::sqrt(c2), std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_AMSGRAD_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const AmsGrad::Coeffs<T>& c, V g, V& p, V& m, V& v, V& largest) {
  g = AddShare(c.decay, p, g);
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  largest = Max(v, largest);
  p = p - V(c.step) * m / Fma(Sqrt(largest), V(c.root), V(c.eps));
}
#endif  // KUDARI_LANES
