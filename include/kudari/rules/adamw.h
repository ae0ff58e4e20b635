#ifndef KUDARI_RULES_ADAMW_H_
#define KUDARI_RULES_ADAMW_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101, Algorithm 2), as
/// torch's AdamW: the decay is multiplied by the learning rate and never enters the moments.
struct AdamW {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;

  static constexpr std::string_view kName = "adamw";
  static constexpr std::string_view kSummary = "Adam with decoupled weight decay";
  static constexpr std::string_view kFormula =
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "p <- p - lr (weight_decay p + mhat / (sqrt(vhat) + eps)), where xhat = x / (1 - beta^t)";
  static constexpr std::string_view kPaper =
      "Loshchilov & Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101";
  static constexpr std::string_view kUse =
      "Transformers: language models from scratch (lr 1e-4 to 5e-4, warm-up, cosine or linear "
      "decay, clip_norm = 1) and fine-tuning (1e-5 to 5e-5).";
  static constexpr std::string_view kTorch = "AdamW: the same.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::string_view kLargeBatch = "lamb";
  static constexpr std::array kFields = {
      Field<AdamW>{"lr", &AdamW::lr, 0, kInfinity, "step size"},
      Field<AdamW>{"beta1", &AdamW::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<AdamW>{"beta2", &AdamW::beta2, 0, kBelow1, "decay of the second moment", Role::kDecay},
      Field<AdamW>{"eps", &AdamW::eps, 0, kInfinity, "added to the root of vhat", Role::kEps},
      Field<AdamW>{"weight_decay", &AdamW::weight_decay, 0, kInfinity,
                   "decoupled: lr weight_decay p is subtracted from p"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, step, root, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {lr * weight_decay, MeanShare(beta1),  MeanShare(beta2),
            lr / c1,           1 / std::sqrt(c2), std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADAMW_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const AdamW::Coeffs<T>& c, V g, V& p, V& m, V& v) {
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  // decay p is small compared with p, so rounding it costs less than rounding 1 - decay would.
  p = p - AddShare(c.decay, p, V(c.step) * m / Fma(Sqrt(v), V(c.root), V(c.eps)));
}
#endif  // KUDARI_LANES
