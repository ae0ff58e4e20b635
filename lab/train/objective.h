#ifndef KUDARI_LAB_TRAIN_OBJECTIVE_H_
#define KUDARI_LAB_TRAIN_OBJECTIVE_H_

#include <torch/torch.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/torch.h"
#include "lab/data/parts/augment.h"
#include "lab/logs/metrics.h"
#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/batches.h"

namespace kudari::lab {

using Loss = std::shared_ptr<const LossEntry>;

/// A loss by its name in recipes. Throws Error with the nearest name.
Loss LossNamed(std::string_view name);

/// The loss that a recipe asks for. Throws Error where the data has no classes and it needs them.
Loss ChooseLoss(const TrainConfig& config, const Dataset& data);

/// The mean loss of a batch: `output` is [batch, outputs] or [batch, context, outputs], and y as in
/// Batch. Classes are one-hot targets for losses that do not need them, and probabilities of
/// classes are targets for all losses.
at::Tensor LossOf(const Loss& loss, const at::Tensor& output, const at::Tensor& y,
                  double label_smoothing);

/// What a model computes in: under autocast, or in the type of its weights.
struct Compute {
  at::ScalarType weights = at::kFloat;
  std::optional<at::ScalarType> autocast = std::nullopt;
};

Compute ComputeOf(const TrainConfig& config);

/// The model's output for a batch, as float32: losses need more than 16 bits.
at::Tensor Forward(Model& model, const at::Tensor& x, const Compute& compute);

/// A pass with the loss that a model has itself, as float32; see Model::TrainingLoss.
at::Tensor OwnLoss(Model& model, const TrainingPass& pass, const Compute& compute);

/// The weights to be evaluated, in the model for as long as this lives, and running statistics of
/// batch norms that fit them: where they are not the weights that are trained, averages over the
/// full batches, 20 at most, of the first epoch in shuffled order, changed by the augmenter as they
/// are in training: what torch's update_bn gives for the training data's loader. Then both are
/// again what they were, bit for bit.
class EvaluatedWeights {
 public:
  EvaluatedWeights(kudari::torch::Optimizer& optimizer, Model& model, const Samples& training,
                   const TrainConfig& config, const Compute& compute,
                   const Augmenter& augmenter = {});
  /// The same for a model of parts with an optimiser each; `forward` passes a batch through all of
  /// it.
  EvaluatedWeights(const std::vector<kudari::torch::Optimizer*>& optimizers, Model& model,
                   const Samples& training, const TrainConfig& config,
                   const std::function<void(const Batch&)>& forward,
                   const Augmenter& augmenter = {});

 private:
  // Buffers and what they held, which they hold again at the end.
  class Kept {
   public:
    explicit Kept(Model& model);
    ~Kept();
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

   private:
    std::vector<std::pair<at::Tensor, at::Tensor>> buffers_;
  };

  Kept statistics_;
  std::deque<kudari::torch::EvaluationView> views_;
};

/// Mean loss and accuracy over all samples, of the model in evaluation mode; it is left in training
/// mode.
Score Evaluate(Model& model, const Samples& samples, const Loss& loss, const Compute& compute);

/// Adds what else a loss says of a data set: perplexity and bits per byte of a language model.
Score WithMetrics(Score score, const Loss& loss, const Dataset& data);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_OBJECTIVE_H_
