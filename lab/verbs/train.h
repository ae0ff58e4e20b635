#ifndef KUDARI_LAB_VERBS_TRAIN_H_
#define KUDARI_LAB_VERBS_TRAIN_H_

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/train/observer.h"

namespace kudari::lab {

/// What `kudari train` is asked for.
struct TrainOptions {
  std::filesystem::path recipe = {};
  std::vector<std::string> sets = {};      ///< changes to the recipe, "key=value"
  std::filesystem::path out = {};          ///< folder of the results; empty: runs/<recipe's name>
  std::filesystem::path export_file = {};  ///< where the final weights go too; empty: nowhere
  bool explain = false;                    ///< print how each parameter will be treated, then stop
  /// Write the norms, changes and cosines of the gradient's components into metrics.jsonl, in every
  /// sharpness.k-th step that has a perturbed gradient; see ComponentTracker.
  bool track_components = false;
};

/// Trains as a recipe says; writes metrics.jsonl, recipe.toml and, at the end, model.safetensors
/// into the folder of results, where no other file is touched. Progress and a summary go to
/// `console`. Until it returns, the first SIGINT ends training after the current step, with
/// everything written, and the second one kills the process. Returns what the run came to.
/// Throws Error for bad input, before any file is touched, and for what the system reports.
RunState Train(const TrainOptions& options, std::FILE* console);

/// What `kudari plan` is asked for.
struct PlanOptions {
  std::filesystem::path recipe = {};
  std::vector<std::string> sets = {};  ///< changes to the recipe, "key=value"
};

/// Prints what training as a recipe says takes in memory, activations excluded, and how long a step
/// of the optimiser takes at least on this machine; see PrintPlan. Throws Error for bad input.
void PlanTraining(const PlanOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_TRAIN_H_
