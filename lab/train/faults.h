#ifndef KUDARI_LAB_TRAIN_FAULTS_H_
#define KUDARI_LAB_TRAIN_FAULTS_H_

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "lab/data/data.h"
#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// The data that a recipe is trained on, its faults included. Throws Error as LoadData and
/// SpoilData, and if there are no training samples.
Dataset LoadTrainingData(const Recipe& recipe);

/// Spoils the stretch of training samples that the faults name; labels are drawn with `seed`.
/// Throws Error where labels are to be spoiled and there are none.
void SpoilData(const FaultConfig& faults, uint64_t seed, Dataset& data);

/// Scales the initial weights of all matrices and filters but the last.
void SpoilWeights(const FaultConfig& faults, Model& model);

/// Takes gradients away, or makes them zero, after each backward pass.
class GradientFaults {
 public:
  /// Throws Error naming the key if a glob matches no parameter.
  GradientFaults(const FaultConfig& faults, const Model& model);

  void Apply();

 private:
  std::vector<at::Tensor> missing_, zero_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_FAULTS_H_
