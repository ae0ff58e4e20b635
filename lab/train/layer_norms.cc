#include "lab/train/layer_norms.h"

namespace kudari::lab {
namespace {

double NormInFloat(const at::Tensor& x) {
  return at::linalg_vector_norm(x.to(at::kFloat)).item<double>();
}

}  // namespace

LayerNorms::LayerNorms(const ::torch::nn::Module& model) {
  for (const auto& item : model.named_parameters()) {
    parameters_.emplace_back(item.key(), item.value());
  }
}

void LayerNorms::Before() {
  before_.clear();
  for (const auto& [name, weights] : parameters_) before_.push_back(weights.detach().clone());
}

std::vector<LayerLog> LayerNorms::After(const Report& report) {
  std::vector<LayerLog> norms;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, weights] = parameters_[i];
    const at::Tensor& gradient = weights.grad();
    norms.push_back(
        {.name = name,
         .grad = gradient.defined() ? NormInFloat(gradient) / report.loss_scale : kNotMeasured,
         .weight = NormInFloat(before_[i]),
         .update = NormInFloat(weights.detach().sub(before_[i]))});
    for (const Trust& t : report.trust) {
      if (t.tensor != name) continue;
      norms.back().trust = t.ratio;
      norms.back().pinned = t.pinned;
    }
  }
  before_.clear();
  return norms;
}

}  // namespace kudari::lab
