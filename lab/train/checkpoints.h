#ifndef KUDARI_LAB_TRAIN_CHECKPOINTS_H_
#define KUDARI_LAB_TRAIN_CHECKPOINTS_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "kudari/checkpoint.h"
#include "lab/train/metrics_log.h"
#include "lab/train/trainer.h"

namespace kudari::lab {

/// Saves the checkpoints of a run as its recipe says, in a thread beside training.
class Checkpoints {
 public:
  /// Into the folder that CheckpointsOf names. `warn` is called with the reason when a save has
  /// failed; training goes on, and the next save is made when it is due. Trainer and log must
  /// outlive this.
  Checkpoints(Trainer& trainer, MetricsLog& metrics, std::filesystem::path folder,
              std::function<void(const std::string&)> warn);

  /// To be called after each step and its evaluation: begins a save if one is due.
  void AfterStep();
  /// Saves the present state, unless the last save was of the same step, and waits. Returns whether
  /// the state is saved.
  bool SaveNow();
  /// Waits; a run that has reached its end is saved if there are earlier checkpoints of it.
  void Finish();
  /// Whether the last attempt to save failed.
  bool failed() const { return failed_; }

 private:
  using Clock = std::chrono::steady_clock;

  bool Due() const;
  bool IsBest() const;
  bool Begin();
  void Watch(const std::function<std::optional<std::filesystem::path>()>& outcome);

  Trainer& trainer_;
  MetricsLog& metrics_;
  std::function<void(const std::string&)> warn_;
  SaveEvery every_;
  std::filesystem::path folder_;
  CheckpointSaver saver_;
  Clock::time_point began_;  // of the last save or, before the first, of the run
  int64_t begun_step_;       // the step that the last save is of; -1: none
  bool failed_ = false;
};

/// Puts a checkpoint into a new trainer of its recipe or of one with harmless changes, with all
/// observers that the run is to have; an observer without a state there starts fresh. Throws Error,
/// naming the first difference, if the state is not of such a trainer.
void LoadRun(Trainer& trainer, const Checkpoint& checkpoint);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_CHECKPOINTS_H_
