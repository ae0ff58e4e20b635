#include "kudari/torch_lr_range.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "keep.h"
#include "kudari/error.h"

namespace kudari::torch {

/// Everything that a step changes, as it is when this is made.
class Snapshot {
 public:
  Snapshot(Optimizer& optimizer, const FindOptions& options)
      : optimizer_(optimizer),
        scaler_(options.scaler),
        state_(optimizer.core().State()),
        replaced_(optimizer.replaced_) {
    for (const auto& [name, p] : optimizer.parameters_) {
      tensors_.emplace_back(p);
      gradients_.push_back(p.grad());  // which ZeroGrad drops, not changes
    }
    for (const at::Tensor& buffer : optimizer.buffers_) {
      if (buffer.defined()) tensors_.emplace_back(buffer);
    }
    if (scaler_ != nullptr) scaler_state_ = scaler_->State();
    generators_.emplace_back(at::detail::getDefaultCPUGenerator(), at::Tensor());
    for (const at::Generator& g : options.generators) generators_.emplace_back(g, at::Tensor());
    for (auto& [generator, state] : generators_) state = generator.get_state();
  }

  void Restore() {
    for (const KeptTensor& t : tensors_) t.Restore();
    at::autocast::clear_cache();
    for (size_t i = 0; i < gradients_.size(); ++i) {
      optimizer_.parameters_[i].second.mutable_grad() = gradients_[i];
    }
    optimizer_.core().LoadState(state_);
    optimizer_.replaced_ = replaced_;
    if (scaler_ != nullptr) scaler_->LoadState(scaler_state_);
    for (auto& [generator, state] : generators_) generator.set_state(state);
  }

 private:
  Optimizer& optimizer_;
  GradScaler* scaler_;
  StateTree state_;
  bool replaced_;
  StateTree scaler_state_;
  std::vector<KeptTensor> tensors_;
  std::vector<at::Tensor> gradients_;
  std::vector<std::pair<at::Generator, at::Tensor>> generators_;
};

namespace {

using Closure = std::function<kudari::Evaluation(Pass)>;

LrRange Run(Optimizer& optimizer, const Closure& closure, const FindOptions& options,
            GradScaler* scaler) {
  LrRangeTest test(options.range);
  bool data = false, ended = false;
  const Closure noting = [&](Pass pass) {
    const kudari::Evaluation e = closure(pass);
    data = data || e.samples > 0;
    ended = ended || e.end;
    return e;
  };
  int skipped = 0, empty = 0;
  while (test.Running()) {
    data = ended = false;
    const Report report =
        scaler != nullptr ? scaler->Step(optimizer, noting) : optimizer.Step(noting);
    empty = data ? 0 : empty + 1;
    if (!data && (ended || empty == kMostSkipped)) {
      test.Stop();
      break;
    }
    if (!data) continue;
    if (scaler != nullptr) scaler->Update();
    skipped = report.skipped && std::isfinite(report.loss) ? skipped + 1 : 0;
    if (skipped == 0) {
      test.Add(report.loss);
    } else if (skipped == kMostSkipped) {
      test.Stop(LrEnd::kNonFinite);
    }
    if (options.after_step && !options.after_step(report, test.range())) test.Stop();
  }
  return test.range();
}

/// Whether it is the spec's own `lr` that a tensor has.
bool HasOwnRate(const OptimizerSpec& spec, const TensorPlan& plan) {
  const auto own = spec.options.find("lr");
  if (own == spec.options.end() || plan.group == kFallbackGroup) return false;
  if (plan.group == kNoGroup) return true;
  // With another rule a group starts from that rule's defaults.
  const Group& group = spec.groups[static_cast<size_t>(plan.group)];
  return group.rule == spec.rule && group.options.at("lr") == own->second;
}

}  // namespace

std::vector<size_t> RampedParameters(const kudari::Optimizer& optimizer, const std::string& match) {
  const OptimizerSpec& spec = optimizer.spec();
  const std::vector<TensorPlan> plan = optimizer.Plan();
  std::vector<size_t> ramped;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (match.empty()) {
      if (HasOwnRate(spec, plan[i])) ramped.push_back(i);
    } else if (Matches(match, optimizer.tensors()[i])) {
      optimizer.ScheduleOf(i, "lr");  // throws if there is none
      ramped.push_back(i);
    }
  }
  if (!ramped.empty()) return ramped;
  if (match.empty()) {
    throw Error(
        "no parameter has the optimiser's own lr; name some whose learning rate is to rise");
  }
  throw Error("\"" + match + "\" matches no parameter" +
              (plan.empty() ? "" : "; the first one is \"" + plan[0].name + "\""));
}

LrRange FindLearningRate(Optimizer& optimizer, const Closure& closure, const FindOptions& options) {
  kudari::Optimizer& core = optimizer.core();
  const Schedule ramp = LrRampSchedule(options.range);
  const std::vector<size_t> ramped = RampedParameters(core, options.match);
  const std::vector<at::Tensor> parameters = optimizer.Parameters();
  const auto step = [&](Pass pass) {
    const kudari::Evaluation e = closure(pass);
    for (size_t i = 0; options.freeze_others && i < parameters.size(); ++i) {
      if (!std::binary_search(ramped.begin(), ramped.end(), i))
        parameters[i].mutable_grad().reset();
    }
    return e;
  };
  // The test diverges in the end, which is no error here: a scaler skips such steps.
  std::optional<GradScaler> skips;
  if (options.scaler == nullptr && core.spec().nonfinite == NonFinite::kError) {
    skips.emplace(GradScalerOptions{.init_scale = 1, .dynamic = false});
  }
  GradScaler* const scaler = skips ? &*skips : options.scaler;

  Snapshot before(optimizer, options);
  try {
    for (const size_t i : ramped) {
      core.SetSchedule(i, "lr", Then(ramp(0), core.steps(), ramp));
    }
    LrRange range = Run(optimizer, step, options, scaler);
    before.Restore();
    return range;
  } catch (...) {
    before.Restore();
    throw;
  }
}

LrRange FindLearningRate(Optimizer& optimizer, const std::function<at::Tensor()>& closure,
                         const FindOptions& options) {
  return FindLearningRate(optimizer, optimizer.WithPass(closure), options);
}

}  // namespace kudari::torch
