#ifndef KUDARI_RULES_RMSPROP_H_
#define KUDARI_RULES_RMSPROP_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// RMSprop (Tieleman & Hinton, 2012) with coupled weight decay, as torch's RMSprop. Epsilon is
/// added outside the root. The mean square starts at zero without bias correction, so the first
/// steps are up to 1 / sqrt(1 - alpha) times as long as later ones.
struct Rmsprop {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "rmsprop";
  static constexpr std::string_view kSummary = "Steps divided by the root of the mean square";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "v <- v + (1 - alpha) (g^2 - v)\n"
      "p <- p - lr g / (sqrt(v) + eps)";
  static constexpr std::string_view kPaper =
      "Tieleman & Hinton, Lecture 6.5, COURSERA: Neural Networks for Machine Learning, 2012";
  static constexpr std::string_view kUse =
      "Recurrent networks and reinforcement learning, whose gradients change in size during "
      "training. Adam is the usual choice today.";
  static constexpr std::string_view kTorch = "RMSprop: the same.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<Rmsprop>{"lr", &Rmsprop::lr, 0, kInfinity, "step size"},
      Field<Rmsprop>{"alpha", &Rmsprop::alpha, 0, kBelow1, "decay of the mean square",
                     Role::kDecay},
      Field<Rmsprop>{"eps", &Rmsprop::eps, 0, kInfinity, "added to the root of v", Role::kEps},
      Field<Rmsprop>{"weight_decay", &Rmsprop::weight_decay, 0, kInfinity,
                     "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"square_avg", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T lr, decay, mean, eps;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, weight_decay, MeanShare(alpha), std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RMSPROP_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Rmsprop::Coeffs<T>& c, V g, V& p, V& v) {
  g = AddShare(c.decay, p, g);
  v = MeanSquare(c.mean, g, v);
  p = p - V(c.lr) * g / (Sqrt(v) + V(c.eps));
}
#endif  // KUDARI_LANES
