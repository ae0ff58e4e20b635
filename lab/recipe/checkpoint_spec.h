#ifndef KUDARI_LAB_RECIPE_CHECKPOINT_SPEC_H_
#define KUDARI_LAB_RECIPE_CHECKPOINT_SPEC_H_

#include <filesystem>
#include <memory>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/optimizer.h"
#include "kudari/spec.h"
#include "kudari/state.h"

namespace kudari::lab {

/// The newest checkpoint of a run or of a folder of checkpoints, or the one that `place` is, as
/// LoadCheckpoint loads it.
Checkpoint CheckpointAt(const std::filesystem::path& place);

/// The node with `model` and `optimizer` of a run's state: the root, or `session` in what
/// `kudari train` saves. Throws Error if there is no optimizer, or several.
const StateTree& RunIn(const Checkpoint& checkpoint);

/// The spec in a checkpoint's manifest: its text `spec` or `recipe`. Throws Error naming the
/// checkpoint if it has neither, or one that is no recipe.
OptimizerSpec SpecOf(const Checkpoint& checkpoint);

/// The optimiser of a checkpoint, with parameters of its own.
class RestoredOptimizer {
 public:
  /// From the nodes `model` and `optimizer` of a state. Without the model's parameters, shapes are
  /// those of the optimiser's buffers, as far as they tell. Throws Error naming what is missing or
  /// does not fit.
  RestoredOptimizer(const StateTree& state, const OptimizerSpec& spec);

  const Optimizer& optimizer() const { return *optimizer_; }

 private:
  std::vector<std::vector<std::byte>> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
};

/// How runs are saved: the arrays of `model` are files of a model.
CheckpointOptions ModelCheckpoints();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_CHECKPOINT_SPEC_H_
