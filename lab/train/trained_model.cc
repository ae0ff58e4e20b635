#include "lab/train/trained_model.h"

#include <fmt/format.h>

#include <system_error>

#include "kudari/error.h"
#include "lab/train/weights.h"

namespace kudari::lab {

TrainedModel LoadRun(const std::filesystem::path& run) {
  Recipe recipe = ReadTrainRecipe(run / "recipe.toml");
  const std::filesystem::path weights = run / "model.safetensors";
  std::error_code ignored;
  if (!std::filesystem::exists(weights, ignored)) {
    throw Error(fmt::format(
        "{}: has no weights, model.safetensors: the run has not ended yet, or it diverged",
        run.string()));
  }
  DataCard card = ReadCard(weights);
  std::shared_ptr<Model> model = MakeModel(recipe.model, card.shape);
  LoadWeights(*model, weights);
  model->eval();
  return {std::move(recipe), std::move(card), std::move(model)};
}

}  // namespace kudari::lab
