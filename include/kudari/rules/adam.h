#ifndef KUDARI_RULES_ADAM_H_
#define KUDARI_RULES_ADAM_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// Adam (Kingma & Ba, arXiv:1412.6980, Algorithm 1) with coupled weight decay, as torch's Adam:
/// epsilon is added outside the root, after bias correction.
struct Adam {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "adam";
  static constexpr std::string_view kSummary = "Adam, with coupled weight decay";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "p <- p - lr mhat / (sqrt(vhat) + eps), where xhat = x / (1 - beta^t)";
  static constexpr std::string_view kPaper =
      "Kingma & Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980";
  static constexpr std::string_view kUse =
      "A first try on anything new. Generative adversarial networks take beta1 = 0.5 and lr 2e-4; "
      "reinforcement learning takes eps = 1e-5 and clip_norm = 0.5.";
  static constexpr std::string_view kTorch = "Adam: the same.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::string_view kLargeBatch = "lamb";
  static constexpr std::array kFields = {
      Field<Adam>{"lr", &Adam::lr, 0, kInfinity, "step size"},
      Field<Adam>{"beta1", &Adam::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<Adam>{"beta2", &Adam::beta2, 0, kBelow1, "decay of the second moment", Role::kDecay},
      Field<Adam>{"eps", &Adam::eps, 0, kInfinity, "added to the root of vhat", Role::kEps},
      Field<Adam>{"weight_decay", &Adam::weight_decay, 0, kInfinity,
                  "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};

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

#endif  // KUDARI_RULES_ADAM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Adam::Coeffs<T>& c, V g, V& p, V& m, V& v) {
  g = AddShare(c.decay, p, g);
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  p = p - V(c.step) * m / Fma(Sqrt(v), V(c.root), V(c.eps));
}
#endif  // KUDARI_LANES
