#ifndef KUDARI_RULES_RMSPROP_MOMENTUM_H_
#define KUDARI_RULES_RMSPROP_MOMENTUM_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// RMSprop with heavy-ball momentum, as torch's RMSprop with momentum: the buffer holds scaled
/// gradients, and the learning rate is outside it.
struct RmspropMomentum {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, momentum = 0.9, weight_decay = 0;

  static constexpr std::string_view kName = "rmsprop_momentum";
  static constexpr std::string_view kSummary = "RMSprop with heavy-ball momentum";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "v <- v + (1 - alpha) (g^2 - v)\n"
      "b <- momentum b + g / (sqrt(v) + eps)\n"
      "p <- p - lr b";
  static constexpr std::string_view kPaper =
      "Tieleman & Hinton, Lecture 6.5, COURSERA: Neural Networks for Machine Learning, 2012";
  static constexpr std::string_view kUse =
      "As rmsprop, where gradients are noisy; give it a learning rate about 1 - momentum times "
      "that of rmsprop.";
  static constexpr std::string_view kTorch = "RMSprop(momentum=0.9): the same.";
  static constexpr std::array kFields = {
      Field<RmspropMomentum>{"lr", &RmspropMomentum::lr, 0, kInfinity, "step size"},
      Field<RmspropMomentum>{"alpha", &RmspropMomentum::alpha, 0, kBelow1,
                             "decay of the mean square", Role::kDecay},
      Field<RmspropMomentum>{"eps", &RmspropMomentum::eps, 0, kInfinity, "added to the root of v",
                             Role::kEps},
      Field<RmspropMomentum>{"momentum", &RmspropMomentum::momentum, 0, kBelow1,
                             "decay of the buffer", Role::kDecay},
      Field<RmspropMomentum>{"weight_decay", &RmspropMomentum::weight_decay, 0, kInfinity,
                             "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"square_avg", SlotKind::kSquare},
                                        Slot{"momentum_buffer"}};

  template <class T>
  struct Coeffs {
    T lr, decay, mean, eps, momentum;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, weight_decay, MeanShare(alpha), std::max(eps, kLeastEps), momentum};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RMSPROP_MOMENTUM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const RmspropMomentum::Coeffs<T>& c, V g, V& p, V& v, V& b) {
  g = AddShare(c.decay, p, g);
  v = MeanSquare(c.mean, g, v);
  b = Fma(V(c.momentum), b, g / (Sqrt(v) + V(c.eps)));
  p = p - V(c.lr) * b;
}
#endif  // KUDARI_LANES
