#include "kudari/presets.h"
#include "kudari/stages.h"

namespace kudari {

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
       .options = {{"source", "\"plain\"", "\"plain\" or \"nesterov_lookahead\"",
                    "\"nesterov_lookahead\" for this"}}});
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
