#ifndef KUDARI_LAB_TRAIN_SAVED_WEIGHTS_H_
#define KUDARI_LAB_TRAIN_SAVED_WEIGHTS_H_

#include <filesystem>
#include <utility>
#include <vector>

#include "lab/train/observer.h"

namespace kudari::lab {

/// Saves the final weights, those that were tested, unless the run diverged.
class SavedWeights : public TrainObserver {
 public:
  explicit SavedWeights(std::vector<std::filesystem::path> files) : files_(std::move(files)) {}

  /// Throws Error if a file cannot be written.
  void OnEnd(const EndEvent& event) override;

 private:
  std::vector<std::filesystem::path> files_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SAVED_WEIGHTS_H_
