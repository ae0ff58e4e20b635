#ifndef KUDARI_LAB_MEASURE_TRAINED_LOSS_H_
#define KUDARI_LAB_MEASURE_TRAINED_LOSS_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "lab/console/progress.h"
#include "lab/measure/loss_surface.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/batches.h"
#include "lab/train/problem.h"

namespace kudari::lab {

/// Says how far something is that is measured point by point: when it begins, unless it takes less
/// than a second, and then every five seconds.
class MeasureProgress {
 public:
  /// `what` as in "ascent: step".
  MeasureProgress(Progress& progress, std::string what, int64_t count);

  /// After each part of it.
  void Done();

 private:
  using Clock = std::chrono::steady_clock;

  Progress& progress_;
  std::string what_;
  int64_t count_, done_ = 0;
  bool quiet_ = true;
  Clock::time_point told_;
};

/// Throws Error unless there is such a folder.
void CheckRunFolder(const std::filesystem::path& run);

/// What a run ended in: its problem with the weights of model.safetensors, in float32, and the
/// training loss of its recipe around them.
class TrainedLoss {
 public:
  /// Takes the first `most_samples` training samples of the recipe's own split; 0, or more than
  /// all: all. Throws Error for bad input, and for a loss that is not finite.
  TrainedLoss(const std::filesystem::path& run, int64_t most_samples);

  /// The name of the run's folder.
  const std::string& name() const { return name_; }
  const LossSurface& surface() const { return surface_; }
  /// Loss and accuracy of the weights.
  const Score& score() const { return score_; }
  int64_t used() const { return samples_.size(); }
  int64_t samples() const { return problem_.training().size(); }

  /// Lines that say what is measured, and what the run's steps had that its loss here has not.
  std::string Heading() const;

 private:
  std::string LeftOut() const;

  std::string name_;
  Recipe recipe_;  // as it was trained
  Problem problem_;
  Samples samples_;
  LossSurface surface_;
  Score score_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MEASURE_TRAINED_LOSS_H_
