#ifndef KUDARI_RULES_LARC_H_
#define KUDARI_RULES_LARC_H_

#include <span>

#include "kudari/rules/lars.h"

namespace kudari {

/// LARC, LARS with clipping, from NVIDIA's apex: momentum with the learning rate outside the
/// buffer, where the rate of a tensor is the smaller of lr and the rate that LARS would use. As in
/// timm's Lars(trust_clip=True), a tensor whose parameter or gradient is zero uses lr, or 1 if lr
/// is larger; apex also skips its decay at that step. Scaling requires lr > 0. By default, bias and
/// norm tensors are neither adapted nor decayed.
struct Larc {
  double lr = 0.1, momentum = 0.9, weight_decay = 1e-4, trust = 0.02;

  static constexpr std::string_view kName = "larc";
  static constexpr std::string_view kSummary =
      "Momentum whose learning rate LARS can only lower, tensor by tensor";
  static constexpr std::string_view kFormula =
      "ratio = trust norm(p) / (norm(g) + weight_decay norm(p)), 1 if a norm is 0\n"
      "b <- momentum b + min(1, ratio / lr) (g + weight_decay p)\n"
      "p <- p - lr b";
  static constexpr std::string_view kPaper =
      "You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, arXiv:1708.03888; "
      "apex.parallel.LARC";
  static constexpr std::string_view kUse =
      "As lars, where lr is known and only excessive steps should be limited.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr BatchRule kBatchRule = BatchRule::kLinear;
  static constexpr std::array kFields = {
      Field<Larc>{"lr", &Larc::lr, 0, kInfinity, "step size"},
      Field<Larc>{"momentum", &Larc::momentum, 0, kBelow1, "decay of the buffer", Role::kDecay},
      Field<Larc>{"weight_decay", &Larc::weight_decay, 0, kInfinity,
                  "coupled: added to the gradient"},
      Field<Larc>{"trust", &Larc::trust, 0, kInfinity,
                  "length of a step relative to the tensor's norm"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
  static constexpr size_t kNorms = 2;
  static constexpr StatePass kStatePass = StatePass::kUpdate;
  static constexpr bool kAdaptsVectors = false;

  template <class T>
  using Coeffs = Lars::Coeffs<T>;
  Coeffs<double> At(int64_t /*t*/) const { return {weight_decay, 0, momentum, 1, lr}; }
  /// `norms` are those of p and g.
  Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) const {
    c.inner = Ratio(norms).ratio;
    return c;
  }
  /// The trust ratio relative to lr.
  TrustRatio Ratio(std::span<const double> norms) const {
    const TrustRatio r = Lars::Ratio(norms, norms[1] + weight_decay * norms[0], trust);
    return r.ratio < lr ? TrustRatio{r.ratio / lr, r.pinned} : TrustRatio{1, true};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_LARC_H_
