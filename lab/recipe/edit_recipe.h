#ifndef KUDARI_LAB_RECIPE_EDIT_RECIPE_H_
#define KUDARI_LAB_RECIPE_EDIT_RECIPE_H_

#include <string>
#include <string_view>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// The text of a recipe's file with the values changed that `changed` has otherwise: comments,
/// order and spelling of the rest are kept. Where that cannot be done, ToToml(changed). Either way
/// the text reads as `changed`, whose optimiser is complete.
std::string EditRecipe(std::string_view text, const Recipe& changed);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_EDIT_RECIPE_H_
