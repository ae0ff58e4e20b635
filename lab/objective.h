#ifndef KUDARI_LAB_OBJECTIVE_H_
#define KUDARI_LAB_OBJECTIVE_H_

#include <torch/torch.h>

#include <optional>

#include "lab/batches.h"
#include "lab/metrics.h"
#include "lab/models.h"
#include "lab/recipe.h"

namespace kudari::lab {

enum class Loss { kCrossEntropy, kMeanSquare };

/// The loss that a recipe asks for. Throws Error where the data has no classes for cross-entropy.
Loss ChooseLoss(const TrainConfig& config, const Dataset& data);

/// The mean loss of a batch. Classes are one-hot targets for the mean square.
at::Tensor LossOf(Loss loss, const at::Tensor& output, const at::Tensor& y, double label_smoothing);

/// What a model computes in: under autocast, or in the type of its weights.
struct Compute {
  at::ScalarType weights = at::kFloat;
  std::optional<at::ScalarType> autocast = std::nullopt;
};

Compute ComputeOf(const TrainConfig& config);

/// The model's output for a batch, as float32: losses need more than 16 bits.
at::Tensor Forward(Model& model, const at::Tensor& x, const Compute& compute);

/// Mean loss and accuracy over all samples, of the model in evaluation mode; it is left in training
/// mode.
Score Evaluate(Model& model, const Samples& samples, Loss loss, const Compute& compute);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_OBJECTIVE_H_
