#ifndef KUDARI_RULES_RADAM_H_
#define KUDARI_RULES_RADAM_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// Rectified Adam (Liu et al., arXiv:1908.03265) with coupled weight decay, as torch's RAdam. While
/// the variance of the step cannot be estimated (rho_t <= 5, which is five updates for usual beta2;
/// the paper has 4 here), updates are those of SGD with momentum at the full learning rate. Unlike
/// in adam, epsilon is added to the root before bias correction.
struct RAdam {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "radam";
  static constexpr std::string_view kSummary = "Adam whose first steps are rectified";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "rho_inf = 2 / (1 - beta2) - 1, rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t)\n"
      "r_t = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))\n"
      "p <- p - lr mhat r_t sqrt(1 - beta2^t) / (sqrt(v) + eps) if rho_t > 5, else p - lr mhat,\n"
      "where mhat = m / (1 - beta1^t)";
  static constexpr std::string_view kPaper =
      "Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, arXiv:1908.03265";
  static constexpr std::string_view kUse =
      "Instead of adam with a warm-up. Gradients of large norm make the first five steps long: "
      "clip them.";
  static constexpr std::string_view kTorch =
      "RAdam: the same, with weight decay coupled, its default.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<RAdam>{"lr", &RAdam::lr, 0, kInfinity, "step size"},
      Field<RAdam>{"beta1", &RAdam::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<RAdam>{"beta2", &RAdam::beta2, 0, kBelow1, "decay of the second moment", Role::kDecay},
      Field<RAdam>{"eps", &RAdam::eps, 0, kInfinity, "added to the root of v", Role::kEps},
      Field<RAdam>{"weight_decay", &RAdam::weight_decay, 0, kInfinity,
                   "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, step, cap, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    const double power = std::pow(beta2, static_cast<double>(t));
    const double c2 = 1 - power;
    const double longest = 2 / (1 - beta2) - 1;
    const double rho = longest - 2 * static_cast<double>(t) * power / c2;
    // Without rectification the root is capped at 0 and 1 is added to it, so that Update needs no
    // branch.
    if (!(rho > 5)) return {weight_decay, MeanShare(beta1), MeanShare(beta2), lr / c1, 0, 1};
    const double rectified =
        (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho);
    const double step = lr / c1 * std::sqrt(rectified * c2);
    return {weight_decay, MeanShare(beta1), MeanShare(beta2),
            step,         kInfinity,        std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RADAM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const RAdam::Coeffs<T>& c, V g, V& p, V& m, V& v) {
  g = AddShare(c.decay, p, g);
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  p = p - V(c.step) * m / (Min(Sqrt(v), V(c.cap)) + V(c.eps));
}
#endif  // KUDARI_LANES
