#ifndef KUDARI_RULES_SCHEDULE_FREE_SGD_H_
#define KUDARI_RULES_SCHEDULE_FREE_SGD_H_

#include <algorithm>
#include <cmath>
#include <span>

#include "kudari/rule.h"

namespace kudari {

/// Schedule-free SGD (Defazio et al., arXiv:2405.15682), as SGDScheduleFreeReference in the
/// authors' package schedulefree. The state is d = z - y, which starts at zero and does not lose
/// digits as z grows; x is computed from it. Weight decay is taken at y. Counts and sums are kept
/// for each tensor. For warm-up, use a schedule of lr.
struct ScheduleFreeSgd {
  double lr = 1, momentum = 0.9, weight_decay = 0, r = 0, weight_lr_power = 2;

  static constexpr std::string_view kName = "schedule_free_sgd";
  static constexpr std::string_view kSummary = "SGD whose average replaces the schedule";
  static constexpr std::string_view kFormula =
      "y = p is what is trained, z = y + d the steps of plain gradient descent,\n"
      "x = y - (1 / momentum - 1) d their average, which is evaluated\n"
      "u = g + weight_decay y\n"
      "w = t^r (largest lr so far)^weight_lr_power, c = w / (sum of w so far)\n"
      "y <- y + c d - lr (1 - momentum (1 - c)) u\n"
      "d <- (1 - c) (d - momentum lr u)";
  static constexpr std::string_view kPaper =
      "Defazio et al., The Road Less Scheduled, arXiv:2405.15682";
  static constexpr std::string_view kUse =
      "As schedule_free_adamw, where momentum does well; lr 10 to 50 times that of momentum, with "
      "a warm-up.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::array kFields = {
      Field<ScheduleFreeSgd>{"lr", &ScheduleFreeSgd::lr, 0, kInfinity, "step size"},
      Field<ScheduleFreeSgd>{"momentum", &ScheduleFreeSgd::momentum, 1e-3, kBelow1,
                             "where gradients are taken: 1 at the average, 0 at the steps"},
      Field<ScheduleFreeSgd>{"weight_decay", &ScheduleFreeSgd::weight_decay, 0, kInfinity,
                             "taken at y: added to the gradient"},
      Field<ScheduleFreeSgd>{"r", &ScheduleFreeSgd::r, 0, kInfinity,
                             "power of t in the weights of the average"},
      Field<ScheduleFreeSgd>{"weight_lr_power", &ScheduleFreeSgd::weight_lr_power, 0, kInfinity,
                             "power of the learning rate in those weights"},
  };
  static constexpr std::array kState = {Slot{"z_minus_y", SlotKind::kOffset}};
  static constexpr std::array kMemory = {Memory{"lr_max", 0}, Memory{"weight_sum", 0}};
  static constexpr bool kEvaluation = true;

  template <class T>
  struct Coeffs {
    T blend, step, follow, decay, back;
  };
  Coeffs<double> At(int64_t t, std::span<double> memory) const {
    memory[0] = std::max(memory[0], lr);
    const double weight =
        std::pow(static_cast<double>(t), r) * std::pow(memory[0], weight_lr_power);
    memory[1] += weight;
    const double blend = memory[1] > 0 ? weight / memory[1] : 0;
    return {blend, lr * (1 - momentum * (1 - blend)), momentum * lr, weight_decay,
            1 / momentum - 1};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_SCHEDULE_FREE_SGD_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const ScheduleFreeSgd::Coeffs<T>& c, V g, V& p, V& d) {
  const V u = AddShare(c.decay, p, g);
  p = p + Fma(V(c.blend), d, -(V(c.step) * u));
  // For a blend below 2^-25, float32 cannot represent 1 - blend.
  d = d - V(c.follow) * u;
  d = Fma(-V(c.blend), d, d);
}

template <class V, class T>
KUDARI_INLINE void Evaluated(const ScheduleFreeSgd::Coeffs<T>& c, V& p, V& d) {
  p = p - V(c.back) * d;
}
#endif  // KUDARI_LANES
