#ifndef KUDARI_RULES_ASGD_H_
#define KUDARI_RULES_ASGD_H_

#include <algorithm>
#include <cmath>
#include <span>

#include "kudari/rule.h"

namespace kudari {

/// Averaged stochastic gradient descent (Polyak & Juditsky, 1992) with coupled weight decay, as
/// torch's ASGD: the step size falls by the schedule of Xu (arXiv:1107.2490), which needs the decay
/// lambd, and the mean of the weights since update t0, ax, is what is evaluated. Step size and
/// share of the mean are computed for the next update, as torch does, so that a change of lr acts
/// one update later.
struct Asgd {
  double lr = 1e-2, lambd = 1e-4, alpha = 0.75, t0 = 1e6, weight_decay = 0;

  static constexpr std::string_view kName = "asgd";
  static constexpr std::string_view kSummary = "SGD whose weights are averaged from step t0 on";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "p <- p - eta (lambd p + g)\n"
      "ax <- ax + mu (p - ax), which is evaluated\n"
      "eta <- lr / (1 + lambd lr t)^alpha, eta = lr at first\n"
      "mu <- 1 / max(1, t - t0), mu = 1 at first";
  static constexpr std::string_view kPaper =
      "Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; Xu, Towards "
      "Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent, "
      "arXiv:1107.2490";
  static constexpr std::string_view kUse =
      "Convex problems and language models of recurrent networks, with t0 where the loss stops "
      "falling; until then it is sgd. Do not add an averager. swa averages with any rule.";
  static constexpr std::string_view kTorch =
      "ASGD: the same; torch keeps eta and mu in float32 and leaves it to the user to evaluate ax.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::array kFields = {
      Field<Asgd>{"lr", &Asgd::lr, 0, kInfinity, "step size; a change acts one update later"},
      Field<Asgd>{"lambd", &Asgd::lambd, 0, kInfinity,
                  "weight decay, multiplied by the step size, and how fast the step size falls"},
      Field<Asgd>{"alpha", &Asgd::alpha, 0, kInfinity, "power with which the step size falls"},
      Field<Asgd>{"t0", &Asgd::t0, 0, kInfinity, "the update after which weights are averaged",
                  Role::kSteps},
      Field<Asgd>{"weight_decay", &Asgd::weight_decay, 0, kInfinity,
                  "coupled: added to the gradient"},
  };
  static constexpr std::array kState = {Slot{"ax", SlotKind::kWeights}};
  static constexpr std::array kMemory = {Memory{"eta", 0}, Memory{"mu", 1}};
  static constexpr bool kEvaluation = true;

  template <class T>
  struct Coeffs {
    T step, decay, shrink, mean;
  };
  Coeffs<double> At(int64_t t, std::span<double> memory) const {
    const double eta = t == 1 ? lr : memory[0], mu = memory[1];
    const auto updates = static_cast<double>(t);
    memory[0] = lr / std::pow(1 + lambd * lr * updates, alpha);
    memory[1] = 1 / std::max(1.0, updates - t0);
    // MeanShare of 1 - mu, without its rounding.
    return {eta, weight_decay, lambd * eta, mu > 0.5 ? mu - 1 : mu};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_ASGD_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Asgd::Coeffs<T>& c, V g, V& p, V& ax) {
  g = AddShare(c.decay, p, g);
  p = p - AddShare(c.shrink, p, V(c.step) * g);
  ax = Mean(c.mean, p, ax);
}

template <class V, class T>
KUDARI_INLINE void Evaluated(const Asgd::Coeffs<T>& /*c*/, V& p, V& ax) {
  p = ax;
}
#endif  // KUDARI_LANES
