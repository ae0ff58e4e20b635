#ifndef KUDARI_RULES_ADAGRAD_INSIDE_H_
#define KUDARI_RULES_ADAGRAD_INSIDE_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// Adagrad (Duchi et al., 2011, the diagonal form) with epsilon inside the root, as in textbooks
/// and Keras: gradients below sqrt(eps) then move their parameters less than others do.
struct AdagradInside {
  double lr = 1e-2, lr_decay = 0, eps = 1e-7, weight_decay = 0, initial_accumulator_value = 0;

  static constexpr std::string_view kName = "adagrad_inside";
  static constexpr std::string_view kSummary = "Adagrad with epsilon inside the root";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "s <- s + g^2, s = initial_accumulator_value at first\n"
      "p <- p - lr / (1 + (t - 1) lr_decay) g / sqrt(s + eps)";
  static constexpr std::string_view kPaper =
      "Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and Stochastic "
      "Optimization, JMLR 12, 2011";
  static constexpr std::string_view kUse =
      "As adagrad, where noise far below sqrt(eps) must not be amplified to full steps.";
  static constexpr std::string_view kTorch =
      "None; its Adagrad has epsilon outside the root. The default epsilon is that of Keras.";
  static constexpr std::array kFields = {
      Field<AdagradInside>{"lr", &AdagradInside::lr, 0, kInfinity, "step size"},
      Field<AdagradInside>{"lr_decay", &AdagradInside::lr_decay, 0, kInfinity,
                           "decay of lr: the t-th update uses lr / (1 + (t - 1) lr_decay)",
                           Role::kRate},
      Field<AdagradInside>{"eps", &AdagradInside::eps, 0, kInfinity, "added to s"},
      Field<AdagradInside>{"weight_decay", &AdagradInside::weight_decay, 0, kInfinity,
                           "coupled: added to the gradient"},
      Field<AdagradInside>{"initial_accumulator_value", &AdagradInside::initial_accumulator_value,
                           0, kInfinity, "the sum of squares before the first update"},
  };
  static constexpr std::array kState = {Slot{"sum", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T step, decay, eps, first;
  };
  Coeffs<double> At(int64_t t) const {
    return {lr / (1 + static_cast<double>(t - 1) * lr_decay), weight_decay,
            std::max(eps, kLeastEpsInside), t == 1 ? initial_accumulator_value : 0};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADAGRAD_INSIDE_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const AdagradInside::Coeffs<T>& c, V g, V& p, V& s) {
  g = AddShare(c.decay, p, g);
  s = Min(Fma(g, g, s + V(c.first)), V(kMost<T>));
  p = p - V(c.step) * g / Sqrt(s + V(c.eps));
}
#endif  // KUDARI_LANES
