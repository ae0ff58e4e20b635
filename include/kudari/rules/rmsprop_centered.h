#ifndef KUDARI_RULES_RMSPROP_CENTERED_H_
#define KUDARI_RULES_RMSPROP_CENTERED_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// RMSprop divided by the standard deviation of the gradient instead of its root mean square, as
/// torch's RMSprop(centered=True), except that the variance is bounded below by zero. v and a^2 are
/// rounded differently, and torch may take the root of a negative number once the gradient has
/// hardly changed for a thousand steps (a hundred with alpha = 0.9).
struct RmspropCentered {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "rmsprop_centered";
  static constexpr std::string_view kSummary = "Steps divided by the running standard deviation";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "v <- v + (1 - alpha) (g^2 - v)\n"
      "a <- a + (1 - alpha) (g - a)\n"
      "p <- p - lr g / (sqrt(max(v - a^2, 0)) + eps)";
  static constexpr std::string_view kPaper =
      "Graves, Generating Sequences With Recurrent Neural Networks, arXiv:1308.0850, equations 38 "
      "to 41";
  static constexpr std::string_view kUse =
      "As rmsprop, to go faster where the gradient is steady. A gradient that does not change at "
      "all makes steps of lr g / eps: raise eps.";
  static constexpr std::string_view kTorch =
      "RMSprop(centered=True): the same except for the variance, which torch lets round below "
      "zero: its parameters then become NaN.";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<RmspropCentered>{"lr", &RmspropCentered::lr, 0, kInfinity, "step size"},
      Field<RmspropCentered>{"alpha", &RmspropCentered::alpha, 0, kBelow1,
                             "decay of the mean square", Role::kDecay},
      Field<RmspropCentered>{"eps", &RmspropCentered::eps, 0, kInfinity,
                             "added to the standard deviation", Role::kEps},
      Field<RmspropCentered>{"weight_decay", &RmspropCentered::weight_decay, 0, kInfinity,
                             "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"square_avg", SlotKind::kExact},
                                        Slot{"grad_avg", SlotKind::kExact}};
  static constexpr bool kSquaresGradient = true;

  template <class T>
  struct Coeffs {
    T lr, decay, mean, eps;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, weight_decay, MeanShare(alpha), std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RMSPROP_CENTERED_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const RmspropCentered::Coeffs<T>& c, V g, V& p, V& v, V& a) {
  g = AddShare(c.decay, p, g);
  v = MeanSquare(c.mean, g, v);
  a = Mean(c.mean, g, a);
  p = p - V(c.lr) * g / (Sqrt(Max(Fma(-a, a, v), V(0))) + V(c.eps));
}
#endif  // KUDARI_LANES
