#ifndef KUDARI_LAB_TRAIN_SESSION_H_
#define KUDARI_LAB_TRAIN_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "lab/data/data.h"
#include "lab/models/models.h"
#include "lab/recipe/recipe.h"
#include "lab/train/batches.h"
#include "lab/train/faults.h"
#include "lab/train/objective.h"

namespace kudari::lab {

/// What a recipe trains, ready for the first step: data, model, optimiser, loss scaling and
/// batches, and the oracle of a step.
class Session {
 public:
  /// Loads the data and makes the model. Sets torch's seed and number of threads. The optimiser
  /// reports the gradient's norm, whether the recipe asks for it or not. Throws Error for bad
  /// input.
  explicit Session(Recipe recipe);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Recipe& recipe() const { return recipe_; }
  const Dataset& data() const { return data_; }
  const Samples& training() const { return training_; }
  const Samples& validation() const { return validation_; }
  const Samples& test() const { return test_; }
  Loss loss() const { return loss_; }
  const Compute& compute() const { return compute_; }
  Model& model() { return *model_; }
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

 private:
  void FindLearningRateShown();
  void FindEstimator();
  void EstimateHessian();

  Recipe recipe_;
  Dataset data_;
  Samples training_, validation_, test_;
  Loss loss_;
  Compute compute_;
  std::shared_ptr<Model> model_;
  std::optional<kudari::torch::Optimizer> optimizer_;
  std::optional<kudari::torch::GradScaler> scaler_;
  std::optional<GradientFaults> faults_;
  std::optional<Batches> batches_;
  std::optional<size_t> lr_index_;
  std::string estimator_;                   // "" if no rule uses the Hessian
  std::optional<Batches> hessian_batches_;  // apart, so that estimates cost no training data
  int64_t steps_ = 0;                       // taken, those that were skipped included
  std::vector<Samples> step_batches_;       // of the step, for perturbed passes over them
  size_t repeated_ = 0;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SESSION_H_
