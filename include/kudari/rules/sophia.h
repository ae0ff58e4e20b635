#ifndef KUDARI_RULES_SOPHIA_H_
#define KUDARI_RULES_SOPHIA_H_

#include <algorithm>

#include "kudari/rule.h"

namespace kudari {

/// Sophia-G (Liu et al., arXiv:2305.14342) with decoupled weight decay, as in the authors' code:
/// the step is the momentum divided by a running estimate of the Hessian's diagonal, with each
/// element clipped to lr. About every ten steps, Optimizer::UpdateHessian needs the Gauss-Newton-
/// Bartlett estimate: the gradient, averaged over the batch, of the loss with labels drawn from the
/// model's own output. It is squared here; batch_size times the square estimates the diagonal.
/// Until the first estimate every step is lr sign(m).
struct Sophia {
  double lr = 1e-4, beta1 = 0.965, beta2 = 0.99, rho = 0.04, batch_size = 5120, weight_decay = 0.1,
         eps = 1e-15;

  static constexpr std::string_view kName = "sophia";
  static constexpr std::string_view kSummary =
      "Momentum divided by a Gauss-Newton estimate of the curvature, clipped";
  static constexpr std::string_view kFormula =
      "m <- m + (1 - beta1) (g - m)\n"
      "p <- p - lr (weight_decay p + max(-1, min(1, m / (rho batch_size h + eps))))\n"
      "UpdateHessian(e): h <- h + (1 - beta2) (e^2 - h)";
  static constexpr std::string_view kPaper =
      "Liu et al., Sophia: A Scalable Stochastic Second-order Optimizer for Language Model "
      "Pre-training, arXiv:2305.14342";
  static constexpr std::string_view kUse =
      "Pre-training of language models; lr slightly below that of adamw. Set batch_size to the "
      "number of samples (tokens) that the estimate averages, and rho so that a tenth to a half of "
      "the elements are not clipped.";
  static constexpr std::string_view kTorch = "None.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<Sophia>{"lr", &Sophia::lr, 0, kInfinity, "step size"},
      Field<Sophia>{"beta1", &Sophia::beta1, 0, kBelow1, "decay of the first moment", Role::kDecay},
      Field<Sophia>{"beta2", &Sophia::beta2, 0, kBelow1, "decay of the curvature", Role::kDecay},
      Field<Sophia>{"rho", &Sophia::rho, 0, kInfinity, "factor on the curvature"},
      Field<Sophia>{"batch_size", &Sophia::batch_size, 0, kInfinity,
                    "number of samples that the estimate averages", Role::kCounts},
      Field<Sophia>{"weight_decay", &Sophia::weight_decay, 0, kInfinity,
                    "decoupled: lr weight_decay p is subtracted from p"},
      Field<Sophia>{"eps", &Sophia::eps, 0, kInfinity, "added to the curvature"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"hessian", SlotKind::kSquare}};
  static constexpr HessianEstimate kHessian = HessianEstimate::kGaussNewton;

  template <class T>
  struct Coeffs {
    T lr, decay, mean1, mean2, curvature, eps;
  };
  Coeffs<double> At(int64_t /*t*/) const {
    return {lr,
            lr * weight_decay,
            MeanShare(beta1),
            MeanShare(beta2),
            rho * batch_size,
            std::max(eps, kLeastEpsInside)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_SOPHIA_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const Sophia::Coeffs<T>& c, V g, V& p, V& m, V h) {
  m = Mean(c.mean1, g, m);
  const V u = Max(Min(m / Fma(V(c.curvature), h, V(c.eps)), V(1)), V(-1));
  p = p - AddShare(c.decay, p, V(c.lr) * u);
}

template <class V, class T>
KUDARI_INLINE void Curvature(const Sophia::Coeffs<T>& c, V estimate, V& h) {
  h = MeanSquare(c.mean2, estimate, h);
}
#endif  // KUDARI_LANES
