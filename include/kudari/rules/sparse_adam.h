#ifndef KUDARI_RULES_SPARSE_ADAM_H_
#define KUDARI_RULES_SPARSE_ADAM_H_

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari {

/// Adam for gradients of some rows, as torch's SparseAdam: a step moves the rows that have a
/// gradient and decays the moments of no others, while its bias corrections count all steps.
/// Epsilon is added to the root of v, before its bias is corrected. With a gradient of the whole
/// tensor it is adam but for that epsilon.
struct SparseAdam {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;

  static constexpr std::string_view kName = "sparse_adam";
  static constexpr std::string_view kSummary = "Adam for gradients of some rows of an embedding";
  static constexpr std::string_view kFormula =
      "for rows with a gradient, others stay as they are:\n"
      "g <- g + weight_decay p\n"
      "m <- m + (1 - beta1) (g - m)\n"
      "v <- v + (1 - beta2) (g^2 - v)\n"
      "p <- p - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)";
  static constexpr std::string_view kPaper =
      "Kingma & Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980";
  static constexpr std::string_view kUse =
      "Large embeddings of which a batch sees few rows, with sparse gradients "
      "(torch::nn::EmbeddingOptions::sparse): a step costs as much as its rows.";
  static constexpr std::string_view kTorch =
      "SparseAdam: the same; torch takes no dense gradients and has no weight_decay, which must be "
      "0 for sparse ones.";
  static constexpr bool kRows = true;
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<SparseAdam>{"lr", &SparseAdam::lr, 0, kInfinity, "step size"},
      Field<SparseAdam>{"beta1", &SparseAdam::beta1, 0, kBelow1, "decay of the first moment",
                        Role::kDecay},
      Field<SparseAdam>{"beta2", &SparseAdam::beta2, 0, kBelow1, "decay of the second moment",
                        Role::kDecay},
      Field<SparseAdam>{"eps", &SparseAdam::eps, 0, kInfinity, "added to the root of v",
                        Role::kEps},
      Field<SparseAdam>{"weight_decay", &SparseAdam::weight_decay, 0, kInfinity,
                        "coupled: added to the gradient, which must be of all rows"},
  };
  static constexpr std::array kState = {Slot{"exp_avg"}, Slot{"exp_avg_sq", SlotKind::kSquare}};

  template <class T>
  struct Coeffs {
    T decay, mean1, mean2, step, eps;
  };
  Coeffs<double> At(int64_t t) const {
    const double c1 = 1 - std::pow(beta1, static_cast<double>(t));
    const double c2 = 1 - std::pow(beta2, static_cast<double>(t));
    return {weight_decay, MeanShare(beta1), MeanShare(beta2), lr * std::sqrt(c2) / c1,
            std::max(eps, kLeastEps)};
  }
};

}  // namespace kudari

#endif  // KUDARI_RULES_SPARSE_ADAM_H_

#ifdef KUDARI_LANES
template <class V, class T>
KUDARI_INLINE void Update(const SparseAdam::Coeffs<T>& c, V g, V& p, V& m, V& v) {
  g = AddShare(c.decay, p, g);
  m = Mean(c.mean1, g, m);
  v = MeanSquare(c.mean2, g, v);
  p = p - V(c.step) * m / (Sqrt(v) + V(c.eps));
}
#endif  // KUDARI_LANES
