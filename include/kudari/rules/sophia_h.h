#ifndef KUDARI_RULES_SOPHIA_H_H_
#define KUDARI_RULES_SOPHIA_H_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// Sophia-H (Liu et al., arXiv:2305.14342, Algorithm 3) with decoupled weight decay and a
/// bias-corrected first moment, as in optax' sophia. About every ten steps,
/// Optimizer::UpdateHessian needs Hutchinson's estimate of the Hessian's diagonal: u times (H u),
/// element by element, for a vector u of random signs. Where the running estimate is negative or
/// does not exist yet, the step is lr sign(m).
struct SophiaH {
  double lr = 1e-4, beta1 = 0.965, beta2 = 0.99, gamma = 0.01, eps = 1e-8, weight_decay = 1e-4;

  static constexpr std::string_view kName = "sophia_h";
  static constexpr std::string_view kSummary =
      "Momentum divided by a Hutchinson estimate of the curvature, clipped";
  static constexpr std::string_view kFormula =
      "m <- m + (1 - beta1) (g - m)\n"
      "p <- p - lr (weight_decay p + max(-1, min(1, mhat / max(gamma h, eps)))), mhat = m / (1 - "
      "beta1^t)\n"
      "UpdateHessian(e): h <- h + (1 - beta2) (e - h)";
  static constexpr std::string_view kPaper =
      "Liu et al., Sophia: A Scalable Stochastic Second-order Optimizer for Language Model "
      "Pre-training, arXiv:2305.14342";
  static constexpr std::string_view kUse =
      "As sophia, for losses that are not a cross entropy; needs products of the Hessian with a "
      "vector.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<SophiaH>{"lr", &SophiaH::lr, 0, kInfinity, "step size"},
      Field<SophiaH>{"beta1", &SophiaH::beta1, 0, kBelow1, "decay of the first moment",
                     Role::kDecay},
      Field<SophiaH>{"beta2", &SophiaH::beta2, 0, kBelow1, "decay of the curvature", Role::kDecay},
      Field<SophiaH>{"gamma", &SophiaH::gamma, 0, kInfinity, "factor on the curvature"},
      Field<SophiaH>{"eps", &SophiaH::eps, 0, kInfinity, "smallest curvature"},
      Field<SophiaH>{"weight_decay", &SophiaH::weight_decay, 0, kInfinity,
                     "decoupled: lr weight_decay p is subtracted from p"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"hessian"}};
  static constexpr HessianEstimate kHessian = HessianEstimate::kHutchinson;

  template <class T>
  struct Coeffs {
    T lr, decay, mean1, mean2, correction, gamma, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    return {lr,
            lr * weight_decay,
            MeanShare(beta1),
            MeanShare(beta2),
            1 / c1,
            gamma,
            std::max(eps, kLeastEpsInside)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_SOPHIA_H_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const SophiaH::Coeffs<T>& c, V g, V& p, V& m, V h) {
  m = Mean(c.mean1, g, m);
  const V u = V(c.correction) * m / Max(V(c.gamma) * h, V(c.eps));
  p = p - AddShare(c.decay, p, V(c.lr) * Max(Min(u, V(1)), V(-1)));
}

template <class V, class T>
KUDARI_INLINE void Curvature(const SophiaH::Coeffs<T>& c, V estimate, V& h) {
  h = Mean(c.mean2, estimate, h);
}
#endif  // KUDARI_LANES
