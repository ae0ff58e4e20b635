// One linear layer.
#include "lab/recipe/lab_registry.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#endif

namespace kudari::lab {

ModelEntry DescribeLinear() { return {.name = "linear", .doc = "one linear layer"}; }

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

class LinearModel : public Model {
 public:
  LinearModel(int64_t in, int64_t out) { head_ = register_module("head", MakeHead(in, out)); }

  Tensor forward(const Tensor& x) override { return head_(x.flatten(1)); }

 private:
  nn::Linear head_{nullptr};
};

}  // namespace

std::shared_ptr<Model> BuildLinear(const ModelConfig& /*config*/, const DataShape& data) {
  const int64_t inputs = Product(data.sample);
  CheckParameters(static_cast<double>(inputs) * static_cast<double>(data.outputs));
  return std::make_shared<LinearModel>(inputs, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
