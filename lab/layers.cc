#include "lab/layers.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace kudari::lab {
namespace {

// Of norms that are not finite: null.
nlohmann::ordered_json Number(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json();
}

double Norm(const at::Tensor& x) { return at::linalg_vector_norm(x.to(at::kFloat)).item<double>(); }

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

std::string LayerNorms::Json(double loss_scale) {
  nlohmann::ordered_json json;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, weights] = parameters_[i];
    const at::Tensor& gradient = weights.grad();
    nlohmann::ordered_json& norms = json[name];
    norms["grad"] = gradient.defined() ? Number(Norm(gradient) / loss_scale) : nullptr;
    norms["weight"] = Number(Norm(before_[i]));
    norms["update"] = Number(Norm(weights.detach().sub(before_[i])));
  }
  before_.clear();
  return json.dump();
}

}  // namespace kudari::lab
