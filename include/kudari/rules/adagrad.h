#ifndef KUDARI_RULES_ADAGRAD_H_
#define KUDARI_RULES_ADAGRAD_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// Adagrad (Duchi et al., 2011, the diagonal form) with coupled weight decay, as torch's Adagrad:
/// epsilon is added outside the root.
struct Adagrad {
  double lr = 1e-2, lr_decay = 0, eps = 1e-10, weight_decay = 0, initial_accumulator_value = 0;

  static constexpr std::string_view kName = "adagrad";
  static constexpr std::string_view kSummary = "Steps divided by the root of the sum of squares";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "s <- s + g^2, s = initial_accumulator_value at first\n"
      "p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)";
  static constexpr std::string_view kPaper =
      "Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and Stochastic "
      "Optimization, JMLR 12, 2011";
  static constexpr std::string_view kUse =
      "Sparse features: rare ones keep large steps. The steps only ever shrink, so long runs come "
      "to a halt.";
  static constexpr std::string_view kTorch =
      "Adagrad: the same; with sparse gradients initial_accumulator_value must be 0.";
  static constexpr bool kRows = true;
  static constexpr std::array kFields = {
      Field<Adagrad>{"lr", &Adagrad::lr, 0, kInfinity, "step size"},
      Field<Adagrad>{"lr_decay", &Adagrad::lr_decay, 0, kInfinity,
                     "decay of lr: the t-th update uses lr / (1 + (t - 1) lr_decay)", Role::kRate},
      Field<Adagrad>{"eps", &Adagrad::eps, 0, kInfinity, "added to the root of s"},
      Field<Adagrad>{"weight_decay", &Adagrad::weight_decay, 0, kInfinity,
                     "coupled: added to the gradient"},
      Field<Adagrad>{"initial_accumulator_value", &Adagrad::initial_accumulator_value, 0, kInfinity,
                     "the sum of squares before the first update"},
  };
  static constexpr std::array kState = {Slot{"sum", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T step, decay, eps, first;
  };
  Coeffs<double> At(int64_t t) const {
    return {lr / (1 + static_cast<double>(t - 1) * lr_decay), weight_decay,
            std::max(eps, kLeastEps), t == 1 ? initial_accumulator_value : 0};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADAGRAD_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Adagrad::Coeffs<T>& c, V g, V& p, V& s) {
  g = AddShare(c.decay, p, g);
  s = Min(Fma(g, g, s + V(c.first)), V(kMost<T>));
  p = p - V(c.step) * g / (Sqrt(s) + V(c.eps));
}
#endif  // KUDARI_LANES
