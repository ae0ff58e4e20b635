#ifndef KUDARI_RULES_ADADELTA_H_
#define KUDARI_RULES_ADADELTA_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// Adadelta (Zeiler, arXiv:1212.5701, Algorithm 1) with coupled weight decay and with a learning
/// rate, which the paper does not have, as torch's Adadelta. Epsilon is added inside both roots.
struct Adadelta {
  double lr = 1, rho = 0.9, eps = 1e-6, weight_decay = 0;

  static constexpr std::string_view kName = "adadelta";
  static constexpr std::string_view kSummary =
      "Steps as long as former steps, in proportion to the gradient";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "v <- v + (1 - rho) (g^2 - v)\n"
      "u = sqrt(a + eps) / sqrt(v + eps) g\n"
      "a <- a + (1 - rho) (u^2 - a)\n"
      "p <- p - lr u";
  static constexpr std::string_view kPaper =
      "Zeiler, ADADELTA: An Adaptive Learning Rate Method, arXiv:1212.5701";
  static constexpr std::string_view kUse =
      "Where no learning rate is to be chosen: lr = 1 is the paper's method. It begins with steps "
      "of about sqrt(eps) and needs many of them to become faster; a larger eps shortens this.";
  static constexpr std::string_view kTorch = "Adadelta: the same.";
  static constexpr std::array kFields = {
      Field<Adadelta>{"lr", &Adadelta::lr, 0, kInfinity, "factor of the step"},
      Field<Adadelta>{"rho", &Adadelta::rho, 0, kBelow1, "decay of both means of squares",
                      Role::kDecay},
      Field<Adadelta>{"eps", &Adadelta::eps, 0, kInfinity, "added to v and to a inside their roots",
                      Role::kEpsInside},
      Field<Adadelta>{"weight_decay", &Adadelta::weight_decay, 0, kInfinity,
                      "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"square_avg", SlotKind::kSquare},
                                        Slot{"acc_delta", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T lr, decay, mean, eps;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr, weight_decay, MeanShare(rho), std::max(eps, kLeastEpsInside)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADADELTA_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Adadelta::Coeffs<T>& c, V g, V& p, V& v, V& a) {
  g = AddShare(c.decay, p, g);
  v = MeanSquare(c.mean, g, v);
  // The quotient is at most 1 / sqrt(1 - rho), so that nothing overflows.
  const V u = Sqrt(a + V(c.eps)) * (g / Sqrt(v + V(c.eps)));
  a = MeanSquare(c.mean, u, a);
  p = p - V(c.lr) * u;
}
#endif  // KUDARI_LANES
