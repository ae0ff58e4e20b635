#ifndef KUDARI_LAB_RECIPE_SCALE_H_
#define KUDARI_LAB_RECIPE_SCALE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// What `kudari scale` is asked for.
struct ScaleOptions {
  std::filesystem::path recipe = {};
  RecipeChanges changes = {};
  std::filesystem::path json =
      {};                 ///< file for the comparison as JSON, "-" for standard output; empty: none
  int64_t batch = 0;      ///< samples of a step of the new recipe, over all ranks
  std::string rule = {};  ///< of BatchRuleNames; empty: what suits the optimiser
  int64_t accumulate = 0;            ///< of the new recipe; 0: as before
  int64_t ranks = 1;                 ///< processes that the new recipe is for
  int64_t from_ranks = 1;            ///< that the old one is for
  std::filesystem::path write = {};  ///< where the new recipe goes; empty: nowhere
  std::filesystem::path svg = {};    ///< where a picture goes; empty: nowhere
  int64_t check_epochs = 3;          ///< of the two runs of CheckScaling
};

/// A recipe and the same for another batch.
struct Scaling {
  Recipe before, after;                  ///< complete
  int64_t old_batch = 0, new_batch = 0;  ///< samples of a step, over all ranks
  double kappa = 1;                      ///< their ratio
  std::string rule;                      ///< batch rule of the spec's own learning rate
  std::string reason;                    ///< why that, in words
  std::vector<std::string> notes;        ///< what else to know, sentences
};

/// Scales a recipe; of the options only those of batches and the rule matter. Throws Error naming
/// the option for a batch that accumulation and ranks do not divide, and as ScaleBatch.
Scaling ScaleRecipe(const Recipe& recipe, const ScaleOptions& options);

/// The table before and after, the learning rates of all rules by batch, and the notes.
std::string ScalingText(const Scaling& scaling);

/// The same as JSON, with the new recipe as text.
std::string ScalingJson(const Scaling& scaling);

/// Reads the recipe, prints ScalingText and writes the files that are asked for. Throws Error for
/// bad input, before any file is touched.
Scaling Scale(const ScaleOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_SCALE_H_
