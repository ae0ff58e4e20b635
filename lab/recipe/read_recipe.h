#ifndef KUDARI_LAB_RECIPE_READ_RECIPE_H_
#define KUDARI_LAB_RECIPE_READ_RECIPE_H_

#include <toml++/toml.h>

#include <string_view>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// The recipe that a parsed document is, as ParseTrainRecipe reads it from text; `source` begins
/// messages. Throws Error as ParseTrainRecipe.
Recipe ReadRecipe(const toml::table& document, std::string_view source,
                  const LabRegistry& registry = LabRegistry::Builtin());

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_READ_RECIPE_H_
