#ifndef KUDARI_LAB_TRAIN_SESSION_H_
#define KUDARI_LAB_TRAIN_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kudari/controllers.h"
#include "kudari/schedule.h"
#include "kudari/state.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/batches.h"
#include "lab/train/problem.h"

namespace kudari::lab {

/// A problem ready for the first step: with optimiser, loss scaling and batches, and the oracle of
/// a step.
class Session : public Problem {
 public:
  /// Makes the problem; see there. The optimiser's schedules are resolved for length(); the recipe
  /// keeps their text. The optimiser reports the gradient's norm, whether the recipe
  /// asks for it or not. Throws Error for bad input.
  explicit Session(Recipe recipe);

  /// What one optimiser trains.
  struct Part {
    std::string name;  ///< "" for the whole model
    std::unique_ptr<kudari::torch::Optimizer> optimizer;
    std::optional<kudari::torch::GradScaler> scaler;  ///< if the loss is scaled
    /// Index of a parameter whose learning rate is shown as that of all, if a rule has one.
    std::optional<size_t> lr_index;
  };

  /// The whole model, or its parts in the order in which they are stepped.
  std::vector<Part>& parts() { return parts_; }
  const std::vector<Part>& parts() const { return parts_; }
  /// Of the whole model, or of its first part.
  kudari::torch::Optimizer& optimizer() { return *parts_.front().optimizer; }
  const kudari::torch::Optimizer& optimizer() const { return *parts_.front().optimizer; }
  /// Null if the loss is not scaled.
  kudari::torch::GradScaler* scaler() {
    return parts_.front().scaler ? &*parts_.front().scaler : nullptr;
  }
  Batches& batches() { return *batches_; }

  /// Forward and backward over the epoch's next batch, scaled, or over the batches of the step
  /// again: in a perturbed pass, and for the parts after the first. No samples if there is no batch
  /// left.
  Evaluation NextLoss(Pass pass, size_t part = 0);

  /// Passes a batch through the model, through all of its parts, and makes no gradients.
  void ForwardOnly(const Batch& batch);

  /// Norm of the gradient that the last plain pass made, of the plain loss.
  double BatchGradientNorm() const;

  /// After every step: forgets its batches and, if the recipe's rules want it now, estimates the
  /// Hessian's diagonal.
  void EndStep(bool skipped);

  /// After every evaluation with a finite value of train.monitor, the lower the better: reduces the
  /// learning rates if the recipe does so on a plateau.
  void EndEvaluation(double monitored);

  /// All that the next steps depend on: weights, buffers, optimiser, batches, random numbers ...
  /// between a step's end and the next one.
  void Visit(StateVisitor& visitor);

  /// Nothing unless the recipe reduces learning rates on a plateau; its value is what all of them
  /// are multiplied by.
  const std::optional<ReduceOnPlateau>& plateau() const { return plateau_; }

 private:
  static std::optional<size_t> FindLearningRateShown(const kudari::torch::Optimizer& optimizer);
  at::Tensor MeanLoss(const Batch& batch, size_t part);
  void FindEstimator();
  void EstimateHessian();
  void MakePlateau();

  std::vector<Part> parts_;
  std::optional<Batches> batches_;
  std::string estimator_;                   // "" if no rule uses the Hessian
  std::optional<Batches> hessian_batches_;  // apart, so that estimates cost no training data
  int64_t steps_ = 0;                       // taken, those that were skipped included
  std::vector<Batch> step_batches_;         // of the step, for perturbed passes over them
  // Where the present round over them is, and what the last pass was.
  size_t next_ = 0, last_part_ = 0;
  Pass last_pass_ = Pass::kPlain;
  std::optional<ReduceOnPlateau> plateau_;
  // The recipe's learning rates, if it reduces them.
  struct Rate {
    kudari::Optimizer* core;
    size_t tensor;
    Schedule lr;
  };
  std::vector<Rate> rates_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SESSION_H_
