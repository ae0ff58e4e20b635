#ifndef KUDARI_RULES_ADAMAX_H_
#define KUDARI_RULES_ADAMAX_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// Adamax (Kingma & Ba, arXiv:1412.6980, Algorithm 2) with coupled weight decay, as torch's Adamax:
/// Adam with a maximum of decaying magnitudes instead of the root of the mean square. Epsilon,
/// which the paper does not have, is added to the magnitude of the gradient.
struct Adamax {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "adamax";
  static constexpr std::string_view kSummary = "Adam with the infinity norm of gradients";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "m <- m + (1 - beta1) (g - m)\n"
      "u <- max(beta2 u, abs(g) + eps)\n"
      "p <- p - lr / (1 - beta1^t) m / u";
  static constexpr std::string_view kPaper =
      "Kingma & Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980, Algorithm 2";
  static constexpr std::string_view kUse =
      "As adam, where gradients are sparse or have rare peaks: a step is hardly ever longer than "
      "lr. Embeddings, speech.";
  static constexpr std::string_view kTorch = "Adamax: the same.";
  static constexpr std::array kFields = {
      Field<Adamax>{"lr", &Adamax::lr, 0, kInfinity, "step size"},
      Field<Adamax>{"beta1", &Adamax::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<Adamax>{"beta2", &Adamax::beta2, 0, kBelow1, "decay of the maximum", Role::kDecay},
      Field<Adamax>{"eps", &Adamax::eps, 0, kInfinity, "added to the magnitude of the gradient",
                    Role::kEps},
      Field<Adamax>{"weight_decay", &Adamax::weight_decay, 0, kInfinity,
                    "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_inf", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, step, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    return {weight_decay, MeanShare(beta1), MeanShare(beta2), lr / c1, std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADAMAX_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Adamax::Coeffs<T>& c, V g, V& p, V& m, V& u) {
  g = AddShare(c.decay, p, g);
  m = Mean(c.mean1, g, m);
  u = Max(Abs(g) + V(c.eps), Mean(c.mean2, V(0), u));
  p = p - V(c.step) * (m / u);
}
#endif  // KUDARI_LANES
