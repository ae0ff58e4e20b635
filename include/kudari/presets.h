#ifndef KUDARI_PRESETS_H_
#define KUDARI_PRESETS_H_

#include <string>
#include <string_view>
#include <vector>

#include "kudari/description.h"
#include "kudari/registry.h"
#include "kudari/spec.h"

namespace kudari {

/// The specification of that name; a recipe's `preset = "ranger"` starts from it, and other keys of
/// the recipe replace its values. Throws Error with the nearest name.
///
///     OptimizerSpec spec = Preset("ranger");
///     spec.options["lr"] = 1e-3;
OptimizerSpec Preset(std::string_view name, const Registry& registry = Registry::Builtin());

/// The names of all presets.
std::vector<std::string> PresetNames();

/// Every preset in words; `formula` is its recipe.
std::vector<Description> DescribePresets();

}  // namespace kudari

#endif  // KUDARI_PRESETS_H_
