#include "lab/models/models.h"

#include <fmt/format.h>

#include <string_view>

#include "kudari/error.h"

namespace kudari::lab {

namespace nn = ::torch::nn;
using ::at::Tensor;

int64_t Model::ParameterCount() const {
  int64_t count = 0;
  for (const Tensor& p : parameters()) count += p.numel();
  return count;
}

void Model::StoreWeights(at::ScalarType type) {
  for (const auto& module : modules()) {
    if (module->as<nn::LayerNorm>() != nullptr || module->as<nn::BatchNorm1d>() != nullptr ||
        module->as<nn::BatchNorm2d>() != nullptr) {
      continue;
    }
    for (Tensor& p : module->parameters(false)) p.set_data(p.to(type));
  }
}

Tensor Model::TrainingLoss(const TrainingPass& /*pass*/) {
  throw Error("this model has no loss of its own");
}

std::optional<Score> Model::EvaluateOn(const std::function<Batch()>& /*next*/) {
  return std::nullopt;
}

std::shared_ptr<Model> MakeModel(const ModelConfig& config, const DataShape& data) {
  const ModelTraits traits = TraitsOf(config);
  const auto fail = [&config](std::string_view needed, std::string_view given) {
    throw Error(fmt::format("model.name = \"{}\" needs {}; the data set has {}", config.name(),
                            needed, given));
  };
  if (traits.tokens != (data.vocabulary > 0)) {
    fail(traits.tokens ? "tokens" : "numbers", traits.tokens ? "numbers" : "tokens");
  }
  if (traits.next_token != data.next_token) {
    fail(traits.next_token ? "a text whose next tokens are to be predicted"
                           : "a class or value for each sample",
         traits.next_token ? "a class or value for each sample" : "next tokens to be predicted");
  }
  if (traits.boxes != (data.boxes > 0)) {
    fail(traits.boxes ? "boxes in images" : "a class or value for each sample",
         traits.boxes ? "none" : "boxes");
  }
  if (traits.acts != data.acts) {
    fail(traits.acts ? "an environment to act in" : "samples",
         traits.acts ? "samples" : "an environment");
  }
  return config.entry->build(config, data);
}

}  // namespace kudari::lab
