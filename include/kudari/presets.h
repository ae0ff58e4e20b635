#ifndef KUDARI_PRESETS_H_
#define KUDARI_PRESETS_H_

#include <string>
#include <string_view>
#include <vector>

#include "kudari/description.h"
#include "kudari/registry.h"
#include "kudari/spec.h"

namespace kudari {

/// Returns the preset with that name. `preset = "ranger"` in a recipe starts from it, and the other
/// keys of the recipe override its values. Throws Error suggesting the nearest name if there is
/// none.
///
///     OptimizerSpec spec = Preset("ranger");
///     spec.options["lr"] = 1e-3;
OptimizerSpec Preset(std::string_view name, const Registry& registry = Registry::Builtin());

/// The names of all presets.
std::vector<std::string> PresetNames();

/// Descriptions of all presets; `formula` holds the recipe.
std::vector<Description> DescribePresets();

}  // namespace kudari

#endif  // KUDARI_PRESETS_H_
