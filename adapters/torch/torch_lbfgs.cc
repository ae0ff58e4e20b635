#include "kudari/torch_lbfgs.h"

#include <ATen/autocast_mode.h>

#include <string>
#include <utility>

#include "kudari/error.h"
#include "parameters.h"

namespace kudari::torch {
namespace {

// Throws Error unless the core can read and write the parameter where it lies.
void CheckFloat32InOrder(const at::Tensor& p, const std::string& name) {
  CheckParameter(p, name);
  CheckTensor(p, "parameter", name, {DType::kFloat32});
  if (p.is_contiguous()) return;
  throw Error(c10::str("parameter \"", name, "\" is not contiguous, with strides ", p.strides(),
                       "; L-BFGS steps contiguous ones alone"));
}

}  // namespace

Lbfgs::Lbfgs(const LbfgsOptions& options, ParameterSet parameters)
    : parameters_(std::move(parameters.held)),
      memory_(parameters_.size()),
      gradients_(parameters_.size()),
      core_(std::move(parameters.tensors), options) {
  for (const auto& [name, p] : parameters_) CheckFloat32InOrder(p, name);
}

Lbfgs::Lbfgs(const ::torch::nn::Module& module, const LbfgsOptions& options)
    : Lbfgs(options, ParametersOf(NamedModules{{"", module}})) {}

Lbfgs::Lbfgs(const NamedParameters& parameters, const LbfgsOptions& options)
    : Lbfgs(options, ParametersOf(parameters)) {}

LbfgsReport Lbfgs::Step(const std::function<at::Tensor()>& closure) {
  BindParameters();
  const auto evaluate = [&]() -> double {
    const at::AutoGradMode enabled(true);
    NoteWritten();  // by the move before
    for (auto& [name, p] : parameters_) p.mutable_grad().reset();
    const auto loss = closure().item<double>();
    CheckInPlace();
    BindGradients();
    return loss;
  };
  try {
    const LbfgsReport report = core_.Step(evaluate);
    ReleaseGradients();
    NoteWritten();
    return report;
  } catch (...) {
    ReleaseGradients();
    NoteWritten();
    throw;
  }
}

void Lbfgs::BindParameters() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    CheckFloat32InOrder(p, name);
    if (p.sizes() == at::IntArrayRef(core_.tensors()[i].shape)) continue;
    throw Error(c10::str("parameter \"", name, "\" now has the shape ", p.sizes(),
                         "; the optimizer was made for ",
                         at::IntArrayRef(core_.tensors()[i].shape)));
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    memory_[i] = parameters_[i].second.storage();
    core_.tensors()[i].param = parameters_[i].second.data_ptr();
  }
}

void Lbfgs::CheckInPlace() const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    if (p.defined() && p.has_storage() && p.data_ptr() == core_.tensors()[i].param) continue;
    throw Error("parameter \"" + name +
                "\" was given new memory in a closure; replace it between steps");
  }
}

void Lbfgs::BindGradients() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    const at::Tensor& g = p.grad();
    core_.tensors()[i].grad = nullptr;
    if (!g.defined()) continue;
    CheckTensor(g, "the gradient of parameter", name, {DType::kFloat32});
    if (g.sizes() != p.sizes()) {
      throw Error(c10::str("the gradient of parameter \"", name, "\" has the shape ", g.sizes(),
                           ", the parameter's is ", p.sizes()));
    }
    gradients_[i] = InMemory(g);
    core_.tensors()[i].grad = gradients_[i].const_data_ptr();
  }
}

void Lbfgs::ReleaseGradients() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    core_.tensors()[i].grad = nullptr;
    gradients_[i].reset();
  }
}

void Lbfgs::NoteWritten() const {
  for (const auto& [name, p] : parameters_) BumpVersion(p);
  at::autocast::clear_cache();
}

}  // namespace kudari::torch
