#ifndef KUDARI_LAB_TRAIN_SAVED_WEIGHTS_H_
#define KUDARI_LAB_TRAIN_SAVED_WEIGHTS_H_

#include <filesystem>
#include <utility>

#include "lab/train/observer.h"

namespace kudari::lab {

/// Saves the weights that were tested, unless the run diverged.
class SavedWeights : public TrainObserver {
 public:
  /// `file` is in the run's folder; `export_file` is another file to write, or empty.
  explicit SavedWeights(std::filesystem::path file, std::filesystem::path export_file = {})
      : file_(std::move(file)), export_(std::move(export_file)) {}

  /// Throws Error if a file cannot be written, after trying both.
  void OnEnd(const EndEvent& event) override;

 private:
  std::filesystem::path file_, export_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SAVED_WEIGHTS_H_
