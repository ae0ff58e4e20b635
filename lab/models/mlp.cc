// Hidden layers with GELU.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#endif

namespace kudari::lab {
namespace {

struct MlpOptions {
  std::vector<int64_t> hidden = {128};
  bool batch_norm = false;
  double dropout = 0;
};

const internal::OptionTable<MlpOptions>& MlpTable() {
  using O = MlpOptions;
  static const internal::OptionTable<O> table = {
      {.name = "hidden",
       .member = &O::hidden,
       .least = 1,
       .most = 1'000'000,
       .doc = "width of each hidden layer"},
      {.name = "norm",
       .member = internal::WordOf<&O::batch_norm>(),
       .choices = {"none", "batch"},
       .doc = "normalisation between a hidden layer and its GELU"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an activation is dropped in training"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeMlp() {
  return {.name = "mlp",
          .doc = "perceptron with GELU hidden layers",
          .options = MakeOwnOptions(MlpOptions(), MlpTable()),
          .traits = [](const ModelConfig& config) {
            const auto& o = ValuesOf<MlpOptions>(config.options);
            return ModelTraits{.batch_norm = o.batch_norm, .dropout = o.dropout > 0};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

class Mlp : public Model {
 public:
  Mlp(const MlpOptions& config, int64_t in, int64_t out) : dropout_(config.dropout) {
    for (const int64_t width : config.hidden) {
      layers_.emplace_back(
          register_module(fmt::format("layer{}", layers_.size()), MakeLinear(in, width)));
      if (config.batch_norm) {
        norms_.emplace_back(
            register_module(fmt::format("bn{}", norms_.size()), nn::BatchNorm1d(width)));
      }
      in = width;
    }
    head_ = register_module("head", MakeHead(in, out));
  }

  Tensor forward(const Tensor& x) override {
    if (!norms_.empty()) CheckBatch(is_training(), x);
    Tensor y = x.flatten(1);
    for (size_t i = 0; i < layers_.size(); ++i) {
      y = layers_[i](y);
      if (!norms_.empty()) y = norms_[i](y);
      y = ::torch::dropout(::torch::gelu(y), dropout_, is_training());
    }
    return head_(y);
  }

 private:
  double dropout_;
  std::vector<nn::Linear> layers_;
  std::vector<nn::BatchNorm1d> norms_;  // one a layer, or none
  nn::Linear head_{nullptr};
};

void CheckMlp(const MlpOptions& config, int64_t in, int64_t out) {
  constexpr size_t kMostLayers = 1000;
  if (config.hidden.size() > kMostLayers) {
    throw Error(fmt::format("model.hidden has {} layers, which is outside [0, {}]",
                            config.hidden.size(), kMostLayers));
  }
  double parameters = 0;
  for (const int64_t width : config.hidden) {
    parameters += static_cast<double>(in) * static_cast<double>(width);
    in = width;
  }
  CheckParameters(parameters + static_cast<double>(in) * static_cast<double>(out));
}

}  // namespace

std::shared_ptr<Model> BuildMlp(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<MlpOptions>(config.options);
  const int64_t inputs = Product(data.sample);
  CheckMlp(options, inputs, data.outputs);
  return std::make_shared<Mlp>(options, inputs, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
