#ifndef KUDARI_RULES_LION_H_
#define KUDARI_RULES_LION_H_

#include "kudari/rule.h"

namespace kudari {

/// Lion (Chen et al., arXiv:2302.06675, Algorithm 2) with decoupled weight decay, as in the
/// authors' code: the step is the sign of a blend of the gradient with the momentum before this
/// step, and the momentum is then updated with another blend. The sign of zero is zero.
struct Lion {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;

  static constexpr std::string_view kName = "lion";
  static constexpr std::string_view kSummary = "Steps by the sign of blended momentum and gradient";
  static constexpr std::string_view kFormula =
      "u = sign(m + (1 - beta1) (g - m))\n"
      "p <- p - lr (weight_decay p + u)\n"
      "m <- m + (1 - beta2) (g - m)";
  static constexpr std::string_view kPaper =
      "Chen et al., Symbolic Discovery of Optimization Algorithms, arXiv:2302.06675";
  static constexpr std::string_view kUse =
      "Half the state of adamw; use a learning rate 3 to 10 times smaller and a weight decay "
      "larger by the same factor. Suits large batches.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<Lion>{"lr", &Lion::lr, 0, kInfinity, "step size"},
      Field<Lion>{"beta1", &Lion::beta1, 0, kBelow1, "share of the momentum in the sign"},
      Field<Lion>{"beta2", &Lion::beta2, 0, kBelow1, "decay of the momentum", Role::kDecay},
      Field<Lion>{"weight_decay", &Lion::weight_decay, 0, kInfinity,
                  "decoupled: lr weight_decay p is subtracted from p"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}};

  template <class T>
  struct Coeffs {
    T lr, decay, mean1, mean2;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, lr * weight_decay, MeanShare(beta1), MeanShare(beta2)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LION_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Lion::Coeffs<T>& c, V g, V& p, V& m) {
  p = p - AddShare(c.decay, p, V(c.lr) * Sign(Mean(c.mean1, g, m)));
  m = Mean(c.mean2, g, m);
}
#endif  // KUDARI_LANES
