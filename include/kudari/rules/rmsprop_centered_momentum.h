#ifndef KUDARI_RULES_RMSPROP_CENTERED_MOMENTUM_H_
#define KUDARI_RULES_RMSPROP_CENTERED_MOMENTUM_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// Centred RMSprop with heavy-ball momentum, the form that Graves (arXiv:1308.0850) introduced. As
/// torch's RMSprop(centered=True, momentum=0.9), except that the variance is bounded below by zero;
/// see rmsprop_centered.h.
struct RmspropCenteredMomentum {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, momentum = 0.9, weight_decay = 0;

  static constexpr std::string_view kName = "rmsprop_centered_momentum";
  static constexpr std::string_view kSummary = "Centered RMSprop with heavy-ball momentum";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "v <- v + (1 - alpha) (g^2 - v)\n"
      "a <- a + (1 - alpha) (g - a)\n"
      "b <- momentum b + g / (sqrt(max(v - a^2, 0)) + eps)\n"
      "p <- p - lr b";
  static constexpr std::string_view kPaper =
      "Graves, Generating Sequences With Recurrent Neural Networks, arXiv:1308.0850, equations 38 "
      "to 41";
  static constexpr std::string_view kUse =
      "As rmsprop_centered, where gradients are noisy; Graves trained handwriting with lr 1e-4, "
      "alpha 0.95, momentum 0.9 and eps 1e-4.";
  static constexpr std::string_view kTorch =
      "RMSprop(centered=True, momentum=0.9): the same except for the variance, as in "
      "rmsprop_centered. Graves has epsilon inside the root.";
  static constexpr std::array kFields = {
      Field<RmspropCenteredMomentum>{"lr", &RmspropCenteredMomentum::lr, 0, kInfinity, "step size"},
      Field<RmspropCenteredMomentum>{"alpha", &RmspropCenteredMomentum::alpha, 0, kBelow1,
                                     "decay of the mean square", Role::kDecay},
      Field<RmspropCenteredMomentum>{"eps", &RmspropCenteredMomentum::eps, 0, kInfinity,
                                     "added to the standard deviation", Role::kEps},
      Field<RmspropCenteredMomentum>{"momentum", &RmspropCenteredMomentum::momentum, 0, kBelow1,
                                     "decay of the buffer", Role::kDecay},
      Field<RmspropCenteredMomentum>{"weight_decay", &RmspropCenteredMomentum::weight_decay, 0,
                                     kInfinity, "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"square_avg", SlotKind::kExact},
                                        Slot{"grad_avg", SlotKind::kExact},
                                        Slot{"momentum_buffer"}};
  static constexpr bool kSquaresGradient = true;

  template <class T>
  struct Coeffs {
    T lr, decay, mean, eps, momentum;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, weight_decay, MeanShare(alpha), std::max(eps, kLeastEps), momentum};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RMSPROP_CENTERED_MOMENTUM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const RmspropCenteredMomentum::Coeffs<T>& c, V g, V& p, V& v, V& a,
                          V& b) {
  g = AddShare(c.decay, p, g);
  v = MeanSquare(c.mean, g, v);
  a = Mean(c.mean, g, a);
  b = Fma(V(c.momentum), b, g / (Sqrt(Max(Fma(-a, a, v), V(0))) + V(c.eps)));
  p = p - V(c.lr) * b;
}
#endif  // KUDARI_LANES
