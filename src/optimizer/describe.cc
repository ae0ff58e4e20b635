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
  for (Description& d : DescribeSchedules()) all.push_back(std::move(d));
  return all;
}

}  // namespace kudari
