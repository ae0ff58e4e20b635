#ifndef KUDARI_LAB_TRAIN_PROBLEM_H_
#define KUDARI_LAB_TRAIN_PROBLEM_H_

#include <memory>

#include "kudari/schedule.h"
#include "lab/data/data.h"
#include "lab/data/parts/augment.h"
#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/batches.h"
#include "lab/train/faults.h"
#include "lab/train/objective.h"

namespace kudari::lab {

/// The number of threads for training a model with this number of parameters, unless the recipe
/// says: one where a step takes less than a few milliseconds, otherwise `all`. Threads wait for
/// each other: with other work on the machine, two of them can take eight times as long as one.
int ThreadsFor(const TrainConfig& train, int64_t parameters, int all);

/// What a recipe trains, and on what, with the recipe's faults: data, loss and model. Whatever
/// needs them, trains or only measures, makes them here.
class Problem {
 public:
  /// Loads the data and makes the model, with fresh weights or those of train.init. Sets torch's
  /// seed and number of threads. Throws Error for bad input.
  explicit Problem(Recipe recipe);
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  const Recipe& recipe() const { return recipe_; }
  const Dataset& data() const { return data_; }
  const Samples& training() const { return training_; }
  const Samples& validation() const { return validation_; }
  const Samples& test() const { return test_; }
  /// What changes the training samples while they are trained on; nothing that measures uses it.
  const Augmenter& augmenter() const { return augmenter_; }
  const Loss& loss() const { return loss_; }
  const Compute& compute() const { return compute_; }
  const ModelTraits& traits() const { return traits_; }
  Model& model() { return *model_; }
  const Model& model() const { return *model_; }

  /// The run that the recipe asks for: its optimiser steps, and those of an epoch.
  RunLength length() const;

  /// Does to the gradients what the recipe's faults say; for after each backward pass.
  void SpoilGradients() { faults_.Apply(); }

 private:
  Recipe recipe_;
  Dataset data_;
  Samples training_, validation_, test_;  // views of the data
  Augmenter augmenter_;
  Loss loss_;
  Compute compute_;
  ModelTraits traits_;
  std::shared_ptr<Model> model_;
  GradientFaults faults_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_PROBLEM_H_
