#ifndef KUDARI_RULES_NESTEROV_H_
#define KUDARI_RULES_NESTEROV_H_

#include "kudari/rule.h"

namespace kudari {

/// Nesterov momentum in torch's form, which needs no gradient at a shifted point. While the
/// learning rate is constant, its parameter is the next look-ahead point of the textbook form, not
/// the textbook's parameter (Sutskever et al., 2013, section 2).
struct Nesterov {
  double lr = 1e-3, momentum = 0.9, weight_decay = 0;

  static constexpr std::string_view kName = "nesterov";
  static constexpr std::string_view kSummary = "SGD with Nesterov momentum";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "b <- momentum b + g\n"
      "p <- p - lr (g + momentum b)";
  static constexpr std::string_view kPaper =
      "Nesterov, 1983; Sutskever et al., On the importance of initialization and momentum in deep "
      "learning, ICML 2013";
  static constexpr std::string_view kUse =
      "As momentum; often a little faster, and steadier with large momentum.";
  static constexpr std::string_view kTorch = "SGD(momentum=0.9, nesterov=True): the same.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::string_view kLargeBatch = "lars";
  static constexpr std::array kFields = {
      Field<Nesterov>{"lr", &Nesterov::lr, 0, kInfinity, "step size"},
      Field<Nesterov>{"momentum", &Nesterov::momentum, 0, kBelow1, "decay of the buffer",
                      Role::kDecay},
      Field<Nesterov>{"weight_decay", &Nesterov::weight_decay, 0, kInfinity,
                      "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};

  template <class T>
  struct Coeffs {
    T lr, decay, momentum;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {lr, weight_decay, momentum}; }
};

}  // namespace kudari

#endif  // KUDARI_RULES_NESTEROV_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Nesterov::Coeffs<T>& c, V g, V& p, V& b) {
  g = AddShare(c.decay, p, g);
  b = Fma(V(c.momentum), b, g);
  p = p - V(c.lr) * Fma(V(c.momentum), b, g);
}
#endif  // KUDARI_LANES
