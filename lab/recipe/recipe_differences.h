#ifndef KUDARI_LAB_RECIPE_RECIPE_DIFFERENCES_H_
#define KUDARI_LAB_RECIPE_RECIPE_DIFFERENCES_H_

#include <string>
#include <vector>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// An option that two recipes have with different values.
struct RecipeDifference {
  std::string key;            ///< such as "optimizer.group.0.lr"
  std::string before, after;  ///< the values as TOML; "unset" where there is none
  /// Whether a run that began with one value can go on with the other: what is trained, on what, by
  /// which rule and with which state stays the same.
  bool safe = false;

  friend bool operator==(const RecipeDifference&, const RecipeDifference&) = default;
};

/// All of them, in the order of the recipe's keys.
std::vector<RecipeDifference> DifferencesBetween(const Recipe& before, const Recipe& after);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_RECIPE_DIFFERENCES_H_
