#ifndef KUDARI_LAB_RECIPE_CHECKPOINT_SPEC_H_
#define KUDARI_LAB_RECIPE_CHECKPOINT_SPEC_H_

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/optimizer.h"
#include "kudari/spec.h"
#include "kudari/state.h"

namespace kudari::lab {

/// The newest checkpoint of a run or of a folder of checkpoints, or the one that `place` is, as
/// LoadCheckpoint loads it.
Checkpoint CheckpointAt(const std::filesystem::path& place);

/// The node with `model` and the optimisers of a run's state: the root, or `session` in what
/// `kudari train` saves.
const StateTree& RunIn(const Checkpoint& checkpoint);

/// The parts of a run's model that have an optimiser each, as of adversarial networks, or "" where
/// one optimiser is for the whole model. Throws Error naming the checkpoint if there is none.
std::vector<std::string> PartsIn(const Checkpoint& checkpoint);

/// Throws Error naming the parts if there are several, which `what` cannot work with.
void CheckOneOptimizer(const Checkpoint& checkpoint, std::string_view what);

/// The spec in a checkpoint's manifest: its text `spec` or `recipe` or, of a part, `PART/spec`.
/// Throws Error naming the checkpoint if it has none, or one that is no recipe.
OptimizerSpec SpecOf(const Checkpoint& checkpoint, const std::string& part = "");

/// The optimiser of a checkpoint, with parameters of its own.
class RestoredOptimizer {
 public:
  /// From the nodes `model` and `optimizer` of a state or, of a part, `PART/optimizer`, whose
  /// parameters the model has under names with the part and a dot before them. Without the model's
  /// parameters, shapes are those of the optimiser's buffers, as far as they tell. Throws Error
  /// naming what is missing or does not fit.
  RestoredOptimizer(const StateTree& run, const OptimizerSpec& spec, const std::string& part = "");

  const Optimizer& optimizer() const { return *optimizer_; }

 private:
  std::vector<std::vector<std::byte>> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
};

/// How runs are saved: the arrays of `model` are files of a model.
CheckpointOptions ModelCheckpoints();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_CHECKPOINT_SPEC_H_
