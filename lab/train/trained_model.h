#ifndef KUDARI_LAB_TRAIN_TRAINED_MODEL_H_
#define KUDARI_LAB_TRAIN_TRAINED_MODEL_H_

#include <filesystem>
#include <memory>

#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/data_card.h"

namespace kudari::lab {

/// What a run has trained, ready to be used. The data that it was trained on is not needed.
struct TrainedModel {
  Recipe recipe;
  DataCard card;
  std::shared_ptr<Model> model;  ///< in evaluation mode and float32, with the saved weights
};

/// Reads the folder of a run. Throws Error naming a file that is missing or damaged, and for
/// weights that do not fit the recipe.
TrainedModel LoadRun(const std::filesystem::path& run);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_TRAINED_MODEL_H_
