#ifndef KUDARI_LAB_LANDSCAPE_OPTIMIZER_JSON_H_
#define KUDARI_LAB_LANDSCAPE_OPTIMIZER_JSON_H_

#include <nlohmann/json.hpp>

#include "kudari/spec.h"

namespace kudari::lab {

/// Reads the [optimizer] table of a recipe that is given as JSON: `{"rule": "sgd", "lr": 0.1}`.
/// Throws the same errors as ParseRecipe, and Error for a null, which recipes do not have.
OptimizerSpec OptimizerOf(const nlohmann::ordered_json& table);

/// That table for a spec that has a rule: its rule, its lr and whatever is not a default of the
/// rule or the library. OptimizerOf reads it as the same spec, apart from defaults.
nlohmann::ordered_json OptimizerJson(const OptimizerSpec& spec);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_OPTIMIZER_JSON_H_
