#ifndef KUDARI_RULES_SCHEDULE_FREE_ADAMW_H_
#define KUDARI_RULES_SCHEDULE_FREE_ADAMW_H_

#include <algorithm>
#include <cmath>
#include <span>

#include "kudari/rule.h"

namespace kudari {

/// Schedule-free AdamW (Defazio et al., arXiv:2405.15682), as AdamWScheduleFreeReference in the
/// authors' package schedulefree. Gradients are taken at a point between a sequence of AdamW steps
/// without a first moment and the average of that sequence, and the average is evaluated. The state
/// is d = z - y, which starts at zero and does not lose digits as z grows; x is computed from it.
/// Weight decay is taken at y. Counts and sums are kept for each tensor. For warm-up, use a
/// schedule of lr.
struct ScheduleFreeAdamW {
  double lr = 2.5e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, r = 0,
         weight_lr_power = 2;

  static constexpr std::string_view kName = "schedule_free_adamw";
  static constexpr std::string_view kSummary = "AdamW whose average replaces the schedule";
  static constexpr std::string_view kFormula =
      "y = p is what is trained, z = y + d the steps of plain gradient descent,\n"
      "x = y - (1 / beta1 - 1) d their average, which is evaluated\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "u = g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay y\n"
      "w = t^r (largest lr so far)^weight_lr_power, c = w / (sum of w so far)\n"
      "y <- y + c d - lr (1 - beta1 (1 - c)) u\n"
      "d <- (1 - c) (d - beta1 lr u)";
  static constexpr std::string_view kPaper =
      "Defazio et al., The Road Less Scheduled, arXiv:2405.15682";
  static constexpr std::string_view kUse =
      "Where the length of the training is not known in advance: no decay of lr, only a warm-up; "
      "lr 1 to 10 times that of adamw. Do not add an averager. Recompute batch norm for "
      "evaluation.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<ScheduleFreeAdamW>{"lr", &ScheduleFreeAdamW::lr, 0, kInfinity, "step size"},
      Field<ScheduleFreeAdamW>{"beta1", &ScheduleFreeAdamW::beta1, 1e-3, kBelow1,
                               "where gradients are taken: 1 at the average, 0 at the steps"},
      Field<ScheduleFreeAdamW>{"beta2", &ScheduleFreeAdamW::beta2, 0, kBelow1,
                               "decay of the second moment", Role::kDecay},
      Field<ScheduleFreeAdamW>{"eps", &ScheduleFreeAdamW::eps, 0, kInfinity,
                               "added to the root of vhat", Role::kEps},
      Field<ScheduleFreeAdamW>{"weight_decay", &ScheduleFreeAdamW::weight_decay, 0, kInfinity,
                               "decoupled: taken at y, multiplied by lr"},
      Field<ScheduleFreeAdamW>{"r", &ScheduleFreeAdamW::r, 0, kInfinity,
                               "power of t in the weights of the average"},
      Field<ScheduleFreeAdamW>{"weight_lr_power", &ScheduleFreeAdamW::weight_lr_power, 0, kInfinity,
                               "power of the learning rate in those weights"},
  };
  static constexpr std::array kState = {Slot{"z_minus_y", SlotKind::kOffset},
                                        Slot{"exp_avg_sq", SlotKind::kSquare}};
  static constexpr std::array kMemory = {Memory{"lr_max", 0}, Memory{"weight_sum", 0}};
  static constexpr bool kEvaluation = true;

  template <class T>
  struct Coeffs {
    T blend, step, follow, decay, mean2, root, eps, back;
  };
  Coeffs<double> At(int64_t t, std::span<double> memory) const {
    memory[0] = std::max(memory[0], lr);
    const double weight =
        std::pow(static_cast<double>(t), r) * std::pow(memory[0], weight_lr_power);
    memory[1] += weight;
    const double blend = memory[1] > 0 ? weight / memory[1] : 0;
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {blend,
            lr * (1 - beta1 * (1 - blend)),
            beta1 * lr,
            weight_decay,
            MeanShare(beta2),
            1 / std::sqrt(c2),
            std::max(eps, kLeastEps),
            1 / beta1 - 1};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_SCHEDULE_FREE_ADAMW_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const ScheduleFreeAdamW::Coeffs<T>& c, V g, V& p, V& d, V& v) {
  v = MeanSquare(c.mean2, g, v);
  const V u = AddShare(c.decay, p, g / Fma(Sqrt(v), V(c.root), V(c.eps)));
  p = p + Fma(V(c.blend), d, -(V(c.step) * u));
  // For a blend below 2^-25, float32 cannot represent 1 - blend.
  d = d - V(c.follow) * u;
  d = Fma(-V(c.blend), d, d);
}

template <class V, class T>
KUDARI_INLINE void Evaluated(const ScheduleFreeAdamW::Coeffs<T>& c, V& p, V& d, V& /*v*/) {
  p = p - V(c.back) * d;
}
#endif  // KUDARI_LANES
