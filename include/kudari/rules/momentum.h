#ifndef KUDARI_RULES_MOMENTUM_H_
#define KUDARI_RULES_MOMENTUM_H_

#include "kudari/rule.h"

namespace kudari {

/// Heavy-ball momentum (Polyak, 1964) in torch's form: the learning rate is outside the buffer, and
/// the buffer starts as the first gradient itself, without dampening.
struct Momentum {
  double lr = 1e-3, momentum = 0.9, dampening = 0, weight_decay = 0;

  static constexpr std::string_view kName = "momentum";
  static constexpr std::string_view kSummary = "SGD with heavy-ball momentum";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "b <- g at the first step and for momentum = 0, else momentum b + (1 - dampening) g\n"
      "p <- p - lr b";
  static constexpr std::string_view kPaper =
      "Polyak, Some methods of speeding up the convergence of iteration methods, 1964";
  static constexpr std::string_view kUse =
      "Convolutional networks on images: lr 0.1, weight_decay 1e-4 and a few drops of the rate; "
      "0.01 and 5e-4 for detection. Often generalises best there.";
  static constexpr std::string_view kTorch = "SGD(momentum=0.9): the same.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::string_view kLargeBatch = "lars";
  static constexpr std::array kFields = {
      Field<Momentum>{"lr", &Momentum::lr, 0, kInfinity, "step size"},
      Field<Momentum>{"momentum", &Momentum::momentum, 0, kBelow1, "decay of the buffer",
                      Role::kDecay},
      Field<Momentum>{"dampening", &Momentum::dampening, 0, 1,
                      "share of later gradients that is left out of the buffer"},
      Field<Momentum>{"weight_decay", &Momentum::weight_decay, 0, kInfinity,
                      "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};

  template <class T>
  struct Coeffs {
    T lr, decay, momentum, blend;
  };
  Coeffs<double> At(int64_t t) const {
    return {lr, weight_decay, momentum, t == 1 || momentum == 0 ? 1 : 1 - dampening};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_MOMENTUM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Momentum::Coeffs<T>& c, V g, V& p, V& b) {
  g = AddShare(c.decay, p, g);
  b = Fma(V(c.momentum), b, V(c.blend) * g);
  p = p - V(c.lr) * b;
}
#endif  // KUDARI_LANES
