#ifndef KUDARI_RULES_MUON_H_
#define KUDARI_RULES_MUON_H_

#include "kudari/rule.h"

namespace kudari {

/// Muon (Jordan et al., 2024) for hidden matrices: momentum whose singular values are brought close
/// to one by Newton-Schulz iterations. A convolution counts as a matrix of its filters. Tensors of
/// fewer than two dimensions need another rule, see OptimizerSpec::fallback; so do embeddings and
/// the head.
///
///     OptimizerSpec spec = Muon{.lr = 0.02};
///     spec.fallback = {.rule = "adamw", .options = {{"lr", 3e-4}}};
struct Muon {
  double lr = 0.02, momentum = 0.95, weight_decay = 0, ns_steps = 5;

  static constexpr std::string_view kName = "muon";
  static constexpr std::string_view kSummary = "Orthogonalised momentum for matrices";
  static constexpr std::string_view kFormula =
      "b <- b + (1 - momentum) (g - b)\n"
      "o = NS(g + momentum (b - g)), of shape r x c\n"
      "p <- p - lr (weight_decay p + sqrt(max(1, r / c)) o)\n"
      "NS(x): x <- x / max(norm(x), 1e-7), then ns_steps times\n"
      "x <- 3.4445 x - 4.7750 (x x^T) x + 2.0315 (x x^T)^2 x";
  static constexpr std::string_view kPaper =
      "Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024, "
      "kellerjordan.github.io/posts/muon";
  static constexpr std::string_view kUse =
      "Hidden matrices of transformers and filters of convolutions, beside AdamW for everything "
      "else: fewer steps than AdamW at the price of matrix products.";
  static constexpr std::string_view kTorch =
      "Muon: iterates in bfloat16, here float32; has lr 1e-3 and weight_decay 0.1 by default and "
      "takes no convolutions.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<Muon>{"lr", &Muon::lr, 0, kInfinity, "step size"},
      Field<Muon>{"momentum", &Muon::momentum, 0, kBelow1, "decay of the mean gradient b",
                  Role::kDecay},
      Field<Muon>{"weight_decay", &Muon::weight_decay, 0, kInfinity,
                  "decoupled: lr weight_decay p is subtracted from p"},
      Field<Muon>{"ns_steps", &Muon::ns_steps, 1, 100, "number of iterations, an integer"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
};

/// Muon with steps as long as AdamW's usually are (Liu et al., arXiv:2502.16982), so that learning
/// rate and weight decay carry over, as with torch's adjust_lr_fn = "match_rms_adamw".
struct MuonMatchRms {
  double lr = 1e-3, momentum = 0.95, weight_decay = 0.1, ns_steps = 5;

  static constexpr std::string_view kName = "muon_match_rms";
  static constexpr std::string_view kSummary = "Muon with AdamW's learning rate and weight decay";
  static constexpr std::string_view kFormula =
      "b <- b + (1 - momentum) (g - b)\n"
      "o = NS(g + momentum (b - g)) as in muon, of shape r x c\n"
      "p <- p - lr (weight_decay p + 0.2 sqrt(max(r, c)) o)";
  static constexpr std::string_view kPaper =
      "Liu et al., Muon is Scalable for LLM Training, arXiv:2502.16982";
  static constexpr std::string_view kUse =
      "Muon in a recipe that was tuned for AdamW: one learning rate for both.";
  static constexpr std::string_view kTorch =
      "Muon with adjust_lr_fn=\"match_rms_adamw\": iterates in bfloat16, here float32.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<MuonMatchRms>{"lr", &MuonMatchRms::lr, 0, kInfinity, "step size"},
      Field<MuonMatchRms>{"momentum", &MuonMatchRms::momentum, 0, kBelow1,
                          "decay of the mean gradient b", Role::kDecay},
      Field<MuonMatchRms>{"weight_decay", &MuonMatchRms::weight_decay, 0, kInfinity,
                          "decoupled: lr weight_decay p is subtracted from p"},
      Field<MuonMatchRms>{"ns_steps", &MuonMatchRms::ns_steps, 1, 100,
                          "number of iterations, an integer"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
};

/// Muon with steps of unit operator norm with respect to root mean squares (Pethick et al., Scion,
/// arXiv:2502.07529).
struct MuonRmsToRms {
  double lr = 0.02, momentum = 0.95, weight_decay = 0, ns_steps = 5;

  static constexpr std::string_view kName = "muon_rms_to_rms";
  static constexpr std::string_view kSummary = "Muon scaled by sqrt(rows / columns)";
  static constexpr std::string_view kFormula =
      "b <- b + (1 - momentum) (g - b)\n"
      "o = NS(g + momentum (b - g)) as in muon, of shape r x c\n"
      "p <- p - lr (weight_decay p + sqrt(r / c) o)";
  static constexpr std::string_view kPaper =
      "Pethick et al., Training Deep Learning Models with Norm-Constrained LMOs, arXiv:2502.07529";
  static constexpr std::string_view kUse =
      "Learning rates that carry over from narrow to wide models.";
  static constexpr std::string_view kTorch = "torch has none.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<MuonRmsToRms>{"lr", &MuonRmsToRms::lr, 0, kInfinity, "step size"},
      Field<MuonRmsToRms>{"momentum", &MuonRmsToRms::momentum, 0, kBelow1,
                          "decay of the mean gradient b", Role::kDecay},
      Field<MuonRmsToRms>{"weight_decay", &MuonRmsToRms::weight_decay, 0, kInfinity,
                          "decoupled: lr weight_decay p is subtracted from p"},
      Field<MuonRmsToRms>{"ns_steps", &MuonRmsToRms::ns_steps, 1, 100,
                          "number of iterations, an integer"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
};

/// Muon with the Polar Express iterations (Amsel et al., arXiv:2505.16932), whose results are
/// closer to orthogonal.
struct MuonPolarExpress {
  double lr = 0.02, momentum = 0.95, weight_decay = 0, ns_steps = 5;

  static constexpr std::string_view kName = "muon_polar_express";
  static constexpr std::string_view kSummary = "Muon with the Polar Express iterations";
  static constexpr std::string_view kFormula =
      "b <- b + (1 - momentum) (g - b)\no = PE(g + momentum (b - g)), of shape r x c\np <- p - lr "
      "(weight_decay p + sqrt(max(1, r / c)) o)\nPE(x): x <- x / max(1.01 norm(x), 1e-7), then "
      "iterations that each have their own coefficients";
  static constexpr std::string_view kPaper =
      "Amsel et al., The Polar Express: Optimal Matrix Sign Methods and Their Application to the "
      "Muon Algorithm, arXiv:2505.16932";
  static constexpr std::string_view kUse = "As muon; nearer to orthogonal for the same work.";
  static constexpr std::string_view kTorch = "torch has none.";
  static constexpr bool kDecoupledDecay = true;
  static constexpr std::array kFields = {
      Field<MuonPolarExpress>{"lr", &MuonPolarExpress::lr, 0, kInfinity, "step size"},
      Field<MuonPolarExpress>{"momentum", &MuonPolarExpress::momentum, 0, kBelow1,
                              "decay of the mean gradient b", Role::kDecay},
      Field<MuonPolarExpress>{"weight_decay", &MuonPolarExpress::weight_decay, 0, kInfinity,
                              "decoupled: lr weight_decay p is subtracted from p"},
      Field<MuonPolarExpress>{"ns_steps", &MuonPolarExpress::ns_steps, 1, 100,
                              "number of iterations, an integer; the last coefficients repeat"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"}};
};

/// Muon as in nanochat since 2026: rows are equilibrated (arXiv:2603.28254), orthogonalised by the
/// Polar Express, and scaled to the Frobenius norm of an orthogonal matrix (arXiv:2602.21545).
/// There is a second moment for each row of a tall and each column of a wide matrix (NorMuon,
/// arXiv:2510.05491), and weight decay applies only where it has the direction of the update.
struct NorMuon {
  double lr = 0.02, momentum = 0.95, beta2 = 0.9, weight_decay = 0, ns_steps = 5;

  static constexpr std::string_view kName = "normuon";
  static constexpr std::string_view kSummary = "Muon with a second moment of rows or columns";
  static constexpr std::string_view kFormula =
      "b <- b + (1 - momentum) (g - b)\n"
      "x = g + momentum (b - g), of shape r x c, its rows scaled to their root mean square norm\n"
      "o = PE(x) as in muon_polar_express, but x / (1.01 norm(x) + 1e-6), scaled to norm "
      "sqrt(min(r, c))\n"
      "v <- v + (1 - beta2) (means of o^2 - v), over rows if r >= c, else over columns\n"
      "o <- o / sqrt(v), scaled to the norm that it had\n"
      "p <- p - lr sqrt(max(1, r / c)) (o + weight_decay p where o p >= 0)";
  static constexpr std::string_view kPaper =
      "Li et al., NorMuon: Making Muon More Efficient and Scalable, arXiv:2510.05491; "
      "as combined in nanochat, 2026";
  static constexpr std::string_view kUse =
      "Hidden matrices of language models; used by the preset nanochat.";
  static constexpr std::string_view kTorch = "torch has none.";
  static constexpr std::array kFields = {
      Field<NorMuon>{"lr", &NorMuon::lr, 0, kInfinity, "step size"},
      Field<NorMuon>{"momentum", &NorMuon::momentum, 0, kBelow1, "decay of the mean gradient b",
                     Role::kDecay},
      Field<NorMuon>{"beta2", &NorMuon::beta2, 0, kBelow1, "decay of the second moment",
                     Role::kDecay},
      Field<NorMuon>{"weight_decay", &NorMuon::weight_decay, 0, kInfinity,
                     "decoupled, where update and parameter have the same sign"},
      Field<NorMuon>{"ns_steps", &NorMuon::ns_steps, 1, 100,
                     "number of iterations, an integer; the last coefficients repeat"},
  };
  static constexpr std::array kState = {Slot{"momentum_buffer"},
                                        Slot{"second_momentum_buffer", SlotKind::kSquare}};
};

}  // namespace kudari

#endif  // KUDARI_RULES_MUON_H_
