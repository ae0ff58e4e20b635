#ifndef KUDARI_RULES_LAMB_H_
#define KUDARI_RULES_LAMB_H_

#include <algorithm>
#include <cmath>
#include <span>

#include "kudari/rule.h"

namespace kudari {

/// LAMB (You et al., arXiv:1904.00962): the step of adamw, including weight decay, scaled for each
/// tensor to the norm of its parameter. Bias is corrected, no norm is clamped, and a tensor whose
/// parameter or step is zero takes the step unscaled. NVIDIA's form is this rule with clip_norm = 1
/// and with no_adapt and no_decay for vectors.
struct Lamb {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 1e-2;

  static constexpr std::string_view kName = "lamb";
  static constexpr std::string_view kSummary =
      "Adam with steps in proportion to each tensor's norm";
  static constexpr std::string_view kFormula =
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "r = mhat / (sqrt(vhat) + eps) + weight_decay p, where xhat = x / (1 - beta^t)\n"
      "p <- p - lr norm(p) / norm(r) r, but p - lr r if either norm is 0";
  static constexpr std::string_view kPaper =
      "You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, "
      "arXiv:1904.00962";
  static constexpr std::string_view kUse =
      "Transformers with batches above a thousand; scale lr with the batch and warm it up.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr std::array kFields = {
      Field<Lamb>{"lr", &Lamb::lr, 0, kInfinity, "step size"},
      Field<Lamb>{"beta1", &Lamb::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<Lamb>{"beta2", &Lamb::beta2, 0, kBelow1, "decay of the second moment", Role::kDecay},
      Field<Lamb>{"eps", &Lamb::eps, 0, kInfinity, "added to the root of vhat", Role::kEps},
      Field<Lamb>{"weight_decay", &Lamb::weight_decay, 0, kInfinity,
                  "decoupled: inside r, scaled with it"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};
  static constexpr size_t kNorms = 2;
  static constexpr StatePass kStatePass = StatePass::kMeasure;
  static constexpr bool kAdaptsVectors = true;

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, scale, root, eps, step;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {weight_decay,
            MeanShare(beta1),
            MeanShare(beta2),
            1 / c1,
            1 / std::sqrt(c2),
            std::max(eps, kLeastEps),
            lr};
  }
  /// `norms` are those of p and of the step r.
  Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) const {
    c.step *= Ratio(norms).ratio;
    return c;
  }
  /// The trust ratio: norm(p) / norm(r), or a pinned 1 if one of them is zero.
  TrustRatio Ratio(std::span<const double> norms) const {
    if (norms[0] > 0 && norms[1] > 0) return {norms[0] / norms[1], false};
    return {1, true};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LAMB_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE V LambStep(const Lamb::Coeffs<T>& c, V p, V m, V v) {
  return AddShare(c.decay, p, V(c.scale) * m / Fma(Sqrt(v), V(c.root), V(c.eps)));
}

template <class V, class T>
KUDARI_INLINE void Measure(const Lamb::Coeffs<T>& c, V g, V p, V& m, V& v, V (&x)[2]) {
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  x[0] = p;
  x[1] = LambStep(c, p, m, v);
}

template <class V, class T>
KUDARI_INLINE void Update(const Lamb::Coeffs<T>& c, V& p, V& m, V& v) {
  p = p - V(c.step) * LambStep(c, p, m, v);
}
#endif  // KUDARI_LANES
