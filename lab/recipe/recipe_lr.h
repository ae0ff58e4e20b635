#ifndef KUDARI_LAB_RECIPE_RECIPE_LR_H_
#define KUDARI_LAB_RECIPE_RECIPE_LR_H_

#include <span>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/schedule.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// The nearest number of three digits, which say as much as is known of a learning rate.
double ThreeDigits(double lr);

/// `schedule` with `value` in place of the numbers among its factors: 2e-3 * warmup(100) becomes
/// value * warmup(100). Throws Error if it has none and its values lie within then(...).
Schedule WithLeadingFactor(const Schedule& schedule, double value);

/// Where in a recipe the learning rate of some parameters stands.
struct LrPlace {
  enum Kind { kOwn, kGroup, kFallback, kNewGroup } kind = kOwn;
  size_t group = 0;        ///< kGroup: which
  std::string match = "";  ///< kNewGroup: glob on the parameters

  /// As in a recipe: "optimizer.lr" or "optimizer.group.0.lr".
  std::string Key() const;
};

/// The place of the parameters with these indices in the plan, which are those that `match` names;
/// empty: those that have optimizer.lr. Throws Error if they have no common one.
LrPlace FindLrPlace(std::span<const TensorPlan> plan, std::span<const size_t> parameters,
                    const std::string& match);

/// `recipe` with the learning rate at `place`, and of groups that have optimizer.lr if it is that;
/// complete. Throws Error as WithLeadingFactor.
Recipe WithLearningRate(const Recipe& recipe, const LrPlace& place, double lr);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_RECIPE_LR_H_
