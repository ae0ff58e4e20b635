#include "lab/train/layer_norms.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lab/train/session.h"

namespace kudari::lab {
namespace {

double NormInFloat(const at::Tensor& x) {
  return at::linalg_vector_norm(x.to(at::kFloat)).item<double>();
}

// All names of the tensors that were frozen in the last step.
std::set<std::string> FrozenNames(const kudari::Optimizer& core) {
  std::set<std::string> names;
  const std::vector<TensorPlan> plan = core.Plan();
  const int64_t step = core.steps() - 1;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (step >= plan[i].frozen_until && step < plan[i].frozen_from) continue;
    const kudari::Tensor& tensor = core.tensors()[i];
    names.insert(tensor.name);
    names.insert(tensor.aliases.begin(), tensor.aliases.end());
  }
  return names;
}

}  // namespace

void LayerNorms::OnStart(const StartEvent& event) {
  const Recipe& recipe = event.session.recipe();
  every_ = recipe.train.layers_every;
  accumulates_ = recipe.optimizer.accumulate > 1;
  parameters_.clear();
  for (const auto& item : event.session.model().named_parameters()) {
    parameters_.emplace_back(item.key(), item.value());
  }
  KeepWeights(event.run.steps + 1);
}

void LayerNorms::OnGradient(const GradientEvent& event) {
  StepRecord& record = event.record;
  if (!accumulates_ || record.gradients != 1 || !Measures(record.step)) return;
  record.micro_grad_norm = event.session.BatchGradientNorm();
}

void LayerNorms::OnStep(const StepEvent& event) {
  const Report& report = event.report;
  const std::set<std::string> frozen =
      before_.empty() ? std::set<std::string>() : FrozenNames(event.session.optimizer().core());
  for (size_t i = 0; i < before_.size(); ++i) {
    const auto& [name, weights] = parameters_[i];
    const at::Tensor& gradient = weights.grad();
    event.record.layers.push_back(
        {.name = name,
         .grad = gradient.defined() ? NormInFloat(gradient) / report.loss_scale : kNotMeasured,
         .weight = NormInFloat(before_[i]),
         .update =
             frozen.contains(name) ? kNotMeasured : NormInFloat(weights.detach().sub(before_[i]))});
    LayerLog& norms = event.record.layers.back();
    for (const Trust& t : report.trust) {
      if (t.tensor != name) continue;
      norms.trust = t.ratio;
      norms.pinned = t.pinned;
    }
  }
  KeepWeights(event.record.step + 1);
}

void LayerNorms::KeepWeights(int64_t next_step) {
  before_.clear();
  if (!Measures(next_step)) return;
  for (const auto& [name, weights] : parameters_) before_.push_back(weights.detach().clone());
}

}  // namespace kudari::lab
