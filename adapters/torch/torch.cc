#include "kudari/torch.h"

#include <ATen/autocast_mode.h>

#include <algorithm>

#include "keep.h"
#include "kudari/error.h"

namespace kudari::torch {
namespace {

using Types = std::vector<DType>;

at::ScalarType TypeOf(DType dtype) {
  if (dtype == DType::kFloat32) return at::kFloat;
  return dtype == DType::kBFloat16 ? at::kBFloat16 : at::kHalf;
}

/// The storage type of `t`; throws unless that is one of `types` and the engine can read `t` as it
/// lies in memory.
DType CheckTensor(const at::Tensor& t, const std::string& what, const Types& types,
                  bool contiguous) {
  const auto fail = [&](const std::string& is) {
    std::string names;
    for (const DType type : types) names += (names.empty() ? "" : " or ") + std::string(Name(type));
    throw Error(what + " is " + is + "; it must be a dense, contiguous " + names +
                " tensor on the CPU");
  };
  if (!t.defined()) fail("undefined");
  if (t.layout() != at::kStrided) fail(std::string("of layout ") + c10::str(t.layout()));
  if (!t.device().is_cpu()) fail("on device " + t.device().str());
  const auto type = std::find_if(types.begin(), types.end(),
                                 [&t](DType d) { return TypeOf(d) == t.scalar_type(); });
  if (type == types.end()) fail(std::string("of type ") + at::toString(t.scalar_type()));
  if (contiguous && !t.is_contiguous())
    fail("not contiguous, with strides " + c10::str(t.strides()));
  return *type;
}

DType CheckParameter(const at::Tensor& p, const std::string& name) {
  return CheckTensor(p, "parameter \"" + name + "\"",
                     {DType::kFloat32, DType::kBFloat16, DType::kFloat16}, true);
}

NamedParameters NamedOf(const ::torch::nn::Module& module) {
  NamedParameters named;
  for (const auto& item : module.named_parameters()) named.emplace_back(item.key(), item.value());
  return named;
}

std::vector<Tensor> TensorsOf(const NamedParameters& parameters) {
  std::vector<Tensor> tensors;
  for (const auto& [name, p] : parameters) {
    const DType dtype = CheckParameter(p, name);
    tensors.push_back(
        {.name = name, .shape = p.sizes().vec(), .dtype = dtype, .param = p.data_ptr()});
  }
  return tensors;
}

}  // namespace

Optimizer::Optimizer(const ::torch::nn::Module& module, const OptimizerSpec& spec,
                     const Registry& registry)
    : Optimizer(NamedOf(module), spec, registry) {
  buffers_ = module.buffers();
}

Optimizer::Optimizer(NamedParameters parameters, const OptimizerSpec& spec,
                     const Registry& registry)
    : parameters_(std::move(parameters)),
      copies_(parameters_.size()),
      engine_(TensorsOf(parameters_), spec, registry) {}

// The storage may have been replaced since the last step: set_data, or a move to and fro.
void Optimizer::BindParameters() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    Tensor& t = engine_.tensors()[i];
    if (CheckParameter(p, name) != t.dtype) {
      throw Error("parameter \"" + name + "\" has become " + at::toString(p.scalar_type()) +
                  "; the optimizer was made for " + std::string(Name(t.dtype)));
    }
    t.param = p.data_ptr();
  }
}

void Optimizer::BindGradient(size_t index) {
  const auto& [name, p] = parameters_[index];
  Tensor& t = engine_.tensors()[index];
  t.grad = nullptr;
  const at::Tensor& g = p.grad();
  if (!g.defined()) return;
  Types types = {t.dtype};
  if (t.dtype != DType::kFloat32) types.push_back(DType::kFloat32);
  t.grad_dtype = CheckTensor(g, "the gradient of parameter \"" + name + "\"", types, false);
  copies_[index] = g.contiguous();  // the same tensor, unless its strides are unusual
  t.grad = copies_[index].data_ptr();
}

void Optimizer::BindGradients() {
  BindParameters();
  for (size_t i = 0; i < parameters_.size(); ++i) BindGradient(i);
}

void Optimizer::DropGradient(size_t index) {
  copies_[index].reset();
  engine_.tensors()[index].grad = nullptr;
  parameters_[index].second.mutable_grad().reset();
}

void Optimizer::ReleaseGradients() { std::fill(copies_.begin(), copies_.end(), at::Tensor()); }

Report Optimizer::StepWith(kudari::GradScaler* scaler) {
  BindGradients();
  const Report report = scaler != nullptr ? scaler->Step(engine_) : engine_.Step();
  ReleaseGradients();
  return report;
}

Report Optimizer::StepWith(kudari::GradScaler* scaler,
                           const std::function<kudari::Evaluation(Pass)>& closure) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  std::vector<at::Tensor> random;  // the generator's state at each plain call of the step
  size_t repeated = 0;
  const auto oracle = [&](Pass pass) -> kudari::Evaluation {
    const at::AutoGradMode enabled(true);
    std::optional<Keep> keep;
    if (pass == Pass::kPlain) {
      random.push_back(generator.get_state());
    } else {
      keep.emplace(true, buffers_);
      if (repeated < random.size()) generator.set_state(random[repeated++]);
      at::autocast::clear_cache();  // weights that were cast before they were perturbed
    }
    ZeroGrad();
    const kudari::Evaluation e = closure(pass);
    if (pass == Pass::kPerturbed) at::autocast::clear_cache();
    BindGradients();
    return e;
  };
  const Report report = scaler != nullptr ? scaler->Step(engine_, oracle) : engine_.Step(oracle);
  ReleaseGradients();
  return report;
}

Report Optimizer::Step() { return StepWith(nullptr); }

Report Optimizer::Step(const std::function<kudari::Evaluation(Pass)>& closure) {
  return StepWith(nullptr, closure);
}

Report Optimizer::Step(const std::function<kudari::Evaluation()>& closure) {
  return StepWith(nullptr, WithPass(closure));
}

Report Optimizer::Step(const std::function<at::Tensor()>& closure) {
  return StepWith(nullptr, WithPass(closure));
}

std::function<kudari::Evaluation(Pass)> Optimizer::WithPass(
    const std::function<kudari::Evaluation()>& closure) const {
  const OptimizerSpec& spec = engine_.spec();
  if (spec.sharpness && spec.accumulate > 1) {
    throw Error("Step: source = \"" + spec.source +
                "\" with accumulate = " + std::to_string(spec.accumulate) +
                " needs a closure that takes a kudari::Pass: the perturbed pass repeats the "
                "batches of the plain one");
  }
  return [&closure](Pass) { return closure(); };
}

std::function<kudari::Evaluation(Pass)> Optimizer::WithPass(
    const std::function<at::Tensor()>& closure) const {
  WithPass(std::function<kudari::Evaluation()>());  // checks
  return [&closure](Pass) -> kudari::Evaluation { return closure().item<double>(); };
}

void Optimizer::KeepBuffers(const ::torch::nn::Module& module) {
  for (const at::Tensor& buffer : module.buffers()) buffers_.push_back(buffer);
}

void Optimizer::UpdateHessian(const std::vector<at::Tensor>& estimates) {
  if (estimates.size() != parameters_.size()) {
    throw Error(c10::str("UpdateHessian: ", estimates.size(), " estimates for ", parameters_.size(),
                         " parameters"));
  }
  std::vector<at::Tensor> copies;
  std::vector<const float*> data;
  for (size_t i = 0; i < estimates.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    const at::Tensor& e = estimates[i];
    if (!e.defined()) {
      data.push_back(nullptr);
      continue;
    }
    const std::string what = "the estimate of parameter \"" + name + "\"";
    CheckTensor(e, what, {DType::kFloat32}, false);
    if (e.sizes() != p.sizes()) {
      throw Error(c10::str(what, " has the shape ", e.sizes(), ", the parameter's is ", p.sizes()));
    }
    copies.push_back(e.contiguous());  // the same tensor, unless its strides are unusual
    data.push_back(copies.back().data_ptr<float>());
  }
  engine_.UpdateHessian(data);
}

EvaluationView Optimizer::Evaluation() {
  BindParameters();
  return engine_.Evaluation();
}

void Optimizer::Refresh() {
  BindParameters();
  engine_.Refresh();
}

std::vector<at::Tensor> Optimizer::Parameters() const {
  std::vector<at::Tensor> parameters;
  for (const auto& [name, p] : parameters_) parameters.push_back(p);
  return parameters;
}

void Optimizer::ZeroGrad(bool set_to_none) {
  for (auto& [name, p] : parameters_) {
    at::Tensor& g = p.mutable_grad();
    if (!g.defined()) continue;
    if (set_to_none) {
      g.reset();
    } else {
      g.detach_();
      g.zero_();
    }
  }
}

}  // namespace kudari::torch
