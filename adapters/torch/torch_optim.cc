// What makes the optimiser one of torch::optim's: its parameter groups, those that are added, and
// LibTorch's names.
#include <algorithm>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/torch.h"
#include "parameters.h"

namespace kudari::torch {
namespace {

using ParamGroup = ::torch::optim::OptimizerParamGroup;

/// What param_groups() has for options: the learning rate of a group of the engine, or of all.
class GroupOptions : public ::torch::optim::OptimizerOptions {
 public:
  GroupOptions(std::shared_ptr<kudari::Optimizer> core, std::optional<int> group)
      : core_(std::move(core)), group_(group) {}

  double get_lr() const override { return core_->Lr(group_); }
  void set_lr(const double lr) override { core_->SetLr(lr, group_); }
  std::unique_ptr<OptimizerOptions> clone() const override {
    return std::make_unique<GroupOptions>(*this);
  }

 private:
  std::shared_ptr<kudari::Optimizer> core_;
  std::optional<int> group_;
};

}  // namespace

void Optimizer::ShowGroups() {
  const std::vector<TensorPlan> plan = core_->Plan();
  const auto count = static_cast<int>(core_->spec().groups.size());
  std::vector<int> groups = {kNoGroup, kFallbackGroup};
  for (int i = 0; i < count; ++i) groups.push_back(i);
  defaults_ = std::make_unique<GroupOptions>(core_, std::nullopt);
  param_groups_.clear();
  for (const int group : groups) {
    std::vector<at::Tensor> parameters;
    for (size_t i = 0; i < plan.size(); ++i) {
      if (plan[i].group == group) parameters.push_back(parameters_[i].second);
    }
    if (parameters.empty()) continue;
    param_groups_.emplace_back(std::move(parameters), std::make_unique<GroupOptions>(core_, group));
  }
}

void Optimizer::Add(ParameterSet added, const std::vector<Group>& groups,
                    const Registry& registry) {
  BindParameters();
  for (const auto& [name, p] : added.held) {
    if (p.is_complex()) {
      throw Error("AddParameters: parameter \"" + name +
                  "\" is complex; give it to the constructor");
    }
    for (const auto& [known, parameter] : parameters_) {
      if (!p.is_same(parameter)) continue;
      throw Error("AddParameters: parameter \"" + name + "\" is the optimizer's \"" + known + "\"");
    }
  }
  const size_t count = parameters_.size() + added.held.size();
  parameters_.reserve(count);
  left_out_.reserve(left_out_.size() + added.left_out.size());
  gradients_.reserve(count);
  rows_.reserve(count);
  has_gradient_.reserve(count);
  memory_.reserve(count);
  mirrors_.reserve(count);
  core_->AddTensors(std::move(added.tensors), groups, registry);
  std::ranges::move(added.held, std::back_inserter(parameters_));
  std::ranges::move(added.left_out, std::back_inserter(left_out_));
  gradients_.resize(count);
  rows_.resize(count);
  has_gradient_.resize(count);
  for (size_t i = memory_.size(); i < count; ++i) {
    const at::Tensor& p = parameters_[i].second;
    memory_.push_back({p.data_ptr(), p.storage()});
  }
  std::ranges::move(added.mirrors, std::back_inserter(mirrors_));
  ShowGroups();
}

void Optimizer::AddParameters(const NamedModules& modules, const std::vector<Group>& groups,
                              const Registry& registry) {
  Add(ParametersOf(modules), groups, registry);
  for (const NamedModule& named : modules) KeepBuffers(*named.module);
}

void Optimizer::AddParameters(const NamedParameters& parameters, const std::vector<Group>& groups,
                              const Registry& registry) {
  Add(ParametersOf(parameters), groups, registry);
}

void Optimizer::add_param_group(const ParamGroup& parameters, const Group& group) {
  if (parameters.has_options()) {
    throw Error(
        "add_param_group: options of LibTorch's classes are not known here; give them as a group: "
        "add_param_group(parameters, {.options = {{\"lr\", 1e-3}}})");
  }
  const std::string prefix = "group" + std::to_string(param_groups_.size()) + ".";
  Group own = group;
  own.match = prefix + "*";
  AddParameters(Numbered(parameters.params(), prefix), {own});
}

/// Throws Error if parameters were added by LibTorch's class.
void Optimizer::CheckShown() const {
  size_t shown = 0;
  for (const ParamGroup& group : param_groups_) shown += group.params().size();
  if (shown != parameters_.size()) {
    throw Error("param_groups() has " + std::to_string(shown) + " parameters and the optimizer " +
                std::to_string(parameters_.size()) +
                "; AddParameters and add_param_group add some");
  }
}

at::Tensor Optimizer::step(LossClosure closure) {  // NOLINT(performance-unnecessary-value-param)
  if (closure == nullptr) {
    Step();
    return {};
  }
  at::Tensor first;
  Step(std::function<at::Tensor()>([&] {
    at::Tensor loss = closure();
    if (!first.defined()) first = loss;
    return loss;
  }));
  return first;
}

}  // namespace kudari::torch
