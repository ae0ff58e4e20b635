#ifndef KUDARI_LAB_TRAIN_SESSION_H_
#define KUDARI_LAB_TRAIN_SESSION_H_

#include <cstdint>
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

  kudari::torch::Optimizer& optimizer() { return *optimizer_; }
  const kudari::torch::Optimizer& optimizer() const { return *optimizer_; }
  /// Null if the loss is not scaled.
  kudari::torch::GradScaler* scaler() { return scaler_ ? &*scaler_ : nullptr; }
  Batches& batches() { return *batches_; }
  /// Index of a parameter whose learning rate is shown as that of all, if a rule has one.
  std::optional<size_t> lr_index() const { return lr_index_; }

  /// Forward and backward over the epoch's next batch, scaled, or in a perturbed pass over the
  /// batches of the step again. No samples if the epoch has no batch left.
  Evaluation NextLoss(Pass pass);

  /// Norm of the gradient that the last plain pass made, of the plain loss.
  double BatchGradientNorm() const;

  /// After every step: forgets its batches and, if the recipe's rules want it now, estimates the
  /// Hessian's diagonal.
  void EndStep(bool skipped);

  /// After every evaluation with a finite validation loss: reduces the learning rates if the recipe
  /// does so on a plateau.
  void EndEvaluation(double validation_loss);

  /// All that the next steps depend on: weights, buffers, optimiser, batches, random numbers ...
  /// between a step's end and the next one.
  void Visit(StateVisitor& visitor);

  /// Nothing unless the recipe reduces learning rates on a plateau; its value is what all of them
  /// are multiplied by.
  const std::optional<ReduceOnPlateau>& plateau() const { return plateau_; }

 private:
  void FindLearningRateShown();
  void FindEstimator();
  void EstimateHessian();
  void MakePlateau();

  std::optional<kudari::torch::Optimizer> optimizer_;
  std::optional<kudari::torch::GradScaler> scaler_;
  std::optional<Batches> batches_;
  std::optional<size_t> lr_index_;
  std::string estimator_;                   // "" if no rule uses the Hessian
  std::optional<Batches> hessian_batches_;  // apart, so that estimates cost no training data
  int64_t steps_ = 0;                       // taken, those that were skipped included
  std::vector<Batch> step_batches_;         // of the step, for perturbed passes over them
  size_t repeated_ = 0;
  std::optional<ReduceOnPlateau> plateau_;
  std::vector<Schedule>
      rates_;  // the recipe's learning rates, beside the tensors, if it reduces them
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SESSION_H_
