#ifndef KUDARI_RULES_ADAFACTOR_H_
#define KUDARI_RULES_ADAFACTOR_H_

#include "kudari/rule.h"

namespace kudari {

/// Adafactor (Shazeer & Stern, arXiv:1804.04235, Algorithms 4 and 5). The second moment of a matrix
/// is stored as row and column means, so the state takes almost no memory. The step is relative to
/// the size of the weights, and its length is bounded. Tensors of more than two dimensions are
/// factored over their two largest; vectors have a full second moment.
struct Adafactor {
  double lr = 1e-2, beta2_decay = -0.8, eps1 = 1e-30, eps2 = 1e-3, d = 1, weight_decay = 0;

  static constexpr std::string_view kName = "adafactor";
  static constexpr std::string_view kSummary = "Adaptive steps with a factored second moment";
  static constexpr std::string_view kFormula =
      "beta2 = 1 - t^beta2_decay, rho = min(lr, 1 / sqrt(t)), alpha = max(eps2, rms(p)) rho\n"
      "R <- beta2 R + (1 - beta2) (row means of g^2 + eps1), C the same of columns\n"
      "u = g / sqrt(R C / mean(R)), for vectors g / sqrt(V)\n"
      "p <- p - alpha (u / max(1, rms(u) / d) + weight_decay p)";
  static constexpr std::string_view kPaper =
      "Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, "
      "arXiv:1804.04235";
  static constexpr std::string_view kUse =
      "Large transformers whose optimiser state does not fit in memory; T5 was trained with it. "
      "The default needs no learning rate.";
  static constexpr std::string_view kTorch =
      "Adafactor: there eps1 bounds the factors from below instead of being added to g^2, the two "
      "last dimensions are factored, and the decay is lr weight_decay p; see adafactor_torch.";
  static constexpr std::array kFields = {
      Field<Adafactor>{"lr", &Adafactor::lr, 0, kInfinity, "largest relative step size"},
      Field<Adafactor>{"beta2_decay", &Adafactor::beta2_decay, -1, 0, "exponent of t in 1 - beta2",
                       Role::kCounts},
      Field<Adafactor>{"eps1", &Adafactor::eps1, 0, kInfinity, "added to squared gradients"},
      Field<Adafactor>{"eps2", &Adafactor::eps2, 0, kInfinity,
                       "smallest size of weights that steps are relative to"},
      Field<Adafactor>{"d", &Adafactor::d, 0, kInfinity, "largest root mean square of the update"},
      Field<Adafactor>{"weight_decay", &Adafactor::weight_decay, 0, kInfinity,
                       "decoupled: alpha weight_decay p is subtracted from p"},
  };
  static constexpr std::array kState = {Slot{"row_var", SlotKind::kSquare},
                                        Slot{"col_var", SlotKind::kSquare},
                                        Slot{"variance", SlotKind::kSquare}};
};

/// Adafactor with the conventions of torch's class of that name (torch 2.13).
struct AdafactorTorch {
  double lr = 1e-2, beta2_decay = -0.8, eps1 = 0x1p-23, eps2 = 1e-3, d = 1, weight_decay = 0;

  static constexpr std::string_view kName = "adafactor_torch";
  static constexpr std::string_view kSummary = "Adafactor with torch's conventions";
  static constexpr std::string_view kFormula =
      "beta2 = 1 - t^beta2_decay, rho = min(lr, 1 / sqrt(t)), alpha = max(eps2, rms(p)) rho\n"
      "p <- p - lr weight_decay p\n"
      "R <- beta2 R + (1 - beta2) (row means of g^2), C the same of columns\n"
      "u = g / sqrt(max(R C / max(mean(R), eps1), eps1^2)), for vectors V in place of R C / mean\n"
      "p <- p - alpha u / max(1, rms(u) / d)";
  static constexpr std::string_view kPaper =
      "Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, "
      "arXiv:1804.04235";
  static constexpr std::string_view kUse =
      "Resuming runs of torch's Adafactor; otherwise use adafactor.";
  static constexpr std::string_view kTorch =
      "Adafactor: the same. Its default of eps1 depends on the type; here it is that of float32.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<AdafactorTorch>{"lr", &AdafactorTorch::lr, 0, kInfinity, "largest relative step size"},
      Field<AdafactorTorch>{"beta2_decay", &AdafactorTorch::beta2_decay, -1, 0,
                            "exponent of t in 1 - beta2", Role::kCounts},
      Field<AdafactorTorch>{"eps1", &AdafactorTorch::eps1, 0, kInfinity,
                            "smallest mean of factors; its square is the smallest variance"},
      Field<AdafactorTorch>{"eps2", &AdafactorTorch::eps2, 0, kInfinity,
                            "smallest size of weights that steps are relative to"},
      Field<AdafactorTorch>{"d", &AdafactorTorch::d, 0, kInfinity,
                            "largest root mean square of the update"},
      Field<AdafactorTorch>{"weight_decay", &AdafactorTorch::weight_decay, 0, kInfinity,
                            "decoupled: lr weight_decay p is subtracted from p"},
  };
  static constexpr std::array kState = {Slot{"row_var", SlotKind::kSquare},
                                        Slot{"col_var", SlotKind::kSquare},
                                        Slot{"variance", SlotKind::kSquare}};
};

}  // namespace kudari

#endif  // KUDARI_RULES_ADAFACTOR_H_
