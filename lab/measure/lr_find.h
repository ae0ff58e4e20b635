#ifndef KUDARI_LAB_MEASURE_LR_FIND_H_
#define KUDARI_LAB_MEASURE_LR_FIND_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// What `kudari lr-find` is asked for.
struct LrFindOptions {
  std::filesystem::path recipe;
  RecipeChanges changes = {};
  double start = 1e-7, end = 10;  ///< of the ramp, 0 < start < end
  int64_t steps = 100;            ///< of the ramp, at least 2
  std::string ramp = "exp";       ///< or "linear"
  std::string stop = "best";      ///< or "first": the loss of which four times end the test
  double smooth = 0.98;           ///< weight of the past in the smoothed loss, [0, 1)
  int64_t seeds = 1;              ///< tests with the recipe's seed and those after it, at least 1
  std::string group;              ///< glob on parameters whose learning rate rises; empty: those
                                  ///< that have optimizer.lr
  bool freeze = false;            ///< the other parameters are not trained
  std::filesystem::path json, svg, write;  ///< files; empty: none
};

/// Runs learning-rate range tests as the recipe would train, and prints the curve, what different
/// methods suggest and a recommendation. `json` has everything, `svg` a picture (SVG or PNG), and
/// `write` the recipe with the learning rate that is recommended, in three digits: it replaces the
/// numbers among the factors of the schedule. Throws Error for bad input, before a test begins, and
/// if nothing can be recommended and the recipe was to be written.
void LrFind(const LrFindOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MEASURE_LR_FIND_H_
