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

std::shared_ptr<Model> BuildLinear(const ModelConfig& /*config*/, const std::vector<int64_t>& shape,
                                   int64_t outputs) {
  return std::make_shared<LinearModel>(Product(shape), outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
