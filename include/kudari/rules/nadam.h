#ifndef KUDARI_RULES_NADAM_H_
#define KUDARI_RULES_NADAM_H_

#include <algorithm>
#include <cmath>
#include <span>

#include "kudari/rule.h"

namespace kudari {

/// Adam with Nesterov momentum (Dozat, 2016) and coupled weight decay, as torch's NAdam. The
/// momentum grows from beta1 / 2 to beta1 over the steps, and its product over a tensor's updates
/// corrects the bias. In Keras it grows 250 times as fast.
struct NAdam {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, momentum_decay = 4e-3;

  static constexpr std::string_view kName = "nadam";
  static constexpr std::string_view kSummary = "Adam with Nesterov momentum";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "mu_t = beta1 (1 - 0.5 0.96^(t momentum_decay)), M_t = mu_1 ... mu_t\n"
      "p <- p - lr ((1 - mu_t) / (1 - M_t) g + mu_(t+1) / (1 - M_(t+1)) m) / (sqrt(vhat) + eps),\n"
      "where vhat = v / (1 - beta2^t)";
  static constexpr std::string_view kPaper =
      "Dozat, Incorporating Nesterov Momentum into Adam, ICLR 2016 workshop";
  static constexpr std::string_view kUse =
      "As adam; sometimes a little faster, since the current gradient counts at once.";
  static constexpr std::string_view kTorch =
      "NAdam: the same, with weight decay coupled, its default; torch keeps the product in "
      "float32.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<NAdam>{"lr", &NAdam::lr, 0, kInfinity, "step size"},
      Field<NAdam>{"beta1", &NAdam::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<NAdam>{"beta2", &NAdam::beta2, 0, kBelow1, "decay of the second moment", Role::kDecay},
      Field<NAdam>{"eps", &NAdam::eps, 0, kInfinity, "added to the root of vhat", Role::kEps},
      Field<NAdam>{"weight_decay", &NAdam::weight_decay, 0, kInfinity,
                   "coupled: added to the gradient"},
      Field<NAdam>{"momentum_decay", &NAdam::momentum_decay, 0, kInfinity,
                   "how fast the momentum grows to beta1", Role::kRate},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};
  static constexpr std::array kMemory = {Memory{"mu_product", 1}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, gradient, moment, root, eps;
  };
  Coeffs<double> At(int64_t t, std::span<double> memory) const {
    const auto mu = [this](int64_t s) {
      return beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(s) * momentum_decay));
    };
    memory[0] *= mu(t);
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {weight_decay,
            MeanShare(beta1),
            MeanShare(beta2),
            lr * (1 - mu(t)) / (1 - memory[0]),
            lr * mu(t + 1) / (1 - memory[0] * mu(t + 1)),
            1 / std::sqrt(c2),
            std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_NADAM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const NAdam::Coeffs<T>& c, V g, V& p, V& m, V& v) {
  g = AddShare(c.decay, p, g);
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  p = p - Fma(V(c.gradient), g, V(c.moment) * m) / Fma(Sqrt(v), V(c.root), V(c.eps));
}
#endif  // KUDARI_LANES
