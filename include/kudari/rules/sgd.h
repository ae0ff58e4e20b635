#ifndef KUDARI_RULES_SGD_H_
#define KUDARI_RULES_SGD_H_

#include "kudari/rule.h"

namespace kudari {

/// Stochastic gradient descent (Robbins & Monro, 1951) with coupled weight decay, as torch's SGD.
struct Sgd {
  double lr = 1e-3, weight_decay = 0;

  static constexpr std::string_view kName = "sgd";
  static constexpr std::string_view kSummary = "Stochastic gradient descent";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "p <- p - lr g";
  static constexpr std::string_view kPaper =
      "Robbins & Monro, A Stochastic Approximation Method, 1951";
  static constexpr std::string_view kUse =
      "Convex problems, and as a baseline for other rules; needs a learning rate that suits the "
      "problem and the batch.";
  static constexpr std::string_view kTorch = "SGD: the same.";
  static constexpr bool kRows = true;
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::string_view kLargeBatch = "lars";
  static constexpr std::array kFields = {
      Field<Sgd>{"lr", &Sgd::lr, 0, kInfinity, "step size"},
      Field<Sgd>{"weight_decay", &Sgd::weight_decay, 0, kInfinity,
                 "coupled: added to the gradient"},
  };
  static constexpr std::array<Slot, 0> kState = {};

  template <class T>
  struct Coeffs {
    T lr, decay;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {lr, weight_decay}; }
};

}  // namespace kudari

#endif  // KUDARI_RULES_SGD_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Sgd::Coeffs<T>& c, V g, V& p) {
  p = p - V(c.lr) * AddShare(c.decay, p, g);
}
#endif  // KUDARI_LANES
