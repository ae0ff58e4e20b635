#ifndef KUDARI_LAB_TRAIN_TRAINER_H_
#define KUDARI_LAB_TRAIN_TRAINER_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/logs/metrics.h"

namespace kudari::lab {

/// What `kudari train` is asked for.
struct TrainOptions {
  std::filesystem::path recipe;
  std::vector<std::string> sets;      ///< changes to the recipe, "key=value"
  std::filesystem::path out;          ///< folder of the results; empty: runs/<name of the recipe>
  std::filesystem::path export_file;  ///< where the final weights go too; empty: nowhere
  bool explain = false;               ///< print how each parameter will be treated, then stop
  /// Write the norms, changes and cosines of the gradient's components into metrics.jsonl, in every
  /// sharpness.k-th step that has a perturbed gradient; see ComponentTracker.
  bool track_components = false;
};

/// What a run came to.
struct TrainResult {
  int64_t steps = 0;
  int64_t skipped = 0;     ///< of them, because the gradient was not finite
  int64_t gradients = 0;   ///< forward and backward calls, those of accumulation included
  Score validation, test;  ///< of the final weights, averaged if the recipe says so; NaN without
                           ///< data or if not evaluated
  double best_val_accuracy = 0;  ///< of all evaluations; NaN if there was none
  std::string stopped;           ///< why, in words
  bool diverged = false;         ///< the loss ceased to be finite: no weights were written
};

/// Trains as a recipe says; writes metrics.jsonl, recipe.toml and, at the end, model.safetensors
/// into the folder of results, where no other file is touched. Progress and a summary go to
/// `console`. Until it returns, the first SIGINT ends training after the current step, with
/// everything written, and the second one kills the process.
/// Throws Error for bad input, before any file is touched, and for what the system reports.
TrainResult Train(const TrainOptions& options, std::FILE* console);

/// Prints what training as a recipe says takes in memory, activations excluded, and how long a step
/// of the optimiser takes at least on this machine; see PrintPlan. Of the options only the recipe
/// and its changes matter; no file is touched. Throws Error for bad input.
void PlanTraining(const TrainOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_TRAINER_H_
