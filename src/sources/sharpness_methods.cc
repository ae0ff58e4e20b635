#include "sources/sharpness_methods.h"

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/stages.h"

namespace kudari::internal {

const std::vector<SharpnessMethod>& SharpnessMethods() {
  static const std::string kLookSam =
      "Liu et al., Towards Efficient and Scalable Sharpness-Aware Minimization, arXiv:2203.02714";
  static const std::vector<SharpnessMethod> methods = {
      {.name = "sam",
       .summary = "Sharpness-aware minimisation: the gradient at the worst point nearby",
       .formula = "e = rho g / norm(g);  g <- gradient at p + e",
       .paper = "Foret et al., Sharpness-Aware Minimization for Efficiently Improving "
                "Generalization, arXiv:2010.01412",
       .use = "two gradients per step, over the same batch; one copy of the parameters",
       .options = {"rho", "exclude", "group"}},
      {.name = "sam_k",
       .cycles = true,
       .summary = "sam in every k-th step, the plain gradient in the others",
       .formula = "t mod k = 0: as sam;  else g",
       .paper = kLookSam,
       .use = "1 + 1 / k gradients per step",
       .options = {"rho", "k", "exclude", "group"}},
      {.name = "looksam",
       .cycles = true,
       .reuses = true,
       .alpha = 0.7,
       .summary = "sam in every k-th step; the others reuse its direction",
       .formula = "t mod k = 0: g_s = gradient at p + rho g / norm(g);\n"
                  "             g_v = g_s - (g_s.g / g.g) g;  g <- g_s\n"
                  "else:        g <- g + alpha norm(g) / norm(g_v) g_v",
       .paper = kLookSam,
       .use = "about sam's result for 1 + 1 / k gradients per step. The paper's alpha is 0.7; "
              "small networks need less: try 0.1 to 0.5",
       .options = {"rho", "k", "alpha", "decompose", "layer", "direction", "reuse", "exclude",
                   "group"}},
      {.name = "layersam",
       .move = Move::kLayers,
       .rho = 0.01,
       .summary = "sam with a perturbation that is scaled layer by layer",
       .formula = "e_l = rho norm(w_l) / norm(g_l) g_l;  g <- gradient at p + e",
       .paper = kLookSam,
       .use = "for large batches. The paper's text leaves the scaling open: weight_ratio is that "
              "of LARS and LAMB, which makes rho relative to the weights",
       .options = {"rho", "layer_scale", "layer", "exclude", "group"}},
      {.name = "look_layersam",
       .move = Move::kLayers,
       .cycles = true,
       .reuses = true,
       .rho = 0.01,
       .alpha = 0.7,
       .summary = "looksam with the perturbation of layersam",
       .formula = "as looksam, with e_l = rho norm(w_l) / norm(g_l) g_l",
       .paper = kLookSam,
       .options = {"rho", "k", "alpha", "layer_scale", "layer", "decompose", "direction", "exclude",
                   "group"}},
      {.name = "asam",
       .move = Move::kAdaptive,
       .rho = 0.5,
       .summary = "sam in a ball that is measured in units of the weights",
       .formula =
           "T = |p| + eta, for biases 1;  e = rho T^2 g / norm(T g);  g <- gradient at p + e",
       .paper = "Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant "
                "Learning of Deep Neural Networks, arXiv:2102.11600",
       .options = {"rho", "eta", "adapt", "exclude", "group"}},
      {.name = "gsam",
       .gap = true,
       .alpha = 0.4,
       .summary = "sam that also narrows the gap between the loss and the perturbed loss",
       .formula = "g_s as in sam;  g <- g_s - alpha (g - (g.g_s / g_s.g_s) g_s)",
       .paper = "Zhuang et al., Surrogate Gap Minimization Improves Sharpness-Aware Training, "
                "arXiv:2203.08065",
       .use = "the paper lets rho follow the learning rate: give both the same schedule",
       .options = {"rho", "alpha", "exclude", "group"},
       .alpha_doc = "weight of the gap"}};
  return methods;
}

const SharpnessMethod& FindSharpnessMethod(std::string_view name) {
  for (const SharpnessMethod& m : SharpnessMethods()) {
    if (m.name == name) return m;
  }
  throw Error("source: unknown name \"" + std::string(name) + "\"" +
              Suggest(name, Sharpness::Methods()));
}

}  // namespace kudari::internal
