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
  for (Description& d : DescribeSchedules()) all.push_back(std::move(d));
  return all;
}

}  // namespace kudari
