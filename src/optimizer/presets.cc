#include "kudari/presets.h"

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"

namespace kudari {
namespace {

struct Entry {
  std::string_view name, summary, recipe, paper, use;
};

constexpr Entry kPresets[] = {
    {"ranger", "RAdam with Lookahead",
     "rule = \"radam\"\n"
     "lookahead = {k = 5, alpha = 0.5}",
     "Liu et al., arXiv:1908.03265; Zhang et al., arXiv:1907.08610",
     "lessw2020's Ranger has k = 6, beta1 = 0.95, eps = 1e-5 and centralize = true"},
    {"nvlamb", "LAMB as NVIDIA has it: clipped first, vectors neither adapted nor decayed",
     "rule = \"lamb\"\n"
     "clip_norm = 1\n"
     "clip_norm_eps = 0\n"
     "no_adapt = [\"bias\", \"norm\"]\n"
     "no_decay = [\"bias\", \"norm\"]",
     "You et al., arXiv:1904.00962", "BERT and the like with large batches"},
    {"muon", "Muon for hidden matrices and filters, AdamW for everything else",
     "rule = \"muon\"\n"
     "fallback = {rule = \"adamw\"}",
     "Jordan et al., Muon, 2024", "two learning rates: lr and fallback = {lr = ...}"},
    {"nanochat_2025_10", "nanochat as of October 2025: Muon and two AdamWs",
     "rule = \"muon\"\n"
     "lr = 0.02\n"
     "momentum = \"0.85 * linear(300, 1.1176470588235294)\"\n"
     "fallback = {rule = \"adamw\", lr = 0.004, beta1 = 0.8, beta2 = 0.95, eps = 1e-10, "
     "weight_decay = 0}\n"
     "clip_norm = 1\n"
     "[[optimizer.group]]\n"
     "class = \"embedding\"\n"
     "rule = \"adamw\"\n"
     "lr = 0.2\n"
     "beta1 = 0.8\n"
     "beta2 = 0.95\n"
     "eps = 1e-10\n"
     "weight_decay = 0",
     "Karpathy, nanochat, commit 3a5e0bc",
     "language models; AdamW's rates are for a width of 768 and scale with width^-0.5. Over the "
     "last fifth of the steps every lr falls to 0 linearly: multiply it by then(1, 0.8 T, "
     "linear(0.2 T)). nanochat has neither biases nor weights in its norms; here they are treated "
     "like the head"},
    {"nanochat", "nanochat as of July 2026: NorMuon and two AdamWs",
     "rule = \"normuon\"\n"
     "lr = \"0.02 * warmup(40)\"\n"
     "momentum = \"0.85 * linear(400, 1.1411764705882352)\"\n"
     "beta2 = 0.9\n"
     "weight_decay = 0.28\n"
     "fallback = {rule = \"adamw\", lr = \"0.008 * warmup(40)\", beta1 = 0.8, beta2 = 0.96, "
     "eps = 1e-10, weight_decay = 0.01}\n"
     "[[optimizer.group]]\n"
     "class = \"embedding\"\n"
     "rule = \"adamw\"\n"
     "lr = \"0.3 * warmup(40)\"\n"
     "beta1 = 0.8\n"
     "beta2 = 0.995\n"
     "eps = 1e-10\n"
     "weight_decay = 0.001",
     "Karpathy, nanochat, commit 92d63d4",
     "language models; AdamW's rates are for a width of 768 and scale with width^-0.5; all rates "
     "are for 2^19 tokens per step and scale with the root of that number. Over the last 0.65 T "
     "steps every lr falls linearly to 0.05 of itself and the momentum from 0.97 to 0.9; "
     "weight_decay is multiplied by cosine(T) over all steps. nanochat has no biases; here they "
     "are treated like the head"},
};

}  // namespace

OptimizerSpec Preset(std::string_view name, const Registry& registry) {
  for (const Entry& p : kPresets) {
    if (p.name != name) continue;
    return ParseRecipe("[optimizer]\n" + std::string(p.recipe), name, registry);
  }
  throw Error("unknown preset \"" + std::string(name) + "\"" + Suggest(name, PresetNames()));
}

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const Entry& p : kPresets) names.emplace_back(p.name);
  return names;
}

std::vector<Description> DescribePresets() {
  std::vector<Description> all;
  for (const Entry& p : kPresets) {
    all.push_back({.kind = "preset",
                   .name = std::string(p.name),
                   .summary = std::string(p.summary),
                   .formula = std::string(p.recipe),
                   .paper = std::string(p.paper),
                   .use = std::string(p.use)});
  }
  return all;
}

}  // namespace kudari
