#ifndef KUDARI_LAB_VERBS_TRAIN_H_
#define KUDARI_LAB_VERBS_TRAIN_H_

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/recipe/train_recipe.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// What `kudari train` is asked for.
struct TrainOptions {
  std::filesystem::path recipe = {};
  RecipeChanges changes = {};
  std::filesystem::path json =
      {};  ///< file for the summary as JSON, "-" for standard output; empty: none
  /// Folder of the results; empty: runs/NAME with the recipe's name or, if there is one already and
  /// unless `force`, the first of runs/NAME-2, runs/NAME-3, ... that is not there.
  std::filesystem::path out = {};
  std::filesystem::path export_file = {};  ///< where the final weights go too; empty: nowhere
  bool force = false;                      ///< delete the run that the folder holds
  bool explain = false;                    ///< print how each parameter will be treated, then stop
  /// Write the norms, changes and cosines of the gradient's components into metrics.jsonl, in every
  /// sharpness.k-th step that has a perturbed gradient; see ComponentTracker.
  bool track_components = false;
  /// Go on with a run that ended early: with the one in this folder or, if it is empty, with the
  /// newest of the recipe's, or that of `out`. Without a recipe its own is used.
  std::optional<std::filesystem::path> resume = {};
  std::filesystem::path init = {};  ///< weights to start from, instead of train.init; empty: none
  /// Seconds after which the run ends as if it were interrupted; 0: never.
  double time_limit = 0;
};

/// What a run came to, and how the process should end.
struct TrainResult : RunState {
  /// 0; 1 if the run diverged or a file could not be written; 128 + n after the signal n.
  int exit_code = 0;
};

/// Trains as a recipe says; writes metrics.jsonl, recipe.toml and, at the end, model.safetensors
/// into the folder of results, and checkpoints as it says; no other file is touched. Progress and a
/// summary go to `console`. Until it returns, the first SIGINT or SIGTERM ends training after the
/// current step, with everything written and a checkpoint to go on from, and the second one kills
/// the process. A resumed run ends with the bits of one that never stopped. Throws Error for bad
/// input, before any file is touched, if the folder holds a run or is another process's, and for
/// what the system reports.
TrainResult Train(const TrainOptions& options, std::FILE* console);

/// What `kudari plan` is asked for.
struct PlanOptions {
  std::filesystem::path recipe = {};
  RecipeChanges changes = {};
  std::filesystem::path json =
      {};  ///< file for the plan as JSON, "-" for standard output; empty: none
};

/// Prints what training as a recipe says takes in memory, activations excluded, and how long a step
/// of the optimiser takes at least on this machine; see PrintPlan. Throws Error for bad input.
void PlanTraining(const PlanOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_TRAIN_H_
