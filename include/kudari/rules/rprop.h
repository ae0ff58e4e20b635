#ifndef KUDARI_RULES_RPROP_H_
#define KUDARI_RULES_RPROP_H_

#include "kudari/rule.h"

namespace kudari {

/// Resilient backpropagation (Riedmiller & Braun, 1993) as torch's Rprop, which is the variant
/// iRprop- (Igel & Huesken, 2000): each weight has a step size of its own, which grows while the
/// gradient keeps its sign and shrinks when the sign changes; then the weight stays where it is,
/// and the gradient counts as zero. lr is the first step size and nothing more, except that 0
/// stops the weights.
struct Rprop {
  double lr = 1e-2, etaminus = 0.5, etaplus = 1.2, step_size_min = 1e-6, step_size_max = 50,
         weight_decay = 0;

  static constexpr std::string_view kName = "rprop";
  static constexpr std::string_view kSummary =
      "Steps by the sign of the gradient, of a length that each weight learns";
  static constexpr std::string_view kFormula =
      "g <- g + weight_decay p\n"
      "s <- s etaplus if g prev > 0, s etaminus if g prev < 0; s = lr at first\n"
      "s <- min(max(s, step_size_min), step_size_max)\n"
      "g <- 0 if g prev < 0\n"
      "p <- p - s sign(g), nothing if lr = 0\n"
      "prev <- g";
  static constexpr std::string_view kPaper =
      "Riedmiller & Braun, A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP "
      "Algorithm, ICNN 1993; Igel & Huesken, Improving the Rprop Learning Algorithm, NC 2000";
  static constexpr std::string_view kUse =
      "Small problems with the gradient of all samples in each step, whose scale does not matter. "
      "Not for batches: their noise changes signs, and all step sizes shrink. A schedule of lr has "
      "no effect after the first step.";
  static constexpr std::string_view kTorch =
      "Rprop(etas=(etaminus, etaplus), step_sizes=(step_size_min, step_size_max)): the same; torch "
      "has no weight_decay, and with lr = 0 it moves by step_size_min.";
  static constexpr BatchRule kBatchRule = BatchRule::kNone;
  static constexpr std::array kFields = {
      Field<Rprop>{"lr", &Rprop::lr, 0, kInfinity, "the first step size of every weight"},
      Field<Rprop>{"etaminus", &Rprop::etaminus, 0, kBelow1,
                   "factor of the step size when the sign changes"},
      Field<Rprop>{"etaplus", &Rprop::etaplus, 1, kInfinity,
                   "factor of the step size when the sign stays"},
      Field<Rprop>{"step_size_min", &Rprop::step_size_min, 0, kInfinity, "the smallest step size"},
      Field<Rprop>{"step_size_max", &Rprop::step_size_max, 0, kInfinity, "the largest step size"},
      Field<Rprop>{"weight_decay", &Rprop::weight_decay, 0, kInfinity,
                   "coupled: added to the gradient"},
  };
  // In 8 bits a small gradient would lose its sign.
  static constexpr std::array kState = {Slot{"prev", SlotKind::kExact},
                                        Slot{"step_size", SlotKind::kExact}};

  template <class T>
  struct Coeffs {
    T decay, first, minus, plus, least, most, moves;
  };
  Coeffs<double> At(int64_t t) const {
    return {weight_decay,  t == 1 ? lr : 0, etaminus,          etaplus,
            step_size_min, step_size_max,   lr > 0 ? 1.0 : 0.0};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_RPROP_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Rprop::Coeffs<T>& c, V g, V& p, V& prev, V& size) {
  g = AddShare(c.decay, p, g);
  // Of -1, 0 and 1, so that one of three shares is 1, and the sum exactly its factor. A NaN of
  // either gradient makes the step size one.
  const V turn = Sign(g) * Sign(prev);
  const V stays = Max(V(0), turn), changes = Max(V(0), -turn);
  const V factor = Fma(stays, V(c.plus), Fma(changes, V(c.minus), V(1) - Abs(turn)));
  size = Min(Max((size + V(c.first)) * factor, V(c.least)), V(c.most));
  prev = AddShare(V(1) - changes, g, V(0));
  p = p - V(c.moves) * (size * Sign(prev));
}
#endif  // KUDARI_LANES
