#include "kudari/presets.h"
#include "kudari/stages.h"

namespace kudari {

namespace {

/// The sharpness-aware sources.
std::vector<Description> DescribeSharpness() {
  const std::string kLookSam =
      "Liu et al., Towards Efficient and Scalable Sharpness-Aware Minimization, arXiv:2203.02714";
  const OptionDescription name = {"source", "\"plain\"", "the name of a source", "this one's"};
  const OptionDescription k = {"sharpness.k", "5", "integer, at least 1",
                               "steps from one perturbed gradient to the next"};
  const OptionDescription alpha = {"sharpness.alpha", "0.7", "[0, inf), or a schedule",
                                   "length of the reused direction, relative to the gradient"};
  const OptionDescription decompose = {
      "sharpness.decompose", "\"global\"", "\"global\" or \"layer\"",
      "whether the gradient is split as one vector or layer by layer"};
  const OptionDescription reuse = {
      "sharpness.reuse", "\"direction\"", "\"direction\" or \"random\"",
      "g_v, or for experiments a random direction that is orthogonal to g"};
  const OptionDescription direction = {"sharpness.direction", "\"float32\"",
                                       "\"float32\" or \"bfloat16\"",
                                       "how the reused direction is kept"};
  const OptionDescription scale = {
      "sharpness.layer_scale", "\"weight_ratio\"",
      "\"weight_ratio\", \"ratio_global\", \"unit_layer\" or \"double\"",
      "norm(w_l) / norm(g_l); that over norm(g); 1 / norm(g_l); or norm(w_l) / norm(g_l)^2"};
  const OptionDescription layer = {"sharpness.layer", "\"tensor\"", "\"tensor\" or \"module\"",
                                   "a layer: one tensor, or those of a module together"};
  const auto rho = [](const char* value) {
    return OptionDescription{"sharpness.rho", value, "[0, inf), or a schedule",
                             "radius of the perturbation"};
  };
  const OptionDescription exclude = {"sharpness.exclude", "[]", "classes",
                                     "tensors that are not perturbed"};
  const OptionDescription group = {"sharpness.group", "[]", "tables of match, class and rho",
                                   "tensors with a rho of their own"};
  return {
      {.kind = "source",
       .name = "sam",
       .summary = "Sharpness-aware minimisation: the gradient at the worst point nearby",
       .formula = "e = rho g / norm(g);  g <- gradient at p + e",
       .paper = "Foret et al., Sharpness-Aware Minimization for Efficiently Improving "
                "Generalization, arXiv:2010.01412",
       .use = "two gradients a step, over the same batch; one copy of the parameters",
       .options = {name, rho("0.05"), exclude, group}},
      {.kind = "source",
       .name = "sam_k",
       .summary = "sam in every k-th step, the plain gradient in the others",
       .formula = "t mod k = 0: as sam;  else g",
       .paper = kLookSam,
       .use = "1 + 1 / k gradients a step",
       .options = {name, rho("0.05"), k, exclude, group}},
      {.kind = "source",
       .name = "looksam",
       .summary = "sam in every k-th step; the others reuse its direction",
       .formula = "t mod k = 0: g_s = gradient at p + rho g / norm(g);\n"
                  "             g_v = g_s - (g_s.g / g.g) g;  g <- g_s\n"
                  "else:        g <- g + alpha norm(g) / norm(g_v) g_v",
       .paper = kLookSam,
       .use = "about sam's result for 1 + 1 / k gradients a step. The paper's alpha is 0.7; small "
              "networks want less: try 0.1 to 0.5",
       .options = {name, rho("0.05"), k, alpha, decompose, layer, direction, reuse, exclude,
                   group}},
      {.kind = "source",
       .name = "layersam",
       .summary = "sam with a perturbation that is scaled layer by layer",
       .formula = "e_l = rho norm(w_l) / norm(g_l) g_l;  g <- gradient at p + e",
       .paper = kLookSam,
       .use = "for large batches. The paper's text leaves the scaling open: weight_ratio is LARS's "
              "and LAMB's, and rho then relative to the weights",
       .options = {name, rho("0.01"), scale, layer, exclude, group}},
      {.kind = "source",
       .name = "look_layersam",
       .summary = "looksam with the perturbation of layersam",
       .formula = "as looksam, with e_l = rho norm(w_l) / norm(g_l) g_l",
       .paper = kLookSam,
       .options = {name, rho("0.01"), k, alpha, scale, layer, decompose, direction, exclude,
                   group}},
      {.kind = "source",
       .name = "asam",
       .summary = "sam in a ball that is measured in units of the weights",
       .formula =
           "T = |p| + eta, for biases 1;  e = rho T^2 g / norm(T g);  g <- gradient at p + e",
       .paper = "Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant "
                "Learning of Deep Neural Networks, arXiv:2102.11600",
       .options = {name,
                   rho("0.5"),
                   {"sharpness.eta", "0.01", "[0, inf)", "added to the magnitudes of weights"},
                   {"sharpness.adapt", "\"weights\"", "\"weights\" or \"all\"",
                    "whether T is 1 for biases, or |p| + eta for all"},
                   exclude,
                   group}},
      {.kind = "source",
       .name = "gsam",
       .summary = "sam that also narrows the gap between the loss and the perturbed loss",
       .formula = "g_s as in sam;  g <- g_s - alpha (g - (g.g_s / g_s.g_s) g_s)",
       .paper = "Zhuang et al., Surrogate Gap Minimization Improves Sharpness-Aware Training, "
                "arXiv:2203.08065",
       .use = "the paper lets rho follow the learning rate: give both the same schedule",
       .options = {name,
                   rho("0.05"),
                   {"sharpness.alpha", "0.4", "[0, inf), or a schedule", "weight of the gap"},
                   exclude,
                   group}}};
}

}  // namespace

std::vector<Description> DescribeAll(const Registry& registry) {
  std::vector<Description> all;
  for (const RuleEntry& rule : registry.rules()) all.push_back(Describe(rule));
  all.push_back(
      {.kind = "source", .name = "plain", .summary = "One forward and backward, taken as it is"});
  all.push_back(
      {.kind = "source",
       .name = "accumulate",
       .summary = "The gradient of the big batch out of several small ones, weighted by samples",
       .formula = "g <- sum(n_i g_i) / sum(n_i)",
       .options = {
           {"accumulate", "1", "integer, at least 1", "forward and backward calls a step"}}});
  all.push_back(
      {.kind = "source",
       .name = "nesterov_lookahead",
       .summary = "The gradient where the momentum is about to carry the weights",
       .formula = "g <- gradient at p - lr momentum b\n"
                  "then the rule momentum steps from p: b <- momentum b + g;  p <- p - lr b",
       .paper = "Sutskever et al., On the importance of initialization and momentum in deep "
                "learning, 2013",
       .use = "with the rule momentum only; the rule nesterov needs no shifted point",
       .torch = "the rule nesterov is torch's form: with constant lr and momentum its parameter is "
                "p - lr momentum b of this one",
       .options = {{"source", "\"plain\"", "the name of a source", "this one's"}}});
  for (Description& d : DescribeSharpness()) all.push_back(std::move(d));
  all.push_back({.kind = "scale",
                 .name = "clip_norm",
                 .summary = "Clipping by global norm",
                 .formula = "g <- g min(1, clip_norm / (norm(g) + 1e-6))",
                 .paper = "Pascanu, Mikolov & Bengio, On the difficulty of training recurrent "
                          "neural networks, arXiv:1211.5063",
                 .options = {{"clip_norm", "", "[0, inf), or a schedule", "largest norm"}}});
  all.push_back({.kind = "scale",
                 .name = "clip_value",
                 .summary = "Clipping by value, after clipping by norm",
                 .formula = "g <- max(-clip_value, min(clip_value, g)), element by element",
                 .options = {{"clip_value", "", "[0, inf), or a schedule", "largest magnitude"}}});
  all.push_back({.kind = "scale",
                 .name = "agc",
                 .summary = "Adaptive gradient clipping, unit by unit, after clipping by norm",
                 .formula = "g_u <- g_u min(1, clip max(norm(p_u), eps) / norm(g_u)) for each row, "
                            "filter or vector u",
                 .paper = "Brock et al., High-Performance Large-Scale Image Recognition Without "
                          "Normalization, arXiv:2102.06171",
                 .options = {{"agc.clip", "0.01", "[0, inf), or a schedule", "largest ratio"},
                             {"agc.eps", "0.001", "[0, inf)", "smallest norm of weights"},
                             {"agc.exclude", "[]", "globs", "tensors that are left alone"}}});
  all.push_back({.kind = "scale",
                 .name = "centralize",
                 .summary = "Gradient centralisation, unit by unit, after clipping",
                 .formula = "g_u <- g_u - mean(g_u) for each row or filter u; vectors stay",
                 .paper = "Yong et al., Gradient Centralization, arXiv:2004.01461",
                 .options = {{"centralize", "false", "true or false", "whether to"}}});
  all.push_back(
      {.kind = "regulariser",
       .name = "l1",
       .summary = "Pulls weights towards zero by a constant: many come near it",
       .formula = "g <- g + l1 sign(p), after clipping, for any rule; sign(0) = 0",
       .paper = "Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996",
       .use = "to make most weights negligible: they end near zero, the nearer the lower the last "
              "learning rates are",
       .options = {{"l1", "", "[0, inf), or a schedule", "strength; a group may have its own"}}});
  all.push_back(
      {.kind = "regulariser",
       .name = "l2",
       .summary = "Pulls weights towards zero in proportion: a coupled weight decay for any rule",
       .formula = "g <- g + l2 p, after clipping",
       .paper = "Loshchilov & Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101",
       .use = "rules that divide by the gradient's size, as adam, divide this by it, too: a weight "
              "decays the less, the larger its gradients are; docs/weight-decay.md",
       .torch = "as weight_decay of torch's Adam, SGD and other rules that are not decoupled",
       .options = {{"l2", "", "[0, inf), or a schedule", "strength; a group may have its own"}}});
  all.push_back(
      {.kind = "regulariser",
       .name = "decay",
       .summary = "Decoupled weight decay that does not depend on the height of lr",
       .formula =
           "p <- p - lr(t) / base weight_decay p, base: the number in front of lr's schedule",
       .paper = "Loshchilov & Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101, "
                "Algorithm 2",
       .use = "weight_decay is then that of the rule times the number in front of lr: 1e-4 where "
              "adamw with lr 1e-3 has 0.1. docs/weight-decay.md has what that does to tuning",
       .torch = "None; it is big_vision's form",
       .options = {{"decay", "\"rule\"", "\"rule\" or \"independent\"",
                    "independent: for rules with decoupled decay"}}});
  all.push_back(
      {.kind = "averager",
       .name = "lookahead",
       .summary = "Slow weights that the fast ones return to every k steps",
       .formula = "s <- (1 - alpha) s + alpha p;  p <- s, after every k-th step; s is p at first",
       .paper = "Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, arXiv:1907.08610",
       .options = {{"lookahead.k", "5", "integer, at least 1", "steps from sync to sync"},
                   {"lookahead.alpha", "0.5", "[0, 1]", "step of the slow weights"},
                   {"lookahead.state", "\"keep\"", "\"keep\", \"reset\" or \"pullback\"",
                    "what happens to the rule's state at a sync"}}});
  all.push_back(
      {.kind = "averager",
       .name = "ema",
       .summary = "Exponential moving average of the weights, to be evaluated",
       .formula = "a <- p at the first step, then a <- d a + (1 - d) p\n"
                  "d = decay, or min(decay, n / (9 + n)) at the n-th step with warm-up",
       .torch = "as swa_utils.get_ema_avg_fn; warm-up is TensorFlow's",
       .options = {{"ema.decay", "0.999", "[0, 1)", "what is kept of the average"},
                   {"ema.warmup", "false", "true or false", "less of it in the first steps"}}});
  all.push_back(
      {.kind = "averager",
       .name = "swa",
       .summary = "Mean of the weights at the end of every cycle, to be evaluated",
       .formula = "a <- a + (p - a) / n after steps start + n every, n = 1, 2, ...",
       .paper = "Izmailov et al., Averaging Weights Leads to Wider Optima and Better "
                "Generalization, arXiv:1803.05407",
       .torch = "as swa_utils.AveragedModel",
       .options = {{"swa.start", "0", "integer, at least 0", "steps before the first cycle"},
                   {"swa.every", "1", "integer, at least 1", "steps of a cycle"}}});
  all.push_back(
      {.kind = "format",
       .name = "precision",
       .summary = "Storage of 16-bit parameters and of state; rules compute in float32",
       .formula =
           "split8: weight = bfloat16 + 8 bits; split16: bfloat16 + 16 bits, float32 exactly\n"
           "kahan: bfloat16 + bfloat16\n"
           "linear8: m = code scale, v = (code scale)^2, scale = the largest of 256 / 127 or "
           "255\n"
           "softsign8: m = scale code / (254 - |code|), v as linear8\n"
           "dynamic8: map[code] scale, the maps of bitsandbytes",
       .paper = "Micikevicius et al., Mixed Precision Training, arXiv:1710.03740; Dettmers et al., "
                "8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861; FlashOptim, "
                "arXiv:2602.23349",
       .use =
           "bfloat16 parameters with master = \"split8\" and state = \"linear8\": AdamW in 7 bytes "
           "a parameter, gradient included, where float32 takes 16.",
       .options = {
           {"precision.master", "\"none\"",
            "\"none\", \"float32\", \"split8\", \"split16\" or \"kahan\"",
            "what keeps the digits that 16-bit parameters lack"},
           {"precision.rounding", "\"nearest\"", "\"nearest\" or \"stochastic\"",
            "of 16-bit parameters without a master, and of bfloat16 state"},
           {"precision.seed", "0", "integer", "of stochastic rounding"},
           {"precision.state", "\"float32\"",
            "\"float32\", \"bfloat16\", \"linear8\", \"softsign8\" or \"dynamic8\"",
            "how state is kept; in tensors of less than 4,096 elements not in 8 bits"},
           {"precision.slots", "{}", "formats by name of the state", "for single buffers"},
           {"precision.exclude", "[]", "classes", "whose state stays float32"},
           {"precision.check", "false", "true or false",
            "count updates that round to zero and blocks that one element saturates; slower"}}});
  for (Description& d : DescribeSchedules()) all.push_back(std::move(d));
  for (Description& d : DescribePresets()) all.push_back(std::move(d));
  return all;
}

}  // namespace kudari
