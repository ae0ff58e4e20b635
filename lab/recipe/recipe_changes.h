#ifndef KUDARI_LAB_RECIPE_RECIPE_CHANGES_H_
#define KUDARI_LAB_RECIPE_RECIPE_CHANGES_H_

#include <toml++/toml.h>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// Makes the changes in a parsed recipe, and takes its table [scale] away. Throws Error naming the
/// option of the command line and the key for one that cannot be made.
void ApplyChanges(const RecipeChanges& changes, toml::table& root);

/// Puts the values of `from` in place of those of `to`, table by table; one that has a name is
/// another model or data set, and replaces the whole. Nodes are moved out of `from`, since copies
/// do not know their lines.
void MergeTables(toml::table& from, toml::table& to);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_RECIPE_CHANGES_H_
