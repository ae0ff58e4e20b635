#include "kudari/presets.h"

#include "core/nearest.h"
#include "kudari/error.h"
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
};

}  // namespace

OptimizerSpec Preset(std::string_view name, const Registry& registry) {
  for (const Entry& p : kPresets) {
    if (p.name != name) continue;
    return ParseRecipe("[optimizer]\n" + std::string(p.recipe), name, registry);
  }
  throw Error("unknown preset \"" + std::string(name) + "\"" +
              internal::Suggest(name, PresetNames()));
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
