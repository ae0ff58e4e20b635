#ifndef KUDARI_RULES_ADABELIEF_H_
#define KUDARI_RULES_ADABELIEF_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// AdaBelief (Zhuang et al., arXiv:2010.07468, Algorithm 2) with decoupled weight decay, as in the
/// authors' package adabelief-pytorch with rectify=False: Adam whose second moment is that of the
/// gradient's distance from its mean. Epsilon is added to this moment at every update, so that it
/// accumulates, and to the root.
struct AdaBelief {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-16, weight_decay = 0;

  static constexpr std::string_view kName = "adabelief";
  static constexpr std::string_view kSummary =
      "Adam with the variance of the gradient around its mean";
  static constexpr std::string_view kFormula =
      "m <- m + (1 - beta1) (g - m)\n"
      "s <- s + (1 - beta2) ((g - m)^2 - s) + eps\n"
      "p <- p - lr (weight_decay p + mhat / (sqrt(shat) + eps)), where xhat = x / (1 - beta^t)";
  static constexpr std::string_view kPaper =
      "Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, "
      "arXiv:2010.07468";
  static constexpr std::string_view kUse =
      "As adamw; longer steps where the gradient hardly changes. The authors recommend eps = 1e-16 "
      "for transformers and generative adversarial networks, 1e-8 for convolutional networks on "
      "images. With beta1 = 0 the mean is the gradient, and eps alone determines the step.";
  static constexpr std::string_view kTorch =
      "None; adabelief-pytorch's AdaBelief(rectify=False) is the same. Its default, rectify=True, "
      "corrects the first steps as radam does; use a warm-up instead.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<AdaBelief>{"lr", &AdaBelief::lr, 0, kInfinity, "step size"},
      Field<AdaBelief>{"beta1", &AdaBelief::beta1, 0, kBelow1, "decay of the mean of gradients",
                       Role::kDecay},
      Field<AdaBelief>{"beta2", &AdaBelief::beta2, 0, kBelow1, "decay of the variance",
                       Role::kDecay},
      Field<AdaBelief>{"eps", &AdaBelief::eps, 0, kInfinity,
                       "added to s at every update, and to the root of shat"},
      Field<AdaBelief>{"weight_decay", &AdaBelief::weight_decay, 0, kInfinity,
                       "decoupled: lr weight_decay p is subtracted from p"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_var", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, distance, inside, step, root, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {lr * weight_decay,
            MeanShare(beta1),
            MeanShare(beta2),
            beta1,
            std::max(eps, kLeastEpsInside) / (1 - beta2),
            lr / c1,
            1 / std::sqrt(c2),
            std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADABELIEF_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const AdaBelief::Coeffs<T>& c, V g, V& p, V& m, V& s) {
  // The distance of g from the new mean; beside it, g - m would cancel for a small beta1.
  const V distance = V(c.distance) * (g - m);
  m = Mean(c.mean1, g, m);
  // eps is a share of 1 - beta2 of what it is here, so that s is rounded once.
  s = Mean(c.mean2, Fma(distance, distance, V(c.inside)), s);
  p = p - AddShare(c.decay, p, V(c.step) * m / Fma(Sqrt(s), V(c.root), V(c.eps)));
}
#endif  // KUDARI_LANES
