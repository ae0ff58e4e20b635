#ifndef KUDARI_LAB_MODELS_MODELS_H_
#define KUDARI_LAB_MODELS_MODELS_H_

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lab/models/batch.h"
#include "lab/recipe/score.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// How files that others publish name the weights of a model, where that is not as it does.
struct WeightNames {
  std::string prefix = {};  ///< what all names of a file may lack at the beginning
  std::map<std::string, std::string> endings = {};  ///< former endings of names, and their own ones
  std::map<std::string, std::string> tied = {};  ///< other names of weights, which are used twice
  std::vector<std::string> surplus = {};  ///< patterns of tensors that are none of its weights
};

/// A pass of a step over a batch, for models with a loss of their own.
struct TrainingPass {
  const Batch& batch;
  size_t part = 0;  ///< the part that is trained, by its place among ModelTraits::parts
  /// For whatever is drawn: the same in every pass of a step over the batch.
  at::Generator random = {};
};

/// A model of the lab: maps a batch of samples, [batch, shape...], to [batch, outputs] or, where
/// each token has an output, [batch, context, outputs].
class Model : public ::torch::nn::Module {
 public:
  virtual at::Tensor forward(const at::Tensor& x) = 0;

  /// The loss that training makes small, a float32 scalar, of models with ModelTraits::own_loss.
  virtual at::Tensor TrainingLoss(const TrainingPass& pass);

  /// What the model is worth on samples, of which `next` gives one batch after the other and an
  /// empty one at the end; nothing if that is the mean of the recipe's loss and the accuracy. It is
  /// called in evaluation mode and without gradients.
  virtual std::optional<Score> EvaluateOn(const std::function<Batch()>& next);

  /// The part at this place among ModelTraits::parts; the model itself if it has none.
  virtual ::torch::nn::Module& Part(size_t /*part*/) { return *this; }

  /// Number of trained values.
  int64_t ParameterCount() const;
  /// What LoadWeights needs to know to read published files.
  virtual WeightNames Names() const { return {}; }

  /// Converts the weights, but those of layer and batch norms, which stay float32: there are few of
  /// them, and torch's norms take float32 weights with inputs of any type. Running statistics stay
  /// float32, too: in 16 bits they would soon cease to move.
  void StoreWeights(at::ScalarType type);
};

/// Builds a model with fresh weights from torch's generator. Vision transformers and residual
/// networks need images, [channels, height, width], these of at least 4 by 4; language models need
/// tokens. Throws Error naming the option that does not fit the data or another option.
std::shared_ptr<Model> MakeModel(const ModelConfig& config, const DataShape& data);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_MODELS_H_
