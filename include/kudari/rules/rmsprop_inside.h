#ifndef KUDARI_RULES_RMSPROP_INSIDE_H_
#define KUDARI_RULES_RMSPROP_INSIDE_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// RMSprop (Tieleman & Hinton, 2012) with epsilon inside the root, as in textbooks, TensorFlow and
/// Keras. The mean square starts at zero; in TensorFlow 1 it starts at one.
struct RmspropInside {
  double lr = 1e-2, alpha = 0.9, eps = 1e-7, weight_decay = 0;

  static constexpr std::string_view kName = "rmsprop_inside";
  static constexpr std::string_view kSummary = "RMSprop with epsilon inside the root";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "v <- v + (1 - alpha) (g^2 - v)\n"
      "p <- p - lr g / sqrt(v + eps)";
  static constexpr std::string_view kPaper =
      "Tieleman & Hinton, Lecture 6.5, COURSERA: Neural Networks for Machine Learning, 2012";
  static constexpr std::string_view kUse =
      "Recipes that come from TensorFlow or Keras; a large eps also keeps the first steps short.";
  static constexpr std::string_view kTorch =
      "None; its RMSprop has epsilon outside the root and alpha = 0.99. The defaults of alpha and "
      "epsilon are those of Keras.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<RmspropInside>{"lr", &RmspropInside::lr, 0, kInfinity, "step size"},
      Field<RmspropInside>{"alpha", &RmspropInside::alpha, 0, kBelow1, "decay of the mean square",
                           Role::kDecay},
      Field<RmspropInside>{"eps", &RmspropInside::eps, 0, kInfinity, "added to v",
                           Role::kEpsInside},
      Field<RmspropInside>{"weight_decay", &RmspropInside::weight_decay, 0, kInfinity,
                           "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"square_avg", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T lr, decay, mean, eps;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, weight_decay, MeanShare(alpha), std::max(eps, kLeastEpsInside)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RMSPROP_INSIDE_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const RmspropInside::Coeffs<T>& c, V g, V& p, V& v) {
  g = AddShare(c.decay, p, g);
  v = MeanSquare(c.mean, g, v);
  p = p - V(c.lr) * g / Sqrt(v + V(c.eps));
}
#endif  // KUDARI_LANES
