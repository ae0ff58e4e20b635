#ifndef KUDARI_LAB_TRAIN_TRAJECTORY_H_
#define KUDARI_LAB_TRAIN_TRAJECTORY_H_

#include <cstdint>
#include <filesystem>
#include <vector>

#include "lab/train/observer.h"

namespace kudari::lab {

/// Keeps the weights that a run comes by, for `kudari landscape RUN`: copies before the first step
/// and after every train.trajectory_every-th, each a file as SaveWeights writes it. Averages of
/// weights are not among them.
class Trajectory : public TrainObserver {
 public:
  /// `folder` is in the run's folder. It is made with the first copy.
  explicit Trajectory(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Both throw Error if a copy cannot be written.
  void OnStart(const StartEvent& event) override;
  void OnStep(const StepEvent& event) override;

 private:
  void Keep(const Session& session, int64_t step) const;

  std::filesystem::path folder_;
  int64_t every_ = 0;
};

/// Throws Error if a run of that many steps would keep more than 1,000 copies.
void CheckTrajectory(int64_t every, int64_t planned_steps);

/// A copy of a run's weights after that many steps.
struct WeightCopy {
  int64_t step = 0;
  std::filesystem::path file;
};

/// The copies in a folder that a Trajectory wrote, by step; none if there is no such folder.
std::vector<WeightCopy> WeightCopies(const std::filesystem::path& folder);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_TRAJECTORY_H_
