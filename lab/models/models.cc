#include "lab/models/models.h"

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

std::shared_ptr<Model> MakeModel(const ModelConfig& config, const std::vector<int64_t>& shape,
                                 int64_t outputs) {
  return config.entry->build(config, shape, outputs);
}

}  // namespace kudari::lab
