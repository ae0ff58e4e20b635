#include "kudari/torch.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "keep.h"
#include "kudari/error.h"
#include "parameters.h"

namespace kudari::torch {
namespace {

/// Whether `storage` still has the memory of a tensor, which a resize frees.
bool HoldsMemoryOf(const c10::Storage& storage, const Tensor& t) {
  const auto* const begin = static_cast<const std::byte*>(storage.data());
  const auto* const at = static_cast<const std::byte*>(t.param);
  return begin <= at && at + t.Size() * Bytes(t.dtype) <= begin + storage.nbytes();
}

/// Gives a parameter the values of its mirror.
void CopyBack(const at::Tensor& p, const at::Tensor& mirror) {
  const at::NoGradGuard no_grad;
  Stepped(p.detach()).copy_(Stepped(mirror));
}

/// Throws Error if a complex parameter would be treated as a matrix or by units: the pairs that the
/// engine sees are neither.
void CheckComplex(const NamedParameters& parameters, const kudari::Optimizer& core,
                  const Registry& registry) {
  std::vector<TensorPlan> plan;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i].second.is_complex()) continue;
    if (plan.empty()) plan = core.Plan();
    const std::string what = "parameter \"" + parameters[i].first + "\" is complex, and ";
    if (core.spec().agc || core.spec().centralize) {
      throw Error(what + "agc and centralize are for real parameters");
    }
    if (registry.Find(plan[i].rule).whole == nullptr) continue;
    throw Error(what + plan[i].rule + " is for real matrices");
  }
}

}  // namespace

EvaluationView::EvaluationView(kudari::EvaluationView view, const NamedParameters& parameters,
                               const std::vector<at::Tensor>& mirrors) {
  for (const size_t i : view.Changed()) {
    const at::Tensor& p = parameters[i].second;
    const bool mirrored = mirrors[i].defined();
    shown_.emplace_back(p, mirrored ? mirrors[i] : p.detach());
    if (mirrored) {
      CopyBack(p, mirrors[i]);
    } else {
      BumpVersion(p);
    }
  }
  at::autocast::clear_cache();
  view_.emplace(std::move(view));
}

EvaluationView::~EvaluationView() {
  view_.reset();
  for (auto& [p, shown] : shown_) {
    const bool dense = p.layout() == at::kStrided && p.device().is_cpu();
    if (!dense || Stepped(p).sizes() != Stepped(shown).sizes() || p.is_inference()) continue;
    if (p.data_ptr() == shown.data_ptr()) {
      BumpVersion(p);
    } else {
      CopyBack(p, shown);
    }
  }
  at::autocast::clear_cache();
}

// The frame of a step. The engine has gradients only while it lives.
class Optimizer::Call {
 public:
  explicit Call(Optimizer& optimizer) : optimizer_(optimizer) {
    optimizer_.FollowParameters();
    std::fill(optimizer_.has_gradient_.begin(), optimizer_.has_gradient_.end(), 0);
  }
  ~Call() {
    optimizer_.source_at_work_ = false;
    if (moved_) optimizer_.NoteStep(true);  // put back
    for (size_t i = 0; i < optimizer_.parameters_.size(); ++i) optimizer_.ReleaseGradient(i);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // The source has moved the weights, and puts them back before the step.
  void Moved() {
    moved_ = true;
    optimizer_.NoteStep(true);
  }
  const Report& Ended(const Report& report) const {
    if (!report.skipped) {
      optimizer_.NoteStep(optimizer_.WroteAll());
      optimizer_.stepped_ = optimizer_.core_->steps();
    }
    return report;
  }

 private:
  Optimizer& optimizer_;
  bool moved_ = false;
};

Optimizer::Optimizer(const OptimizerSpec& spec, const Registry& registry, ParameterSet parameters)
    : ::torch::optim::Optimizer(std::vector<::torch::optim::OptimizerParamGroup>(), nullptr),
      parameters_(std::move(parameters.held)),
      left_out_(std::move(parameters.left_out)),
      gradients_(parameters_.size()),
      rows_(parameters_.size()),
      has_gradient_(parameters_.size()),
      mirrors_(std::move(parameters.mirrors)),
      core_(std::make_shared<kudari::Optimizer>(std::move(parameters.tensors), spec, registry)) {
  for (const auto& [name, p] : parameters_) memory_.push_back({p.data_ptr(), p.storage()});
  CheckComplex(parameters_, *core_, registry);
  ShowGroups();
}

Optimizer::Optimizer(const ::torch::nn::Module& module, const OptimizerSpec& spec,
                     const Registry& registry)
    : Optimizer(NamedModules{{"", module}}, spec, registry) {}

Optimizer::Optimizer(const NamedModules& modules, const OptimizerSpec& spec,
                     const Registry& registry)
    : Optimizer(spec, registry, ParametersOf(modules)) {
  for (const NamedModule& named : modules) KeepBuffers(*named.module);
}

Optimizer::Optimizer(const NamedParameters& parameters, const OptimizerSpec& spec,
                     const Registry& registry)
    : Optimizer(spec, registry, ParametersOf(parameters)) {}

Optimizer::Optimizer(const std::vector<at::Tensor>& parameters, const OptimizerSpec& spec,
                     const Registry& registry)
    : Optimizer(Numbered(parameters, ""), spec, registry) {}

bool Optimizer::BindParameters() const {
  const std::pair<std::string, at::Tensor>* moved = nullptr;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    const Tensor& t = core_->tensors()[i];
    if (CheckParameter(p, name) != t.dtype) {
      throw Error("parameter \"" + name + "\" is now " + at::toString(p.scalar_type()) +
                  "; the optimizer was made for " + std::string(Name(t.dtype)));
    }
    if (Stepped(p).sizes() != at::IntArrayRef(t.shape)) {
      throw Error(c10::str("parameter \"", name, "\" now has the shape ", p.sizes(),
                           "; the optimizer was made for ", at::IntArrayRef(t.shape)));
    }
    if (!Follows(i)) moved = &parameters_[i];
  }
  for (const auto& [name, p] : left_out_) {
    if (!p.grad().defined()) continue;
    throw Error(
        "parameter \"" + name + "\", of type " + at::toString(p.scalar_type()) +
        ", has a gradient; it was frozen when the optimizer was made and therefore left out");
  }
  if (moved != nullptr && source_at_work_) {
    throw Error("parameter \"" + moved->first +
                "\" was given new memory in a closure of source \"" + core_->spec().source +
                "\", which puts weights back; replace it between steps");
  }
  for (size_t i = 0; moved != nullptr && i < parameters_.size(); ++i) {
    if (!Follows(i)) Follow(i);
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (mirrors_[i].defined()) mirrors_[i].copy_(Stepped(parameters_[i].second.detach()));
  }
  return replaced_;
}

bool Optimizer::Follows(size_t index) const {
  const at::Tensor& p = parameters_[index].second;
  return p.data_ptr() == memory_[index].data && p.is_contiguous() != mirrors_[index].defined();
}

void Optimizer::Follow(size_t index) const {
  const at::Tensor& p = parameters_[index].second;
  Tensor& t = core_->tensors()[index];
  const at::Tensor values = InMemory(Stepped(p));
  const bool known = mirrors_[index].defined() || HoldsMemoryOf(memory_[index].storage, t);
  replaced_ = replaced_ || !known || std::memcmp(t.param, values.data_ptr(), p.nbytes()) != 0;
  memory_[index] = {p.data_ptr(), p.storage()};
  mirrors_[index] = p.is_contiguous() ? at::Tensor() : values;
  t.param = values.data_ptr();
}

void Optimizer::FollowParameters() {
  CheckShown();
  if (BindParameters() && stepped_ > 0 && core_->steps() == stepped_) core_->Refresh();
  replaced_ = false;
}

void Optimizer::CheckGradient(size_t index) const {
  const auto& [name, p] = parameters_[index];
  const at::Tensor& g = p.grad();
  if (!g.defined()) return;
  if (g.is_sparse()) return CheckSparseGradient(index);
  const DType type = core_->tensors()[index].dtype;
  CheckTensor(p.is_complex() ? Stepped(g) : g, "the gradient of parameter", name,
              {type, type == DType::kFloat64 ? type : DType::kFloat32});
  if (g.sizes() == p.sizes() && g.is_complex() == p.is_complex()) return;
  throw Error(c10::str("the gradient of parameter \"", name, "\" has the shape ", g.sizes(),
                       ", the parameter's is ", p.sizes()));
}

void Optimizer::CheckSparseGradient(size_t index) const {
  const auto& [name, p] = parameters_[index];
  const at::Tensor& g = p.grad();
  const std::string what = "the gradient of parameter \"" + name + "\" is sparse";
  if (g.sizes() != p.sizes()) {
    throw Error(
        c10::str(what, " and has the shape ", g.sizes(), ", the parameter's is ", p.sizes()));
  }
  if (g.sparse_dim() != 1 || p.is_complex()) {
    throw Error(what + ", and must then be of whole rows of real numbers, as that of an embedding");
  }
  CheckTensor(g._values(), "the gradient of parameter", name, {core_->tensors()[index].dtype});
}

void Optimizer::BindRows(size_t index) {
  static constexpr char kNoRows = 0;  // there is a gradient, of no rows
  const at::Tensor g = parameters_[index].second.grad().coalesce();
  gradients_[index] = g.values().contiguous();
  rows_[index] = g.indices().contiguous();
  Tensor& t = core_->tensors()[index];
  const auto count = static_cast<size_t>(rows_[index].numel());
  t.grad_dtype = t.dtype;
  t.grad = count == 0 ? &kNoRows : gradients_[index].const_data_ptr();
  t.grad_rows = {rows_[index].const_data_ptr<int64_t>(), count};
}

void Optimizer::BindGradient(size_t index) {
  ReleaseGradient(index);
  const at::Tensor& g = parameters_[index].second.grad();
  if (!g.defined()) return;
  has_gradient_[index] = core_->Frozen(index) ? 0 : 1;
  if (g.is_sparse()) return BindRows(index);
  gradients_[index] = InMemory(Stepped(g));
  Tensor& t = core_->tensors()[index];
  t.grad_dtype = g.scalar_type() == at::kFloat ? DType::kFloat32 : t.dtype;
  t.grad = gradients_[index].const_data_ptr();
}

void Optimizer::BindGradients() {
  for (size_t i = 0; i < parameters_.size(); ++i) CheckGradient(i);
  for (size_t i = 0; i < parameters_.size(); ++i) BindGradient(i);
}

void Optimizer::ReleaseGradient(size_t index) {
  Tensor& t = core_->tensors()[index];
  t.grad = nullptr;
  t.grad_rows.reset();
  gradients_[index].reset();
  rows_[index].reset();
}

void Optimizer::NoteWritten(size_t index) const {
  const at::Tensor& p = parameters_[index].second;
  if (mirrors_[index].defined()) {
    CopyBack(p, mirrors_[index]);
  } else {
    BumpVersion(p);
  }
}

void Optimizer::NoteStep(bool all) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (all || has_gradient_[i] != 0) NoteWritten(i);
  }
  at::autocast::clear_cache();
}

bool Optimizer::WroteAll() const {
  const OptimizerSpec& spec = core_->spec();
  return spec.source != "plain" || (spec.lookahead && core_->steps() % spec.lookahead->k == 0);
}

Report Optimizer::StepWith(kudari::GradScaler* scaler) {
  Call call(*this);
  BindGradients();
  return call.Ended(scaler != nullptr ? scaler->Step(*core_) : core_->Step());
}

Report Optimizer::StepWith(kudari::GradScaler* scaler,
                           const std::function<kudari::Evaluation(Pass)>& closure) {
  Call call(*this);
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  std::vector<at::Tensor> random;  // the generator's state at each plain call of the step
  size_t repeated = 0;
  const std::string& source = core_->spec().source;
  source_at_work_ = source != "plain";
  const auto oracle = [&](Pass pass) -> kudari::Evaluation {
    const at::AutoGradMode enabled(true);
    std::optional<Keep> keep;
    if (pass == Pass::kPlain) {
      random.push_back(generator.get_state());
    } else {
      keep.emplace(true, buffers_);
      if (repeated < random.size()) generator.set_state(random[repeated++]);
    }
    if (pass == Pass::kPerturbed || source == "nesterov_lookahead") call.Moved();
    ZeroGrad();
    const kudari::Evaluation e = closure(pass);
    BindParameters();
    BindGradients();
    return e;
  };
  return call.Ended(scaler != nullptr ? scaler->Step(*core_, oracle) : core_->Step(oracle));
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
  const OptimizerSpec& spec = core_->spec();
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
  FollowParameters();
  std::vector<at::Tensor> in_memory;
  std::vector<const float*> data;
  for (size_t i = 0; i < estimates.size(); ++i) {
    const auto& [name, p] = parameters_[i];
    const at::Tensor& e = estimates[i];
    if (!e.defined()) {
      data.push_back(nullptr);
      continue;
    }
    CheckTensor(e, "the estimate of parameter", name, {DType::kFloat32});
    if (e.sizes() != p.sizes()) {
      throw Error(c10::str("the estimate of parameter \"", name, "\" has the shape ", e.sizes(),
                           ", the parameter's is ", p.sizes()));
    }
    in_memory.push_back(InMemory(e));
    data.push_back(in_memory.back().const_data_ptr<float>());
  }
  core_->UpdateHessian(data);
}

EvaluationView Optimizer::EvaluationWeights() {
  FollowParameters();
  return {core_->EvaluationWeights(), parameters_, mirrors_};
}

void Optimizer::Refresh() {
  BindParameters();
  core_->Refresh();
  replaced_ = false;
}

std::vector<at::Tensor> Optimizer::Parameters() const {
  std::vector<at::Tensor> parameters;
  for (const auto& [name, p] : parameters_) parameters.push_back(p);
  return parameters;
}

void Optimizer::ZeroGrad(bool set_to_none) {
  for (auto* const parameters : {&parameters_, &left_out_}) {
    for (auto& [name, p] : *parameters) {
      at::Tensor& g = p.mutable_grad();
      if (!g.defined()) continue;
      if (set_to_none) {
        g.reset();
      } else if (IsWritable(g)) {
        g = g.detach();
        g.zero_();
      } else {
        g = at::zeros(g.sizes(), g.options());
      }
    }
  }
}

}  // namespace kudari::torch
