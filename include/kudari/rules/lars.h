#ifndef KUDARI_RULES_LARS_H_
#define KUDARI_RULES_LARS_H_

#include <span>

#include "kudari/rule.h"

namespace kudari {

/// LARS (You et al., arXiv:1708.03888, Algorithm 1): heavy-ball momentum whose gradient, including
/// weight decay, is scaled for each tensor by a trust ratio. The learning rate is inside the
/// buffer. A tensor whose parameter or gradient is zero has a ratio of one. By default, bias and
/// norm tensors are neither adapted nor decayed: many start at zero, where a ratio of one would
/// make their steps a thousand times as long as those of other tensors.
struct Lars {
  double lr = 0.1, momentum = 0.9, weight_decay = 1e-4, trust = 1e-3;

  static constexpr std::string_view kName = "lars";
  static constexpr std::string_view kSummary =
      "Momentum with steps in proportion to each tensor's norm";
  static constexpr std::string_view kFormula =
      "ratio = trust norm(p) / (norm(g) + weight_decay norm(p)), 1 if a norm is 0\n"
      "b <- momentum b + lr ratio (g + weight_decay p)\n"
      "p <- p - b";
  static constexpr std::string_view kPaper =
      "You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, arXiv:1708.03888";
  static constexpr std::string_view kUse =
      "Convolutional networks on images with batches above a thousand; scale lr with the batch and "
      "warm it up.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::array kFields = {
      Field<Lars>{"lr", &Lars::lr, 0, kInfinity, "step size"},
      Field<Lars>{"momentum", &Lars::momentum, 0, kBelow1, "decay of the buffer", Role::kDecay},
      Field<Lars>{"weight_decay", &Lars::weight_decay, 0, kInfinity,
                  "coupled: added to the gradient"},
      Field<Lars>{"trust", &Lars::trust, 0, kInfinity,
                  "length of a step relative to the tensor's norm"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
  static constexpr size_t kNorms = 2;
  static constexpr StatePass kStatePass = StatePass::kUpdate;
  static constexpr bool kAdaptsVectors = false;

  template <class T>
  struct Coeffs {
    T decay, joint, momentum, inner, outer;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {weight_decay, 0, momentum, lr, 1}; }
  /// `norms` are those of p and g.
  Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) const {
    c.inner *= Ratio(norms).ratio;
    return c;
  }
  TrustRatio Ratio(std::span<const double> norms) const {
    return Ratio(norms, norms[1] + weight_decay * norms[0], trust);
  }
  /// For the whole family: `norms` are those of p and of the quantity that must not be zero.
  static TrustRatio Ratio(std::span<const double> norms, double denominator, double trust) {
    if (norms[0] > 0 && norms[1] > 0) return {trust * norms[0] / denominator, false};
    return {1, true};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LARS_H_

#ifdef KUDARI_LANES
// For the whole family: the buffer is scaled by `outer`, the gradient by `inner`. The second norm
// is that of g + joint p.
template <class V, class T>
KUDARI_INLINE void Measure(const Lars::Coeffs<T>& c, V g, V p, V (&x)[2]) {
  x[0] = p;
  x[1] = AddShare(c.joint, p, g);
}

template <class V, class T>
KUDARI_INLINE void Update(const Lars::Coeffs<T>& c, V g, V& p, V& b) {
  b = Fma(V(c.momentum), b, V(c.inner) * AddShare(c.decay, p, g));
  p = p - V(c.outer) * b;
}
#endif  // KUDARI_LANES
